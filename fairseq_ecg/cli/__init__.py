"""``fairseq-ecg``: programs around training. Training itself is ``fairseq-hydra-train``.

A command is a function in a module of its own: names, types and defaults of its options are those
of its parameters, their help is its docstring's, and it returns the exit status. Cyclopts makes the
program of them and imports a command when it is called for.
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from fairseq_ecg.cli.help import HelpFormatter
from fairseq_ecg.cli.options import SALIENCY_METHODS
from fairseq_ecg.data.names import in_one_line, printable
from fairseq_ecg.errors import CheckpointError, DataError

# Whatever takes time to import is imported where it is needed: --help is to answer at once.

COMMANDS: dict[str, str | tuple[str, ...]] = {
    "prepare": (
        "Make an archive of ECGs ready for training, step by step or all at once.",
        *("records", "signals", "splits", "labels", "manifests", "cmsc", "subset", "combine"),
        *("identification", "text", "questions", "grounding", "all"),
    ),
    "store": (
        "Pack segments into a store that is fast to train from, look into one, check it, and turn "
        "it back into files. task.data takes a store where it takes manifests.",
        *("pack", "unpack", "info", "verify"),
    ),
    "label": (
        "Find labels in the free text of ECG reports.",
        *("reports", "graph", "why", "codes", "overlays"),
    ),
    "evaluate": (),
    "predict": (),
    "embed": (),
    "ask": (),
    "match": (),
    "identify": (),
    "saliency": (),
    "segment": (),
    "probe": (),
    "benchmark": ("Score a network on the tasks by which networks are compared.", "ptbxl"),
    "plot": (),
    "report": (),
    "pool": (),
}
"""Help and commands of each group of commands, nothing for commands, in the order of ``--help``."""

OPTIONAL_VALUES = {
    ("plot", "--saliency"): SALIENCY_METHODS[0],
    ("splits", "--grouped-temporal-filter-strategy"): "true",
}
"""By command and option, the value that is meant where the option has none."""

HELP = (("--help",), ("-h",))
EXIT_USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments; those of the process if None.

    Returns:
        The exit status: 0, 1 where a required score is missed, 2 where the input cannot be used, 3
        where some of its records cannot.

    Raises:
        SystemExit: after ``--help`` (0), or where the arguments are wrong (2).
    """
    arguments = spelled_out(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, handlers=[_handler()])
    app = program()
    names, apps, rest = app.parse_commands(arguments)
    try:
        if names[-1:] in HELP:
            apps[-2].resolved_commands()  # which says what they do
        if not rest and apps[-1].default_command is None:
            raise CycloptsError(msg=f"name a command, one of {', '.join(_visible(apps[-1]))}")
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        status = command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        print(f"{' '.join(['fairseq-ecg', *names])}: {in_one_line(str(error))}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None
    except (DataError, CheckpointError, ImportError, OSError) as error:
        print(f"fairseq-ecg: {in_one_line(str(error))}", file=sys.stderr)
        return EXIT_USER_ERROR
    finally:
        _flush()
    if status is None:
        raise SystemExit(0)
    return status


def program() -> App:
    """Make the program, without importing its commands."""
    app = App(
        name="fairseq-ecg",
        help=__doc__.splitlines()[0].replace("``", ""),
        help_format="plaintext",
        help_formatter=HelpFormatter(),
        version_flags=[],
        default_parameter=Parameter(
            negative_bool=(),
            negative_iterable=(),
            allow_repeating=True,
            json_dict=False,
            json_list=False,
            show_default=_shown,
        ),
    )
    for position, (name, group) in enumerate(COMMANDS.items()):
        if not group:
            app.command(f"{__name__}.{name}:{name}", name=name, sort_key=position)
            continue
        app.command(commands := App(name=name, help=group[0], sort_key=position))
        for step, command in enumerate(group[1:]):
            module = {"all": "all_steps"}.get(command, command)
            target = f"{__name__}.{name}.{module}:{module}"
            commands.command(target, name=command, sort_key=step)
    app.register_install_completion_command()
    return app


def spelled_out(argv: Sequence[str]) -> list[str]:
    """Insert what may be left out.

    ``label REPORTS`` means ``label reports REPORTS``, ``prepare --source SOURCE`` the first step of
    that source, and some options may be without their value.
    """
    words = list(argv)
    if words[:1] == ["prepare"] and words[1:2] and words[1].partition("=")[0] == "--source":
        asks = "ecg_qa" in (words[1].partition("=")[2], *words[2:3])
        words.insert(1, "questions" if asks else "records")
    below = COMMANDS["label"][1:]
    if words[:1] == ["label"] and len(words) > 1 and words[1] not in (*below, "-h", "--help"):
        words.insert(1, below[0])
    for (command, option), value in OPTIONAL_VALUES.items():
        if command in words[:2] and option in words:
            position = words.index(option)
            if words[position + 1 : position + 2] == [] or words[position + 1].startswith("-"):
                words[position] = f"{option}={value}"
    return words


def _flush() -> None:
    """Write what was printed, unless its reader is gone, as ``head`` that has seen enough."""
    if sys.stdout is None:  # closed by the caller
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        pass  # Python reports it when it ends


def _visible(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _shown(default: Any) -> str | None:
    """Write a default for ``--help``; None for those that say nothing."""
    if default is None or default is False or default in ("", ()):
        return None
    values = default if isinstance(default, tuple) else (default,)
    return ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)


class _InPlainCharacters(logging.Formatter):
    """Messages without what terminals obey: they name files, which may be called anything."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def _handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(_InPlainCharacters("%(message)s"))
    return handler
