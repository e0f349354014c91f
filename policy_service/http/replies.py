"""A response as a value, before it is sent: it can be stored, repeated and extended."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import Response

JSON = "application/json"


class Reply(NamedTuple):
    """The status, headers (their names in lower case) and JSON of a response to a write."""

    status: int
    headers: dict[str, str]
    body: bytes
    revision: int | None = None
    """The tenant's revision after the write; None where nothing of a tenant was written."""
    changed: bool = True
    """Whether anything was written."""

    def to_response(self) -> Response:
        """The response to send."""
        return Response(self.body, self.status, self.headers, JSON if self.body else None)
