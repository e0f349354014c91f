"""The text of a paste without what copying and chats add to it."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_BLOCKS = 20

_LINE_END = re.compile("\r\n|\n|\r")
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]|\x1b\\[[0-9;]*[A-Za-z]")
_FENCE = re.compile(r"\s*(?:```|~~~)")


class Numbered(NamedTuple):
    """A line with its number in the paste, from 1."""

    number: int
    text: str


class Block(NamedTuple):
    """Lines that belong together, with white space at their ends taken off."""

    lines: list[Numbered]

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(line.text for line in self.lines).strip()


def blocks(text: str) -> list[Block]:
    """What is within code fences, block by block; everything where there are none."""
    visible = _INVISIBLE.sub("", text).replace("\u00a0", " ")
    lines = [Numbered(number, line.strip()) for number, line in enumerate(_LINE_END.split(visible), 1)]
    fences = [index for index, line in enumerate(lines) if _FENCE.match(line.text)][: 2 * MAX_BLOCKS]
    if not fences:
        return [Block(lines)]
    ends = [*fences[1::2], len(lines)]
    return [Block(lines[start + 1 : end]) for start, end in zip(fences[::2], ends, strict=False)]


def unsplit(text: str) -> Block:
    """The text as one line, for a form that has none."""
    return Block([Numbered(1, text.removeprefix("\ufeff"))])


def single_spaced(lines: list[Numbered]) -> list[Numbered]:
    """The lines from the first that is not blank; every other one where those between are all blank."""
    start = next((index for index, line in enumerate(lines) if line.text), len(lines))
    lines = lines[start:]
    between = lines[1::2]
    is_double_spaced = len(lines) > 2 and not any(line.text for line in between)
    return lines[::2] if is_double_spaced else lines
