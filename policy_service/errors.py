"""Errors that callers are told about. They know no framework; `http/` turns them into responses."""

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
        """A finding in a policy, its pointer under `prefix`."""
        return cls(
            code=finding.code, pointer=prefix + finding.pointer, detail=finding.message, suggestion=finding.suggestion
        )


class Problem(Exception):
    """An error that the caller is told about."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[ErrorItem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers


def message_of(item: ErrorDetails) -> str:
    """What pydantic found wrong with one value; in the words of the check itself, where it is ours."""
    return str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]


def validation_problem(details: Sequence[ErrorDetails]) -> Problem:
    """What pydantic found wrong with a request."""
    errors = [
        ErrorItem(code=item["type"], pointer=json_pointer(*item["loc"]), detail=message_of(item))
        for item in details[:MAX_ERRORS]
    ]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid: see errors.", errors)
