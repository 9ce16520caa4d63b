"""Options of all commands, as the program has them, against a list of them."""

import json
import re
from pathlib import Path

import pytest

from fairseq_ecg.cli import COMMANDS, OPTIONAL_VALUES, program

LISTED = json.loads(Path(__file__).with_name("options.json").read_text())


def commands():
    for name, group in COMMANDS.items():
        yield from (f"{name} {command}" for command in group[1:]) if group else [name]


def test_all_commands_are_listed():
    assert sorted(commands()) == sorted(LISTED)


def arguments_of(command):
    """Arguments of a command by the name that the list has for them."""
    app = program()
    _, apps, _ = app.parse_commands(command.split())
    with app.app_stack(apps):
        collection = apps[-1].assemble_argument_collection(parse_docstring=True)
    arguments = {}
    for argument in collection:
        if argument.name != "*":
            positional = not argument.name.startswith("-")
            names = argument.name.lower().replace("-", "_") if positional else argument.names
            arguments[names if positional else " ".join(names)] = argument
    return arguments


def number_of_values(command, name, argument):
    """How many values there may be, as argparse says it."""
    positional = not name.startswith("-")
    several = argument.field_info.kind is argument.field_info.VAR_POSITIONAL
    if positional:
        return ("+" if argument.required else "*") if several else (1 if argument.required else "?")
    if (command.split()[-1], name) in OPTIONAL_VALUES:
        return "?"
    if argument.parameter.consume_multiple:
        return "+"
    if argument.hint in (bool, bool | None):
        return 0
    return argument.token_count()[0]


def explained(text):
    """Help without blanks, and the default that it ends with if it says one."""
    text = " ".join(text.split())
    found = re.fullmatch(r"(.*?) ?\(default: ([^()]*)\)", text)
    return found.groups() if found else (text, None)


def same(default, text):
    words = [str(word) for word in default] if isinstance(default, tuple) else [str(default)]
    listed = text.replace(",", " ").split()
    try:
        return list(map(float, words)) == list(map(float, listed))
    except ValueError:
        return words == listed or ",".join(words) == text


@pytest.mark.parametrize("command", LISTED)
def test_options_are_those_of_the_list(command):
    arguments = arguments_of(command)
    assert sorted(arguments) == sorted(LISTED[command])
    for name, listed in LISTED[command].items():
        argument = arguments[name]
        default = argument.field_info.default
        no_default = default is argument.field_info.empty
        assert argument.required == listed["required"], name
        assert (
            json.loads(json.dumps(None if no_default else default, default=str))
            == (listed["default"])
        ), name
        n_values = 1 if listed["nargs"] is None else listed["nargs"]
        assert number_of_values(command, name, argument) == n_values, name
        choices = argument.get_choices() or argument.parameter.choices
        if choices and listed["choices"] and not isinstance(listed["choices"][0], str):
            choices = dict.fromkeys(map(float, choices))
        assert (choices and list(choices)) == listed["choices"], name
        if "metavar" in listed:
            assert argument.parameter.metavar == listed["metavar"], name
        said, said_default = explained(argument.parameter.help or "")
        listed_help, listed_default = explained(listed["help"])
        assert said == listed_help, name
        if said_default != listed_default:
            assert said_default is None, name
            assert argument.show_default, name
            assert same(default, listed_default), name
