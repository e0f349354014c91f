"""The pages, and what the tests read in them.

A block fenced as `sh` is run. The block right behind it, of any other language, is its output; a block without one
only has to succeed. A comment in the line above a block, `<!-- not run: why -->`, exempts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from tests.support import ROOT

PAGES = tuple(
    sorted(path for path in ROOT.glob("*.md"))
    + sorted((ROOT / "docs").glob("*.md"))
    + sorted((ROOT / "client").glob("*.md"))
)

# The pages of a sitting are read from top to bottom, in this order, on one fresh `make run`.
SITTINGS: Sequence[Sequence[str]] = (
    ("README.md", "docs/policies.md", "docs/api.md", "docs/keys.md", "docs/cli.md", "docs/probe.md"),
    ("docs/3am.md",),
    ("docs/gitops.md", "docs/preview-deployments.md"),
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\n\Z")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A block of commands, and what the page says that it prints."""

    line: int
    text: str
    output: str | None
    """None where the page shows no output."""
    output_span: tuple[int, int]
    """Where the output is in the page's text."""


def commands(page: str) -> Iterator[Command]:
    """The blocks of a page that are to be run."""
    blocks = list(_FENCE.finditer(page))
    for block, following in zip_longest(blocks, blocks[1:]):
        if block[1] != "sh" or _NOT_RUN.search(page[: block.start()]):
            continue
        line = page.count("\n", 0, block.start()) + 2
        if following is None or following[1] == "sh" or page[block.end() : following.start()].strip():
            yield Command(line, block[2], None, (0, 0))
        else:
            yield Command(line, block[2], following[2], following.span(2))


def prose(page: str) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", page)


def links(page: str) -> list[str]:
    """The targets of all links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings can be linked to, as GitHub makes them."""
    names = [
        re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in _HEADING.findall(prose(page.read_text()))
    ]
    return set(names)
