"""``fairseq-ecg prepare all``."""

import argparse
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fairseq_ecg.cli.options import EXIT_SOME_LEFT_OUT

PLACES = ("source", "raw_root", "processed_root", "manifest_file")
"""Keys of the file beside the names of steps."""

ALWAYS = ("records", "signals")
"""Steps that run even if the file says nothing of them."""

STEPS = (*ALWAYS, "splits", "labels", "manifests", "cmsc", "subset")

TEXT_OPTIONS = ("grouped_temporal_filter_strategy",)
"""Options whose values true and false are words, not whether the option is given."""


def add(commands) -> None:
    """Add the step."""
    parser = commands.add_parser(
        "all",
        help="run all steps that a YAML file describes",
        description="Run the steps that a YAML file describes, from archive to manifests. Each "
        "command is printed before it runs. Started again, it goes on where it was.",
    )
    parser.add_argument("file", type=Path, metavar="YAML", help="see examples/prepare")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="in place of what the file says, such as raw_root=DIR or signals.jobs=2",
    )
    parser.set_defaults(run=run)


class _RefusalError(Exception):
    """What argparse has to say, in place of an exit."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise _RefusalError(message)


@dataclass(frozen=True)
class Configuration:
    """A file of steps.

    Attributes:
        path: of the file.
        content: value, or values of a step by option, by key.
        lines: where keys are, ``splits.seed`` for an option; none for those of the command line.
    """

    path: Path
    content: dict[str, Any]
    lines: dict[str, int]

    def where(self, key: str) -> str:
        """Name the place of a key for a message."""
        return f"{self.path}, line {self.lines[key]}" if key in self.lines else f"{self.path}"


def run(arguments: argparse.Namespace) -> int:
    """Run the steps; returns 3 if records were quarantined on the way."""
    from fairseq_ecg.data.errors import DataError

    configuration = read(arguments.file, arguments.overrides)
    quarantined = False
    for step, command, parsed in plan(configuration):
        print(f"\n$ fairseq-ecg prepare {shlex.join(command)}", flush=True)
        if step == "subset":
            # Of an earlier run of this file: the step itself never writes into an existing folder.
            shutil.rmtree(parsed.save_dir, ignore_errors=True)
        try:
            status = parsed.run(parsed)
        except _RefusalError as error:
            raise DataError(f"{configuration.where(step)}: {step}: {error}") from None
        quarantined = quarantined or status == EXIT_SOME_LEFT_OUT
    return EXIT_SOME_LEFT_OUT if quarantined else 0


def plan(configuration: Configuration) -> list[tuple[str, list[str], argparse.Namespace]]:
    """Check the steps of a file.

    Returns:
        Name, command line and arguments of each step that it asks for.

    Raises:
        DataError: a step has no such option, or no such value.
    """
    planned = []
    for step in STEPS:
        if step in ALWAYS or step in configuration.content:
            command = _command(configuration, step)
            planned.append((step, command, _parse(configuration, step, command)))
    return planned


def _command(configuration: Configuration, step: str) -> list[str]:
    """Return the arguments of a step: what the file says, after what follows from the places."""
    content = configuration.content
    folder = Path(content["processed_root"])
    options = dict(content.get(step) or {})
    manifests = Path((content.get("manifests") or {}).get("save_dir", folder / "manifests"))
    signals = content.get("signals") or {}
    suffix = signals.get("results_suffix", "")
    of_splits = (content.get("splits") or {}).get("save_files_suffix", "_split")
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
    }[step]
    command = [step, *([str(manifests)] if step == "cmsc" else [])]
    for key, value in (defaults | options).items():
        option = f"--{key.replace('_', '-')}"
        if key in TEXT_OPTIONS and isinstance(value, bool):
            command.append(f"{option}={str(value).lower()}")
        elif value is True:
            command.append(option)
        elif isinstance(value, list):
            command.append(f"{option}={','.join(map(str, value))}")
        elif value is not None and value is not False:
            command.append(f"{option}={value}")
    return command


def _parse(configuration: Configuration, step: str, command: list[str]) -> argparse.Namespace:
    from fairseq_ecg.cli.prepare import STEPS as MODULES
    from fairseq_ecg.data.errors import DataError

    parser = _Parser()
    steps = parser.add_subparsers()
    for module in MODULES:
        module.add(steps)
    try:
        return parser.parse_args(command)
    except _RefusalError as error:
        message = str(error)
        key = step
        for name in configuration.content.get(step) or {}:
            if f"--{name.replace('_', '-')}" in re.split(r"[\s=:/,]+", message):
                key = f"{step}.{name}"
        message = message.replace("unrecognized arguments: ", "there is no option ")
        raise DataError(f"{configuration.where(key)}: {step}: {message}") from None


def read(path: Path, overrides: Sequence[str] = ()) -> Configuration:
    """Read a file of steps.

    Args:
        path: YAML file.
        overrides: ``KEY=VALUE`` in place of what it says.

    Raises:
        DataError: there is no such file, it is no YAML, or it has a key that means nothing.
    """
    from fairseq_ecg.data.documents import compose_yaml, load_yaml
    from fairseq_ecg.data.errors import DataError, as_data_error

    lines: dict[str, int] = {}
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with as_data_error(f"{path}: is no YAML"):
        text = path.read_text(encoding="utf-8")
        content = load_yaml(text, str(path))
        for key, node, line in _keys(compose_yaml(text, str(path)), path):
            lines[key] = line
            for option, _, line_of_option in _keys(node, path):
                lines[f"{key}.{option}"] = line_of_option
    if not isinstance(content, dict):
        raise DataError(f"{path}: is empty or no mapping of keys to values. See examples/prepare")
    configuration = Configuration(path, content, lines)
    for override in overrides:
        _override(content, override)
    for key, value in content.items():
        if key in STEPS:
            if not isinstance(value, dict | None):
                raise DataError(
                    f"{configuration.where(key)}: {key}: its options were expected, found {value!r}"
                )
        elif key not in PLACES:
            raise DataError(
                f"{configuration.where(key)}: there is no {key!r}: give "
                f"{', '.join(PLACES)}, or options of {', '.join(STEPS)}"
            )
    for key in PLACES[:3]:
        if content.get(key) is None:
            raise DataError(f"{path}: no value for {key!r}. Write it there, or give {key}=VALUE")
    return configuration


def _keys(node: Any, path: Path) -> list[tuple[str, Any, int]]:
    """Key, node of the value and line of each pair of a YAML mapping."""
    from fairseq_ecg.data.errors import DataError

    pairs = node.value if node is not None and node.id == "mapping" else []
    found: dict[str, tuple[str, Any, int]] = {}
    for key, value in pairs:
        line = key.start_mark.line + 1
        if key.value in found:
            raise DataError(
                f"{path}, line {line}: {key.value!r} is already in line {found[key.value][2]}"
            )
        found[key.value] = (key.value, value, line)
    return list(found.values())


def _override(content: dict[str, Any], override: str) -> None:
    from fairseq_ecg.data.documents import load_yaml
    from fairseq_ecg.data.errors import DataError

    key, equals, text = override.partition("=")
    step, dot, option = key.partition(".")
    if not equals or (dot and step not in STEPS):
        raise DataError(f"{override!r}: give KEY=VALUE, such as raw_root=DIR or signals.jobs=2")
    value = load_yaml(text, repr(override))
    if dot:
        options = content.get(step)
        content[step] = (options if isinstance(options, Mapping) else {}) | {option: value}
    else:
        content[key] = value
