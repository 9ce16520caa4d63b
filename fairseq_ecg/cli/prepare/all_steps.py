"""``fairseq-ecg prepare all``."""

import inspect
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import CycloptsError
from cyclopts.config import Dict

from fairseq_ecg.cli.options import EXIT_SOME_LEFT_OUT
from fairseq_ecg.errors import DataError, as_data_error

LOCATIONS = ("source", "raw_root", "processed_root", "manifest_file")
"""Keys of the file beside the names of steps."""

ALWAYS = ("records", "signals")
"""Steps that run even if the file says nothing of them."""

STEPS = (*ALWAYS, "splits", "labels", "manifests", "cmsc", "subset", "identification")

TEXT_OPTIONS = ("grouped_temporal_filter_strategy",)
"""Options whose values true and false are words, not whether the option is given."""


@dataclass(frozen=True)
class Configuration:
    """A file of steps.

    Attributes:
        path: of the file.
        content: value, or values of a step by option, by key.
        lines: where keys are, ``splits.seed`` for an option.
        overrides: texts of those given on the command line, by key.
    """

    path: Path
    content: dict[str, Any]
    lines: dict[str, int]
    overrides: dict[str, str]

    def where(self, key: str) -> str:
        """Name the line or override that a key comes from, for a message."""
        name = _name(key)
        if name in self.overrides:
            return repr(self.overrides[name])
        return f"{self.path}, line {self.lines[name]}" if name in self.lines else f"{self.path}"


@dataclass(frozen=True)
class Step:
    """A step that is to run.

    Attributes:
        name: of the step.
        command: its command line, without ``fairseq-ecg prepare``.
        function: its implementation.
        bound: what it is called with.
    """

    name: str
    command: list[str]
    function: Callable[..., int]
    bound: inspect.BoundArguments


def all_steps(file: Path, /, *overrides: str) -> int:
    """Run all steps that a YAML file describes, from archive to manifests.

    Each command is printed before it runs. Started again, it goes on where it was.

    Args:
        file: see examples/prepare
        overrides: KEY=VALUE in place of what the file says, such as raw_root=DIR or signals.jobs=2
    """
    configuration = read(file, overrides)
    quarantined = False
    for step in plan(configuration):
        print(f"\n$ fairseq-ecg prepare {shlex.join(step.command)}", flush=True)
        if step.name == "subset":
            # Of an earlier run of this file: the step itself never writes into an existing folder.
            shutil.rmtree(step.bound.arguments["save_dir"], ignore_errors=True)
        try:
            status = step.function(*step.bound.args, **step.bound.kwargs)
        except CycloptsError as error:
            raise DataError(f"{configuration.where(step.name)}: {step.name}: {error}") from None
        quarantined = quarantined or status == EXIT_SOME_LEFT_OUT
    return EXIT_SOME_LEFT_OUT if quarantined else 0


def plan(configuration: Configuration) -> list[Step]:
    """Check the steps of a file.

    Returns:
        The steps that it asks for.

    Raises:
        DataError: a step has no such option, or no such value.
    """
    return [
        _step(configuration, name)
        for name in STEPS
        if name in ALWAYS or name in configuration.content
    ]


def _step(configuration: Configuration, name: str) -> Step:
    from fairseq_ecg.cli import program

    positional, options = _options(configuration, name)
    app = program()
    arguments = app["prepare"][name].assemble_argument_collection()
    is_flag = {name: argument.hint is bool for argument in arguments for name in argument.names}
    command = [name, *positional]
    for key, value in options.items():
        option = f"--{key.replace('_', '-')}"
        command.append(option if value is True else f"{option}={value}")
        if value is True and is_flag.get(option) is False:
            where = configuration.where(f"{name}.{key}")
            raise DataError(f"{where}: {name}: {option}: a value was expected, found true")
    # One source for each key, so that messages name its line.
    app.config = tuple(
        Dict({"prepare": {name: {key: value}}}, source=configuration.where(f"{name}.{key}"))
        for key, value in options.items()
    )
    try:
        function, bound, _ = app.parse_args(
            ["prepare", name, *positional], exit_on_error=False, print_error=False
        )
    except CycloptsError as error:
        raise DataError(f"{configuration.where(name)}: {name}: {error}") from None
    return Step(name, command, function, bound)


def _options(configuration: Configuration, step: str) -> tuple[list[str], dict[str, Any]]:
    """Return the arguments of a step: what the file says, after what follows from the locations."""
    content = configuration.content
    folder = Path(content["processed_root"])
    options = {_name(key): value for key, value in (content.get(step) or {}).items()}
    manifests = Path((content.get("manifests") or {}).get("save_dir", folder / "manifests"))
    signals = content.get("signals") or {}
    suffix = signals.get("results_suffix", "")
    splits = content.get("splits") or {}
    of_splits = splits.get("save_files_suffix", "_split")
    has_segments = not options.get("no_segmented")
    tables = Path(signals.get("labels_path", folder / "labels" / f"labels{suffix}.csv"))
    defaults: dict[str, Any] = {
        "records": {
            "source": content["source"],
            "raw_root": content["raw_root"],
            "processed_root": folder,
        },
        "signals": {"processed_root": folder, "manifest_file": content.get("manifest_file")},
        "splits": {
            "processed_root": folder,
            "meta_file": f"meta{suffix}.csv" if suffix else None,
            "segmented_file": f"segmented{suffix}.csv" if suffix and has_segments else None,
            "stratify_by": tables if options.get("strategy") == "stratified" else None,
        },
        "labels": {
            "output_dir": folder / "labels",
            "labels": tables,
            "meta_splits": folder / f"meta{of_splits}.csv",
        },
        "manifests": {
            "split_file_paths": folder / f"segmented{of_splits}.csv",
            "save_dir": manifests,
        },
        "cmsc": {"dest": manifests},
        "subset": {
            "manifest_dir": manifests,
            "save_dir": manifests / str(options.get("percent", "")),
        },
        "identification": {
            "split_file_paths": folder / f"segmented{of_splits if splits else suffix}.csv",
            "dest": manifests,
        },
    }[step]
    values = {key: _value(key, value) for key, value in (defaults | options).items()}
    given = {key: value for key, value in values.items() if value is not None}
    return [str(manifests)] if step == "cmsc" else [], given


def _name(key: Any) -> str:
    """Options may be written with hyphens, as on the command line."""
    return str(key).replace("-", "_")


def _value(key: str, value: Any) -> str | bool | None:
    """Return the value of an option as it is given; True without one, None to leave it out."""
    if isinstance(value, bool):
        return str(value).lower() if key in TEXT_OPTIONS else value or None
    if isinstance(value, list):
        return ",".join(map(str, value))
    return None if value is None else str(value)


def read(path: Path, overrides: Sequence[str] = ()) -> Configuration:
    """Read a file of steps.

    Args:
        path: YAML file.
        overrides: ``KEY=VALUE`` in place of what it says.

    Raises:
        DataError: there is no such file, it is no YAML, or it has a key that means nothing.
    """
    from fairseq_ecg.data.documents import compose_yaml, load_yaml

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with as_data_error(f"{path}: is no YAML"):
        text = path.read_text(encoding="utf-8")
        content = load_yaml(text, str(path))
        lines = _lines(compose_yaml(text, str(path)), path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: is empty or no mapping of keys to values. See examples/prepare")
    of_keys = {_override(content, override): override for override in overrides}
    configuration = Configuration(path, content, lines, of_keys)
    for key, value in content.items():
        if key not in (*STEPS, *LOCATIONS):
            raise DataError(
                f"{configuration.where(key)}: there is no {key!r}: give "
                f"{', '.join(LOCATIONS)}, or options of {', '.join(STEPS)}"
            )
        if key in STEPS and not isinstance(value, dict | None):
            raise DataError(
                f"{configuration.where(key)}: {key}: its options were expected, found {value!r}"
            )
    for key in LOCATIONS[:3]:
        if content.get(key) is None:
            raise DataError(f"{path}: no value for {key!r}. Write it there, or give {key}=VALUE")
    return configuration


def _lines(node: Any, path: Path, prefix: str = "") -> dict[str, int]:
    """Lines of the keys of a YAML mapping and of those below it, ``splits.seed``."""
    lines: dict[str, int] = {}
    for key, value in node.value if node is not None and node.id == "mapping" else []:
        name, line = f"{prefix}{_name(key.value)}", key.start_mark.line + 1
        if name in lines:
            raise DataError(f"{path}, line {line}: {key.value!r} is already in line {lines[name]}")
        lines |= {name: line} | _lines(value, path, f"{name}.")
    return lines


def _override(content: dict[str, Any], override: str) -> str:
    """Put the value of ``KEY=VALUE`` in place of what the file says; return the key."""
    from fairseq_ecg.data.documents import load_yaml

    key, equals, text = override.partition("=")
    step, dot, option = key.partition(".")
    if not equals or (dot and step not in STEPS):
        raise DataError(f"{override!r}: give KEY=VALUE, such as raw_root=DIR or signals.jobs=2")
    value = load_yaml(text, repr(override))
    if dot:
        options = content.get(step)
        value = (options if isinstance(options, Mapping) else {}) | {option: value}
    content[step] = value
    return _name(key)
