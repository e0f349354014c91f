"""Reads fetch calls: "Copy as fetch" of every browser, and those in a page's code."""

from __future__ import annotations

import re
from typing import Any

from corspolicy.core.http_names import normalized_method
from policy_service.decisions.pastes.header_lines import pair_of
from policy_service.decisions.pastes.heads import is_request_line
from policy_service.decisions.pastes.js_literals import UNKNOWN, Literals
from policy_service.decisions.pastes.model import FETCH_CALL, PastedRequest, Unreadable, is_name
from policy_service.decisions.pastes.text import Block

MAX_CALLS = 100

_CALL = re.compile(r"\bfetch\(")


def read(block: Block) -> list[PastedRequest] | None:
    """The requests of a block of code with fetch calls."""
    text = block.text
    first_line = text.partition("\n")[0]
    call = None if pair_of(first_line) or is_request_line(first_line) else _CALL.search(text)
    found: list[PastedRequest] = []
    while call is not None and len(found) < MAX_CALLS:
        code = Literals(text, call.end())
        url = code.value()
        options = code.value() if code.takes(",") else {}
        found.append(_request(url, options))
        call = _CALL.search(text, code.position)
    if found and not any(request.value("origin") or request.value("referer") for request in found):
        raise Unreadable(
            "The fetch call does not say on which page it is: add the page's address to its options, such as "
            "`referrer: 'https://app.example.com/'`."
        )
    return found or None


def _request(url: Any, options: Any) -> PastedRequest:
    if not isinstance(options, dict):
        raise Unreadable("The options of the fetch call are not written in it, so that its headers are unknown.")
    method, headers, referrer = (options.get(name) for name in ("method", "headers", "referrer"))
    method = "GET" if method is None else method
    if not isinstance(method, str) or not is_name(method):
        raise Unreadable("The method of the fetch call is not written in it as a valid method.")
    lines = _headers({} if headers is None else headers)
    if isinstance(referrer, str) and not any(name.lower() == "referer" for name, _ in lines):
        lines.append(("Referer", referrer))
    mode = options.get("mode")
    lines = [(name, value) for name, value in lines if name.lower() != "sec-fetch-mode"]
    lines.append(("Sec-Fetch-Mode", mode if isinstance(mode, str) else "cors"))
    has_credentials = options.get("credentials") == "include"
    return PastedRequest(
        FETCH_CALL, normalized_method(method), lines, url if isinstance(url, str) else None, has_credentials
    )


def _headers(headers: Any) -> list[tuple[str, str]]:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if not isinstance(pairs, list) or not all(_is_header(pair) for pair in pairs):
        raise Unreadable("The headers of the fetch call are not written in it as names with values.")
    # A preflight asks for the name alone.
    return [(name, "" if value is UNKNOWN else value) for name, value in pairs]


def _is_header(pair: Any) -> bool:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return False
    name, value = pair
    return isinstance(name, str) and is_name(name) and (value is UNKNOWN or isinstance(value, str))
