"""What is wrong with an Origin that no browser sends."""

from __future__ import annotations

import re

from corspolicy.core.origins import MAX_ORIGIN_BYTES, Origin
from corspolicy.core.patterns import InvalidOrigin, OriginPattern
from policy_service.decisions.inputs import DecisionInput, text_of
from policy_service.decisions.near_misses.wording import sent_origin
from policy_service.documents.domains import to_ascii

MAX_PARTS = 5
MORE_THAN_ONE = (
    "the request has more than one Origin, and browsers send one: find what adds another on the way, such as a proxy"
)

_SEPARATOR = re.compile(rb"[,\s]+")


def joined_origins(value: bytes) -> list[bytes]:
    """The first of the origins in a value that holds several, joined by commas or spaces; empty if it does not."""
    parts = [part for part in _SEPARATOR.split(value, maxsplit=MAX_PARTS) if part][:MAX_PARTS]
    origins = [part for part in parts if b"://" in part or part == b"null"]
    return origins if len(origins) > 1 else []


def defect(value: bytes) -> InvalidOrigin | None:
    """What is wrong with the form of one origin, as the core tells it."""
    if len(value) > 2 * MAX_ORIGIN_BYTES or Origin.parse(value) is not None:
        return None
    try:
        OriginPattern.parse(text_of(value), to_ascii)
    except InvalidOrigin as error:
        return error
    return None


def explain(request: DecisionInput) -> str:
    """What is wrong with the Origin of a request, and what to do."""
    value = request.value(b"origin")
    if joined_origins(value):
        return f"{MORE_THAN_ONE[0].upper()}{MORE_THAN_ONE[1:]}."
    found = defect(value)
    why = "It is not a scheme, host and port as browsers send them." if found is None else found.message
    return f"The Origin {sent_origin(request)} is not valid: {why}"
