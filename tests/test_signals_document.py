"""The document of fairseq_signals' names is the table by which they are found.

``python -m tests.test_signals_document`` writes it again.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fairseq_ecg.compat.published import names
from fairseq_ecg.compat.published.missing import DIFFERENCES, MISSING
from fairseq_ecg.compat.published.names import OFFERED
from fairseq_ecg.compat.published.scripts import SCRIPTS

DOCUMENT = Path(names.__file__).with_name("README.md")


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def counterpart(source: str, name: str) -> str:
    """Write where a name is found: ``module.name``, or what is registered."""
    module, _, here = source.partition(":")
    return f"`{module}.{here or name}`"


def differences(module: str, name: str, source: str) -> str:
    """Say what differs, also of a name that another module has too."""
    notes = {
        note
        for path, note in DIFFERENCES.items()
        for found, _, attribute in [path.rpartition(".")]
        if attribute == name and OFFERED[found][name] == source
    }
    return "; ".join(sorted(notes))


def names_of(module: str) -> Iterator[str]:
    for name, source in OFFERED[module].items():
        yield row(f"`{name}`", counterpart(source, name), differences(module, name, source))
    for name, remedy in MISSING.get(module, {}).items():
        yield row(f"`{name}`", "none", remedy)


def table_of_names() -> str:
    lines = []
    for module in sorted(OFFERED):
        title = f"`fairseq_signals.{module}`".replace(".`", "`")
        rows = sorted(names_of(module), key=str.lower)
        lines += [f"### {title}", ""]
        if rows:
            lines += [row("name", "here", "what differs"), "|---|---|---|", *rows, ""]
        else:
            lines += ["No names of its own.", ""]
    return "\n".join(lines)


def table_of_scripts() -> str:
    lines = [row("script", "command"), "|---|---|"]
    for script, commands in SCRIPTS.items():
        program = script if script.endswith(".py") else f"fairseq_signals.{script}"
        written = " and ".join(f"`{command}`" for command in commands.split(" and "))
        lines.append(row(f"`{program}`", written))
    return "\n".join(lines) + "\n"


PARTS = {"names": table_of_names, "scripts": table_of_scripts}


def test_tables_are_those_that_are_used():
    text = DOCUMENT.read_text()
    for name, make in PARTS.items():
        found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.S)
        assert found, name
        assert found[1].strip() == make().strip(), "run python -m tests.test_signals_document"


def write() -> None:
    text = DOCUMENT.read_text()
    for name, make in PARTS.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        after = rest.partition("<!-- end -->")[2]
        text = f"{before}<!-- {name} -->\n{make().strip()}\n<!-- end -->{after}"
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    write()
