"""What is often pasted, and is about a request without being one."""

from __future__ import annotations

import re

from policy_service.decisions.pastes.model import PastedRequest, Unreadable
from policy_service.decisions.pastes.text import Block

_FIRST_CHARACTERS = 2_000
_KNOWN = (
    (
        re.compile(r'"[A-Z]+ [^\s"]+ HTTP/\d(?:\.\d)?"[ \t]+\d{3}\b'),
        "This is a line of an access log, which does not hold the request's headers.",
    ),
    (
        re.compile(r"blocked by CORS policy|Cross-Origin Request Blocked|Origin \S+ is not allowed by Access-Control-"),
        "This is the browser's console message, which does not hold the request's method and headers: find the request "
        "in the network panel.",
    ),
    (
        re.compile(r"\A\s*(?:\$session\b|Invoke-(?:WebRequest|RestMethod)\b)"),
        "PowerShell commands are not supported: use “Copy as cURL” instead.",
    ),
)


def read(block: Block) -> list[PastedRequest] | None:
    """Nothing. Raises Unreadable for what is known not to be a request."""
    start = block.text[:_FIRST_CHARACTERS]
    for pattern, message in _KNOWN:
        if pattern.search(start):
            raise Unreadable(message)
    return None
