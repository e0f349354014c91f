"""Reads the heads of requests: raw ones, and what browsers' developer tools show, section by section."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from policy_service.decisions.pastes import header_lines
from policy_service.decisions.pastes.header_lines import METHOD, URL, Pair
from policy_service.decisions.pastes.header_names import is_request, is_response, usual_method, without_response
from policy_service.decisions.pastes.model import PastedRequest, Unreadable, is_name
from policy_service.decisions.pastes.text import Block, Numbered, single_spaced

MAX_WRONG_LINES = 100
RESPONSE_ONLY = (
    "These are the headers of a response, and the decision is about the request: paste the request's headers instead, "
    "or as well."
)

_REQUEST_LINE = re.compile(r"(\S+)[ \t]+(\S+)[ \t]+HTTP/\d(?:\.\d)?")
# As a browser's panel and files of requests show it.
_SHORT_REQUEST_LINE = re.compile(r"([A-Z]+)[ \t]+(/\S*|https?://\S+)")
_STATUS_LINE = re.compile(r"HTTP/\d(?:\.\d)?[ \t]+\d{3}\b.*")
_LONGEST_TITLE = 60
_SIZE = re.compile(r"[ \t]*\([^()]*\)$")
_REQUEST_HEADERS = "request headers"
_OTHER_SECTIONS = frozenset(
    (
        "cookies", "early hints headers", "form data", "payload", "query string parameters", "request cookies",
        "request payload", "response", "response cookies", "response headers", "timing", "timings",
    )
)  # fmt: skip
_ORNAMENT = re.compile(
    r"general|raw|parsed|view (?:source|parsed|decoded)|learn more|disable cache to see full headers.*", re.IGNORECASE
)
# Where the title was not copied, this still stands at the head of the request's headers.
_PROVISIONAL = re.compile(r".{0,5}provisional headers are shown.*", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S+")


@dataclass
class _Head:
    """One request so far. `is_raw`: it has a request line; `is_titled`: its lines are those of a titled section."""

    method: str | None = None
    url: str | None = None
    lines: list[Numbered] = field(default_factory=list)
    is_raw: bool = False
    is_titled: bool = False

    @property
    def is_complete(self) -> bool:
        return bool(self.lines) and (self.is_raw or self.is_titled)


def read(block: Block, form: str = "request headers") -> list[PastedRequest]:
    """The requests of a block. Raises Unreadable if it has none."""
    heads, has_response = _heads(single_spaced(block.lines))
    if not heads and has_response:
        raise Unreadable(RESPONSE_ONLY)
    if not heads:
        raise Unreadable("This is not a request." if block.text else "There is nothing to read.")
    return [_request(head, form) for head in heads]


def is_request_line(text: str) -> bool:
    """Whether this is the first line of a raw request (RFC 9112, section 3)."""
    return _REQUEST_LINE.fullmatch(text) is not None


def _heads(lines: list[Numbered]) -> tuple[list[_Head], bool]:
    """The requests, and whether something else of an exchange was left out."""
    heads = [_Head()]
    is_reading, has_left_out = True, False
    for line in lines:
        text = line.text
        title = _title(text)
        starts_summary = text.lower().startswith(URL)
        request_line = _REQUEST_LINE.fullmatch(text) or _SHORT_REQUEST_LINE.fullmatch(text)
        if _ORNAMENT.fullmatch(text):
            continue
        if title in _OTHER_SECTIONS or _STATUS_LINE.fullmatch(text):
            is_reading, has_left_out = False, True
            continue
        if (request_line or starts_summary or title == _REQUEST_HEADERS) and heads[-1].is_complete:
            heads.append(_Head())
        head = heads[-1]
        if title == _REQUEST_HEADERS:
            # What came before is the summary, or the panel's tabs.
            head.method, head.url = _summary(head, METHOD) or head.method, _summary(head, URL) or head.url
            head.lines, head.is_titled = [], True
        elif request_line:
            head.method, head.url = request_line[1], request_line[2]
            head.is_raw = request_line.re is _REQUEST_LINE
        elif _ADDRESS.fullmatch(text) and not head.lines:
            # The first row of the summary, copied without its name.
            head.url = text
        elif is_reading or starts_summary:
            head.lines += [line] if text or head.lines else []
        else:
            continue
        is_reading = True
    return [
        head for head in heads if head.method or head.is_titled or any(text for _, text in head.lines)
    ], has_left_out


def _title(text: str) -> str:
    """The lower-case title of a section, without marks and size; some text else."""
    if _PROVISIONAL.fullmatch(text):
        return _REQUEST_HEADERS
    return _SIZE.sub("", text).strip("#*_: ").replace("-", " ").lower() if len(text) <= _LONGEST_TITLE else ""


def _summary(head: _Head, name: str) -> str | None:
    """The value of a row of the summary above the headers, in its own line or in the next."""
    for index, (_, text) in enumerate(head.lines):
        if text.lower().startswith(name):
            following = head.lines[index + 1].text if index + 1 < len(head.lines) else ""
            return text[len(name) :].lstrip(":").strip() or following or None
    return None


def _request(head: _Head, form: str) -> PastedRequest:
    pairs, wrong = header_lines.read(head.lines, has_body=head.is_raw)
    pairs = _from_pseudo_headers(pairs)
    by_name = {name.lower(): value for name, value in pairs}
    headers = [(name, value) for name, value in pairs if is_name(name)]
    names = [name for name, _ in headers]
    method = by_name.get(":method", _summary(head, METHOD) or head.method)
    if method is None and not head.is_titled and not is_request(names):
        if ":status" in by_name or is_response(names):
            raise Unreadable(RESPONSE_ONLY)
        raise Unreadable("This is not a request.")
    if wrong:
        lines = [f"Line {number} is not a header such as `Origin: https://app.example.com`." for number in wrong]
        raise Unreadable("Some lines of the request are not headers.", lines[:MAX_WRONG_LINES])
    if not headers:
        raise Unreadable("The request has no headers: paste them as well.")
    if method is not None and not is_name(method):
        raise Unreadable(f"{method[:50]!r} is not a valid method.")
    headers = headers if head.is_raw else without_response(headers)
    url = _summary(head, URL) or head.url
    if ":authority" in by_name:
        url = f"{by_name.get(':scheme', 'https')}://{by_name[':authority']}"
    return PastedRequest(form, method or usual_method(headers), headers, url)


def _from_pseudo_headers(pairs: list[Pair]) -> list[Pair]:
    """The pairs from the pseudo-headers on, with which a request starts: a response's headers may stand before."""
    requests = (":authority", ":method", ":path", ":scheme")
    start = next((index for index, (name, _) in enumerate(pairs) if name.lower() in requests), 0)
    return pairs[start:]
