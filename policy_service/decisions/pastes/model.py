"""What the readers of pastes give: requests, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from corspolicy.core.http_names import is_token
from policy_service.decisions.pastes.text import Block

FETCH_CALL = "fetch call"


class PastedRequest(NamedTuple):
    """A request that was read from a paste. `url` is None where the paste does not name it."""

    form: str
    method: str
    headers: list[tuple[str, str]]
    url: str | None = None
    has_credentials: bool = False

    def value(self, name: str) -> str | None:
        """The first line of a header, by its lower-case name."""
        return next((value for each, value in self.headers if each.lower() == name), None)

    @property
    def is_preflight(self) -> bool:
        """Whether this is a preflight (Fetch, section 3.3.2)."""
        return self.method == "OPTIONS" and self.value("access-control-request-method") is not None


class Unreadable(Exception):
    """Why no request can be read from a paste: a sentence, and each line at fault, if it is about lines."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.lines = list(lines)


Reader = Callable[[Block], list[PastedRequest] | None]
"""Reads one form: None for a block in another form. Raises Unreadable for one in this form that has a fault."""


def is_name(text: str) -> bool:
    """Whether this is a valid header name or method (RFC 9110, section 5.6.2)."""
    return text.isascii() and is_token(text.encode())
