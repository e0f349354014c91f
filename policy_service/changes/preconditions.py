"""If-Match (RFC 9110, section 13.1.1) against revisions."""

from __future__ import annotations

from http import HTTPStatus

from policy_service.errors import Problem


class Precondition:
    """The If-Match of a request (RFC 9110, section 13.1.1) against a document's revision."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    @property
    def is_missing(self) -> bool:
        """Whether the request says nothing of what it builds on."""
        return self._value is None

    def require(self, revision: int) -> None:
        """Raises Problem: 428 without If-Match, 412 if it names another revision."""
        if self._value is None:
            detail = f'Send If-Match with the ETag that you read (now {etag(revision)}), or "*" to overwrite anything.'
            raise Problem(HTTPStatus.PRECONDITION_REQUIRED, "precondition-required", detail)
        self.check(revision)

    def check(self, revision: int) -> None:
        """Raises Problem 412 if there is an If-Match and it names another revision."""
        if self._value is None or self._value.strip() == "*":
            return
        if etag(revision) not in [tag.strip() for tag in self._value.split(",")]:
            detail = (
                f"If-Match names another revision: it is {etag(revision)} now. Read it, and send its ETag as it is."
            )
            raise Problem(HTTPStatus.PRECONDITION_FAILED, "stale", detail, headers={"ETag": etag(revision)})


def etag(revision: int) -> str:
    """The entity tag of a document: its revision."""
    return f'"{revision}"'
