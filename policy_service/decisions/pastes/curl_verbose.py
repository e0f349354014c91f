"""Reads what `curl -v` prints, with and without `--trace-time` and `--trace-ids`."""

from __future__ import annotations

import re

from policy_service.decisions.pastes import heads
from policy_service.decisions.pastes.header_lines import pair_of
from policy_service.decisions.pastes.model import PastedRequest, Unreadable
from policy_service.decisions.pastes.text import Block, Numbered

_LINE = re.compile(r"(?:\d\d:\d\d:\d\d\.\d+[ \t]+)?(?:\[[\w-]+\][ \t]+)?([<>])(?:[ \t]+(.*))?")


def read(block: Block) -> list[PastedRequest] | None:
    """The requests of a block in which lines are marked as sent (`>`)."""
    sent, has_received = [], False
    for number, text in block.lines:
        line = _LINE.fullmatch(text)
        if line is not None and line[1] == ">":
            sent.append(Numbered(number, (line[2] or "").strip()))
        has_received |= line is not None and line[1] == "<" and (line[2] or "").startswith("HTTP/")
    if any(heads.is_request_line(text) or pair_of(text) for _, text in sent):
        return heads.read(Block(sent), "output of curl -v")
    if has_received:
        raise Unreadable(heads.RESPONSE_ONLY)
    return None
