"""Output: tables for people, JSON for scripts. Neither has a character that a terminal obeys, whoever wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table for people, or JSON for scripts.",
)


_UNUSUAL = re.compile(r"[^ -~\n]")


def echo(line: str = "", *, colour: str | None = None, err: bool = False) -> None:
    """Print one line, whatever is in it."""
    click.secho(plain(line), fg=colour, err=err)


def echo_lines(text: str, *, colour: str | None = None, err: bool = False, nl: bool = True) -> None:
    """Print lines."""
    click.secho(plain_lines(text), fg=colour, err=err, nl=nl)


def ask(question: str) -> None:
    """Ask, and raise click.Abort unless the answer is yes."""
    click.confirm(plain(question), abort=True)


def show(output: str, data: Any, headings: Sequence[str], row: Callable[[Any], Sequence[object]]) -> None:
    """Print a list, as JSON or as a table: `row` gives the cells of an item."""
    if output == "json":
        echo_json(data)
    else:
        echo_lines(table(headings, [row(item) for item in data]))


def echo_json(data: Any) -> None:
    """Print a value as JSON."""
    echo_lines(json_text(data, indent=2))


def json_text(data: Any, indent: int | None = None) -> str:
    """A value as JSON. Letters of all languages are as they are, what is not printable is escaped."""
    return escaped(json.dumps(data, indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    """JSON, or YAML whose strings with such characters are in double quotes, with all that is not printable escaped."""
    return _UNUSUAL.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as text: columns under headings, as wide as their content."""
    lines = [[heading.upper() for heading in headings], *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: object) -> str:
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def plain(text: str) -> str:
    """The text with everything escaped that could control a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def plain_lines(text: str) -> str:
    """The same, with its line breaks."""
    return "\n".join(map(plain, text.split("\n")))


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as `2,000 tenants`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
