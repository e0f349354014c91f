"""Output: tables for people, JSON for scripts."""

from __future__ import annotations

import json
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


def show(output: str, data: Any, headings: Sequence[str], row: Callable[[Any], Sequence[object]]) -> None:
    """Print a list, as JSON or as a table: `row` gives the cells of an item."""
    if output == "json":
        echo_json(data)
    else:
        click.echo(table(headings, [row(item) for item in data]))


def echo_json(data: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


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
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as `2,000 tenants`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
