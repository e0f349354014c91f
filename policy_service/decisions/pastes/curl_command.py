"""Reads curl commands: "Copy as cURL" of every browser, for bash and for cmd, and those written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy_service.decisions.pastes.model import PastedRequest, Unreadable, is_name
from policy_service.decisions.pastes.shell_words import commands
from policy_service.decisions.pastes.text import Block

# Perhaps behind a prompt.
_COMMAND = re.compile(r"(?:[^\n]{0,100}[$%#>!]\s*)?(?:sudo\s+|time\s+)?(?=curl(?:\.exe)?\s)")
_ADDRESS = re.compile(r"://|/|localhost")
# Options with a value, by their short names; those that have none by their long ones.
_WITH_VALUE = frozenset("AbcCdDeEFHKmoPQrtTuUwxXyYz") | {"json", "oauth2-bearer", "url"}
_SHORT = {
    "cookie": "b", "data": "d", "data-ascii": "d", "data-binary": "d", "data-raw": "d", "data-urlencode": "d",
    "form": "F", "form-string": "F", "get": "G", "head": "I", "header": "H", "referer": "e", "request": "X",
    "upload-file": "T", "user": "u", "user-agent": "A",
}  # fmt: skip
_HEADERS = {"A": "User-Agent", "b": "Cookie", "e": "Referer", "oauth2-bearer": "Authorization", "u": "Authorization"}


def read(block: Block) -> list[PastedRequest] | None:
    """The requests of a block that starts with a curl command."""
    text = block.text
    start = _COMMAND.match(text)
    if start is None:
        return None
    words = commands(text[start.end() :])
    requests = [_request(list(_options(rest))) for command, *rest in words if command in ("curl", "curl.exe")]
    return [request for request in requests if request.headers or request.url] or None


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Each option with its value; an address as the option `url`."""
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name = _SHORT.get(word[2:], word[2:])
            yield name, next(rest, "") if name in _WITH_VALUE else ""
            continue
        if not word.startswith("-"):
            # Or the value of an option that is not known here.
            yield "url", word
            continue
        for index, name in enumerate(word[1:], 2):
            if name in _WITH_VALUE:
                yield name, word[index:] or next(rest, "")
                break
            yield name, ""


def _request(options: list[tuple[str, str]]) -> PastedRequest:
    headers: list[tuple[str, str]] = []
    for name, value in options:
        if name == "H" and not value.startswith("@"):
            headers += _header(value)
        elif name in _HEADERS:
            headers.append((_HEADERS[name], value))
    given = {header.lower() for header, _ in headers}
    names = {name for name, _ in options}
    if "json" in names and "content-type" not in given:
        headers.append(("Content-Type", "application/json"))
    method = next((value for name, value in reversed(options) if name == "X"), None) or _default_method(names)
    if not is_name(method):
        raise Unreadable(f"{method[:50]!r} after -X is not a valid method.")
    url = next((value for name, value in options if name == "url" and _ADDRESS.search(value)), None)
    return PastedRequest("curl command", method, headers, url)


def _header(text: str) -> list[tuple[str, str]]:
    name, separator, value = text.partition(":")
    if not separator:
        name, separator, value = text.partition(";")
    if not separator or not is_name(name.strip()):
        raise Unreadable(f"{text[:100]!r} after -H is not a header such as 'Origin: https://app.example.com'.")
    # curl takes `Name:` as the wish to send no such header.
    return [(name.strip(), value.strip())] if value.strip() or separator == ";" else []


def _default_method(names: set[str]) -> str:
    if "I" in names:
        return "HEAD"
    if "T" in names:
        return "PUT"
    return "POST" if "G" not in names and names & {"d", "F", "json"} else "GET"
