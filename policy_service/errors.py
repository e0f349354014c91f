"""Errors that a caller is told about. They know no framework: `http/` turns them into responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails

from corspolicy.core.validation import Finding, json_pointer

MAX_ERRORS = 100


class ErrorItem(BaseModel):
    """One thing that is wrong with a request."""

    code: str
    pointer: str = Field(description="JSON pointer (RFC 6901) to the value in the request body")
    detail: str
    suggestion: str | None = Field(default=None, description="the nearest value that would be accepted")

    @classmethod
    def of(cls, finding: Finding, prefix: str = "") -> ErrorItem:
        """What is wrong with a policy, with its pointer under `prefix`."""
        return cls(
            code=finding.code, pointer=prefix + finding.pointer, detail=finding.message, suggestion=finding.suggestion
        )


class Problem(Exception):
    """An error that the caller is told about (RFC 9457).

    `status` is the HTTP status, `type` the last part of the problem's type URN, `detail` the sentence for people,
    `errors` every single thing that is wrong, and `headers` what the response carries besides.
    """

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002 - the member's name in RFC 9457
        detail: str,
        errors: Sequence[ErrorItem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.type = type
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers


def unknown_tenant(tenant: str) -> Problem:
    """The problem of a tenant that does not exist, or is not visible to the caller."""
    return Problem(HTTPStatus.NOT_FOUND, "unknown-tenant", f"Tenant {tenant!r} not found, or not visible to this key.")


def invalid_request(errors: Sequence[ErrorItem]) -> Problem:
    """The problem of a request whose values are not valid."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid: see errors.", errors)


def validation_problem(details: Sequence[ErrorDetails]) -> Problem:
    """The problem of what pydantic found wrong with a request."""
    return invalid_request(
        [
            ErrorItem(code=item["type"], pointer=json_pointer(*item["loc"]), detail=message_of(item))
            for item in details[:MAX_ERRORS]
        ]
    )


def message_of(item: ErrorDetails) -> str:
    """What pydantic found wrong with one value; in the words of the check itself, where it is ours."""
    return str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]
