"""Reads a request from a paste, whichever form it has."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from policy_service.decisions.pastes import curl_command, curl_verbose, fetch_call, har, heads, not_requests
from policy_service.decisions.pastes.model import PastedRequest, Reader, Unreadable
from policy_service.decisions.pastes.referrers import missing_origin
from policy_service.decisions.pastes.text import Block, blocks, unsplit

# A HAR may be longer: it holds much beside the request.
MAX_CHARACTERS = 65_536
MAX_HEADERS = 1_000
WHAT_TO_PASTE = (
    "Paste a request from the browser's network panel (“Copy as cURL”, “Copy as fetch”, its request headers, or all as "
    "HAR), the output of `curl -v`, or a raw request."
)

_READERS: tuple[Reader, ...] = (
    har.read, fetch_call.read, curl_verbose.read, curl_command.read, not_requests.read, heads.read,
)  # fmt: skip


class ReadRequest(NamedTuple):
    """The request that was read, and which part of the paste it is."""

    request: PastedRequest
    read_from: str


def read(text: str, entry: int | None = None) -> ReadRequest:
    """Read the request number `entry`, from 1, or the first that has an Origin. Raises Unreadable, and nothing else."""
    found = _read_first(_blocks(text))
    if entry is not None and entry > len(found):
        raise Unreadable(f"The paste has {len(found)} request{'s' * (len(found) > 1)}, so there is no number {entry}.")
    number = _first_with_origin(found) if entry is None else entry
    request = found[number - 1]
    if len(request.headers) > MAX_HEADERS:
        raise Unreadable(f"The request has more than {MAX_HEADERS} headers.")
    words = [request.form]
    if len(found) > 1:
        words.append(f"request {number} of {len(found)}")
    if (origin := missing_origin(request)) is not None:
        words.append("with the Origin that its Referer implies")
        request = request._replace(headers=[*request.headers, ("Origin", origin)])
    elif len(found) > 1 and entry is None and request.value("origin") is not None:
        words.append("the first with an Origin")
    return ReadRequest(request, ", ".join(words))


def _blocks(text: str) -> list[Block]:
    if len(text) <= MAX_CHARACTERS:
        return blocks(text)
    json = unsplit(text)
    if not har.is_json(json):
        raise Unreadable(f"This is longer than {MAX_CHARACTERS} characters: paste one request only.")
    return [json]


def _read_first(parts: list[Block]) -> list[PastedRequest]:
    """The requests of the first block that has any."""
    first_error: Unreadable | None = None
    for block in parts:
        try:
            return _read_block(block)
        except Unreadable as error:
            first_error = first_error or error
    raise first_error or Unreadable("There is nothing to read.")


def _read_block(block: Block) -> list[PastedRequest]:
    for read_form in _READERS:
        found = read_form(block)
        if found:
            return found
    raise Unreadable("There is nothing to read.")


def _first_with_origin(requests: list[PastedRequest]) -> int:
    numbered = list(enumerate(requests, 1))
    with_origin = (number for number, request in numbered if request.value("origin") is not None)
    implied = (number for number, request in numbered if missing_origin(request) is not None)
    return next(chain(with_origin, implied), 1)
