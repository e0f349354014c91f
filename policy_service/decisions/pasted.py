"""Reads a request as people paste it: raw, as `curl -v` prints it, or as a browser's developer tools give it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple

from corspolicy.core.http_names import is_token
from policy_service.errors import MAX_ERRORS, ErrorItem, Problem

_REQUEST_LINE = re.compile(r"(\S+) +\S+ +HTTP/\d(?:\.\d)?")


class Pasted(NamedTuple):
    """A request's method and header lines."""

    method: str
    headers: list[tuple[str, str]]


def read(text: str) -> Pasted:
    """Read the head of a request. Raises Problem 422 with every line that is none of one."""
    lines = _head(text)
    method: str | None = None
    if lines and (request_line := _REQUEST_LINE.fullmatch(lines[0][1])):
        method, lines = request_line[1], lines[1:]
    headers: list[tuple[str, str]] = []
    errors: list[ErrorItem] = []
    for number, line in _joined(lines):
        is_pseudo = line.startswith(":")
        name, colon, value = line[is_pseudo:].partition(":")
        if not colon or not _is_token(name):
            errors.append(_error(f"Line {number} is no header line such as `Origin: https://app.example.com`."))
        elif not is_pseudo:
            headers.append((name, value.strip()))
        elif name == "method":
            method = value.strip()
    if method is None:
        # Developer tools may show no more than the headers; this one comes with preflights alone.
        is_preflight = any(name.lower() == "access-control-request-method" for name, _ in headers)
        method = "OPTIONS" if is_preflight else "GET"
    if not _is_token(method):
        errors.append(_error("The request's method is no token such as OPTIONS."))
    if not lines:
        errors.append(_error("There is no header line: paste the whole head of the request."))
    if errors:
        detail = "The request can't be read: paste a raw one, the output of `curl -v`, or a browser's request headers."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "malformed-request", detail, errors[:MAX_ERRORS])
    return Pasted(method, headers)


def _head(text: str) -> list[tuple[int, str]]:
    """The lines of the request's head with their numbers: of curl's output those that it sent."""
    lines = [(number, line.strip()) for number, line in enumerate(re.split("\r\n|\n|\r", text), 1)]
    if any(line.startswith("> ") for _, line in lines):
        lines = [(number, line[1:].strip()) for number, line in lines if line.startswith(">")]
    while lines and not lines[0][1]:
        lines.pop(0)
    end = next((index for index, (_, line) in enumerate(lines) if not line), len(lines))
    return lines[:end]


def _joined(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """One line a header, also where names and values stand in lines of their own, as Chromium copies its table."""
    if not lines or not lines[0][1].endswith(":"):
        return lines
    values = [line for _, line in lines[1::2]] + [""]
    return [(number, name + value) for (number, name), value in zip(lines[::2], values, strict=False)]


def _is_token(text: str) -> bool:
    return text.isascii() and is_token(text.encode())


def _error(detail: str) -> ErrorItem:
    return ErrorItem(code="request_malformed", pointer="/request", detail=detail)
