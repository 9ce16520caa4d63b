"""How ``--help`` is written: plain text, as wide as the terminal."""

import contextlib
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel

COLUMN = 24
"""Where explanations begin; below names that reach so far."""


class HelpFormatter:
    """What Cyclopts calls to write ``--help``."""

    def __call__(self, console: Any, options: Any, panel: "HelpPanel") -> None:
        """Write a group of options or commands."""
        if not panel.entries:
            return
        lines = [f"{panel.title}:"]
        for entry in panel.entries:
            name, explanation = f"  {_name(entry)}", _explanation(entry)
            if len(name) > COLUMN - 2:
                lines.append(name)
                name = ""
            lines += textwrap.wrap(
                explanation,
                console.width,
                initial_indent=name.ljust(COLUMN),
                subsequent_indent=" " * COLUMN,
                break_long_words=False,
                break_on_hyphens=False,
            ) or [name]
        _write(console, "\n".join(lines))

    def render_usage(self, console: Any, options: Any, usage: Any) -> None:
        """Write how a command is called."""
        _write(console, textwrap.fill(f"Usage: {usage}", console.width, subsequent_indent=" " * 7))

    def render_description(self, console: Any, options: Any, text: Any) -> None:
        """Write what a command does."""
        paragraphs = _plain(text).strip().split("\n\n")
        _write(console, "\n\n".join(textwrap.fill(part, console.width) for part in paragraphs))


def _name(entry: "HelpEntry") -> str:
    names = [entry.positional_label] if entry.positional_label else [*entry.all_options]
    value = f"{{{','.join(entry.choices)}}}" if entry.choices else entry.metavar
    return ", ".join(names) + (f" {value}" if value and not entry.positional_label else "")


def _explanation(entry: "HelpEntry") -> str:
    notes = [_plain(entry.description).strip()]
    if entry.default is not None:
        notes.append(f"(default: {entry.default})")
    if entry.required:
        notes.append("(required)")
    return " ".join(filter(None, notes))


def _plain(text: Any) -> str:
    return str(getattr(text, "primary_renderable", text) or "")


def _write(console: Any, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # a reader such as head has seen enough
        console.file.write(f"{text}\n\n")
