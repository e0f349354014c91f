"""If-Match against a tenant's revision (RFC 9110, section 13.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from policy_service.errors import Problem


@dataclass(frozen=True, slots=True)
class Precondition:
    """The If-Match of a request; None where it has none."""

    if_match: str | None

    @property
    def is_missing(self) -> bool:
        """Whether the request has no If-Match."""
        return self.if_match is None

    def require(self, revision: int) -> None:
        """Raise Problem 428 without If-Match, 412 if it names another revision."""
        if self.if_match is None:
            detail = f'Send If-Match with the ETag that you read (now {etag(revision)}), or "*" to overwrite anything.'
            raise Problem(HTTPStatus.PRECONDITION_REQUIRED, "precondition-required", detail)
        self.check(revision)

    def check(self, revision: int) -> None:
        """Raise Problem 412 if there is an If-Match and it names another revision."""
        if self.if_match is None or self.if_match.strip() == "*":
            return
        if etag(revision) not in [tag.strip() for tag in self.if_match.split(",")]:
            detail = f"If-Match names another revision: the current ETag is {etag(revision)}. Read it again and retry."
            raise Problem(HTTPStatus.PRECONDITION_FAILED, "stale", detail, headers={"ETag": etag(revision)})


ANYTHING = Precondition("*")
"""Overwrites whatever is there."""


def etag(revision: int) -> str:
    """The entity tag of a document: its revision."""
    return f'"{revision}"'
