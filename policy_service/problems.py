"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from corspolicy.validation import Problem as PolicyProblem
from corspolicy.validation import json_pointer

MAX_ERRORS = 100
UNDEFINED_TABLE = "42P01"

logger = logging.getLogger(__name__)


class ErrorItem(BaseModel):
    """One thing that is wrong with a request."""

    code: str
    pointer: str = Field(description="JSON pointer (RFC 6901) to the value in the request body")
    detail: str
    suggestion: str | None = Field(default=None, description="the nearest value that would be accepted")

    @classmethod
    def of(cls, problem: PolicyProblem, prefix: str = "") -> ErrorItem:
        """A problem of a policy, its pointer under `prefix`."""
        return cls(
            code=problem.code, pointer=prefix + problem.pointer, detail=problem.message, suggestion=problem.suggestion
        )


class ProblemDetails(BaseModel):
    """The body of every error response."""

    type: str = Field(examples=["urn:corspolicy:problem:unknown-tenant"])
    title: str
    status: int
    detail: str
    errors: list[ErrorItem] = Field(default_factory=list)


class Problem(Exception):
    """An error that the caller is told about."""

    def __init__(
        self,
        status: HTTPStatus,
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

    def response(self) -> Response:
        """The problem as application/problem+json."""
        body = ProblemDetails(
            type=f"urn:corspolicy:problem:{self.code}",
            title=self.status.phrase,
            status=self.status,
            detail=self.detail,
            errors=self.errors,
        )
        # json.dumps escapes what is not ASCII: a lone surrogate quoted from a request cannot be encoded otherwise.
        content = json.dumps(body.model_dump(exclude_none=True))
        return Response(content, self.status, self.headers, "application/problem+json")


def message_of(item: ErrorDetails) -> str:
    """What pydantic found wrong with one value; in the words of the check itself, where it is ours."""
    return str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]


def validation_problem(error: RequestValidationError | ValidationError) -> Problem:
    """What pydantic found wrong with a request."""
    errors = [
        ErrorItem(code=item["type"], pointer=json_pointer(*item["loc"]), detail=message_of(item))
        for item in error.errors()[:MAX_ERRORS]
    ]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid: see errors.", errors)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(OSError, _database_error)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed_methods(request))
    return Problem(status, code, str(error.detail), headers=headers).response()


def _allowed_methods(request: Request) -> list[str]:
    """All methods of the path (RFC 9110, section 15.5.6); the framework names those of one route."""
    routes = request.app.routes
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return validation_problem(error).response()


async def _database_error(request: Request, error: Exception) -> Response:
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == UNDEFINED_TABLE:
        detail = "The database has not all tables of this version: run `corspolicy migrate`."
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-migrated", detail).response()
    if isinstance(error, SQLAlchemyError) and not _is_unavailable(error):
        return await _unexpected(request, error)
    logger.warning("the database is unavailable: %s", type(error).__name__)
    detail = "The database does not answer. Nothing was changed unless a later read shows it; try again."
    headers = {"Retry-After": "1"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "database-unavailable", detail, headers=headers).response()


def _is_unavailable(error: SQLAlchemyError) -> bool:
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # 08: connection exceptions; 57P: shut down, crash, starting up (PostgreSQL's appendix A).
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state.startswith(("08", "57P")) or not state


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("unexpected error", exc_info=error)
    detail = "An error of the service; it is in its log."
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", detail).response()
