"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from policy_service.errors import ErrorItem, Problem, validation_problem

UNDEFINED_TABLE = "42P01"
UNIQUE_VIOLATION = "23505"
# A statement is missing that was prepared, or is there although it was not: the session is another one.
POOLED_BY_TRANSACTION = ("26000", "42P05")

logger = logging.getLogger(__name__)


class ProblemDetails(BaseModel):
    """The body of every error response."""

    type: str = Field(examples=["urn:corspolicy:problem:unknown-tenant"])
    title: str
    status: int
    detail: str
    errors: list[ErrorItem] = Field(default_factory=list)


def problem_response(problem: Problem) -> Response:
    """The problem as application/problem+json."""
    body = ProblemDetails(
        type=f"urn:corspolicy:problem:{problem.type}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        errors=problem.errors,
    )
    # json.dumps escapes what is not ASCII: a lone surrogate quoted from a request cannot be encoded otherwise.
    content = json.dumps(body.model_dump(exclude_none=True))
    return Response(content, problem.status, problem.headers, "application/problem+json")


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientDisconnect, _client_disconnect)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(OSError, _database_error)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed_methods(request))
    return problem_response(Problem(status, code, str(error.detail), headers=headers))


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
    return problem_response(validation_problem(error.errors()))


async def _client_disconnect(request: Request, error: Exception) -> Response:
    logger.warning(
        "the client closed the connection before its request was complete: %s %s", request.method, request.scope["path"]
    )
    # Nobody gets it.
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _database_error(request: Request, error: Exception) -> Response:
    if isinstance(error, DBAPIError) and (problem := _misconfigured(error)) is not None:
        return problem_response(problem)
    if isinstance(error, SQLAlchemyError) and not _is_unavailable(error):
        return await _unexpected(request, error)
    logger.warning("the database is unavailable: %s", type(error).__name__)
    detail = "The database does not respond. Nothing was changed unless a later read shows it: try again."
    headers = {"Retry-After": "1"}
    return problem_response(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "database-unavailable", detail, headers=headers))


def _misconfigured(error: DBAPIError) -> Problem | None:
    """What is wrong with the database or the way to it, where the error shows that."""
    state = getattr(error.orig, "sqlstate", None)
    if state == UNDEFINED_TABLE:
        detail = "The database has not all tables of this version: run `corspolicy migrate`."
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-migrated", detail)
    if state in POOLED_BY_TRANSACTION:
        detail = (
            "The database is reached through a pooler in transaction mode: set CORSPOLICY_PUBLISHER_DATABASE_URL to "
            "the URL of PostgreSQL itself."
        )
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "transaction-pooling", detail)
    if state == UNIQUE_VIOLATION and "changes_pkey" in str(error.orig):
        detail = (
            "The database's sequence of revisions was set back, as by a restore. Nothing was changed. The publisher "
            "corrects it within seconds: try again."
        )
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "revisions-set-back", detail, headers={"Retry-After": "1"})
    return None


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
    detail = "Internal error; see the service log."
    return problem_response(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", detail))
