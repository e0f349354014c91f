"""Reads fetch calls: "Copy as fetch" of every browser."""

from __future__ import annotations

import json
import re
from typing import Any

from policy_service.decisions.page_requests import normalize_method
from policy_service.decisions.pastes.model import PastedRequest, Unreadable, is_name
from policy_service.decisions.pastes.text import Block

MAX_CALLS = 100

_START = re.compile(r"[^\n]{0,100}?\bfetch\(\s*")
_CALL = re.compile(r"\bfetch\(\s*")
_COMMA = re.compile(r"\s*,\s*")
_DECODER = json.JSONDecoder()


def read(block: Block) -> list[PastedRequest] | None:
    """The requests of a block that starts with a fetch call."""
    text = block.text.lstrip()
    if not _START.match(text):
        return None
    found: list[PastedRequest] = []
    call = _CALL.search(text)
    while call is not None and len(found) < MAX_CALLS:
        request, end = _call(text, call.end())
        found.append(request)
        call = _CALL.search(text, end)
    return found


def _call(text: str, position: int) -> tuple[PastedRequest, int]:
    url, end = _json(text, position)
    options: Any = {}
    comma = _COMMA.match(text, end)
    if comma is not None:
        options, end = _json(text, comma.end())
    if not isinstance(url, str) or not isinstance(options, dict):
        raise _not_json()
    return _request(url, options), end


def _json(text: str, position: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError) as error:
        raise _not_json() from error


def _not_json() -> Unreadable:
    return Unreadable(
        "The address or the options of this fetch call are not JSON, so that its headers are unknown: copy the call "
        "from the browser's network panel (“Copy as fetch”) instead of the page's code."
    )


def _request(url: str, options: dict[str, Any]) -> PastedRequest:
    method, headers = options.get("method", "GET"), options.get("headers", {})
    if not isinstance(method, str) or not is_name(method):
        raise Unreadable("The method of this fetch call is not a valid method.")
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if not isinstance(pairs, list) or not all(_is_header(pair) for pair in pairs):
        raise Unreadable("The headers of this fetch call are not names with values.")
    lines = [(name, value) for name, value in pairs]
    referrer = options.get("referrer")
    if isinstance(referrer, str) and not any(name.lower() == "referer" for name, _ in lines):
        lines.append(("Referer", referrer))
    mode = options.get("mode", "cors")
    lines = [(name, value) for name, value in lines if name.lower() != "sec-fetch-mode"]
    lines.append(("Sec-Fetch-Mode", mode if isinstance(mode, str) else "cors"))
    has_credentials = options.get("credentials") == "include"
    return PastedRequest("fetch call", normalize_method(method), lines, url, has_credentials)


def _is_header(pair: Any) -> bool:
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(part, str) for part in pair)
        and is_name(pair[0])
    )
