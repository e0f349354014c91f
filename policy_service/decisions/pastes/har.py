"""Reads JSON: a HAR, one of its entries or requests, what Firefox copies of its headers panel, headers by name."""

from __future__ import annotations

import json
from typing import Any

from policy_service.decisions.pastes.header_names import is_request, usual_method
from policy_service.decisions.pastes.model import PastedRequest, Unreadable, is_name
from policy_service.decisions.pastes.text import Block


def read(block: Block) -> list[PastedRequest] | None:
    """The requests of a block that is JSON."""
    if not is_json(block):
        return None
    text = block.text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.startswith("["):
            return None
        raise Unreadable("This starts like JSON, but is not complete or not valid: copy all of it.") from error
    form = "HAR" if isinstance(value, dict) and "log" in value else "JSON"
    requests = [request for each in _entries(value) if (request := _request(each, form)) is not None]
    if not requests:
        raise Unreadable("This JSON holds no request: a HAR has requests in log.entries.")
    return requests


def is_json(block: Block) -> bool:
    """Whether a block starts as JSON does."""
    return block.text.startswith(("{", "["))


def _entries(value: Any) -> list[dict[str, Any]]:
    """The objects with headers that describe requests."""
    if isinstance(value, dict) and isinstance(value.get("log"), dict):
        value = value["log"].get("entries")
    found = []
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            continue
        inner = each.get("request", each)
        if isinstance(inner, dict) and "headers" in inner and "status" not in inner:
            found.append(inner)
        elif is_request(name for name, value in each.items() if isinstance(value, str)):
            found.append({"headers": each})
        # Firefox: `Request Headers (512 B)`.
        found += [part for name, part in each.items() if name.startswith("Request Headers") and isinstance(part, dict)]
    return found


def _request(request: dict[str, Any], form: str) -> PastedRequest | None:
    raw = request.get("headers")
    if isinstance(raw, dict):
        pairs = list(raw.items())
    else:
        objects = [each for each in raw if isinstance(each, dict)] if isinstance(raw, list) else []
        pairs = [(each.get("name"), each.get("value")) for each in objects]
    headers = [(name, value) for name, value in pairs if _is_header(name, value)]
    method, url = request.get("method", usual_method(headers)), request.get("url")
    if not isinstance(method, str) or not is_name(method):
        return None
    return PastedRequest(form, method, headers, url if isinstance(url, str) else None)


def _is_header(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, str) and is_name(name)
