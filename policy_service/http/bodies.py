"""What routes share in reading requests: the body, and the parameters of a page."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ValidationError

from policy_service.errors import Problem, validation_problem
from policy_service.http.container import part
from policy_service.http.declarations import answers
from policy_service.http.dependencies import CallerDep, ChecksDep
from policy_service.settings import Settings

MAX_PAGE = 500

Model = TypeVar("Model", bound=BaseModel)


@answers(408, 413)
async def _read_body(request: Request, settings: Annotated[Settings, part(Settings)]) -> bytes:
    """Raises Problem: 413 if the body is too large, 408 if it takes too long."""
    seconds = settings.body_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, settings.max_body_bytes)
    except TimeoutError as error:
        detail = f"The body did not arrive within {seconds:g} s (CORSPOLICY_BODY_TIMEOUT_SECONDS): send it again."
        headers = {"Connection": "close"}
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "body-timeout", detail, headers=headers) from error


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            detail = f"The body is larger than {limit} bytes (CORSPOLICY_MAX_BODY_BYTES): send less at once."
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", detail)
    return bytes(body)


Body = Annotated[bytes, Depends(_read_body)]


@answers(400, 429, 503)
async def _read_json(body: Body, caller: CallerDep, checks: ChecksDep) -> Any:
    """The body as JSON values. Raises Problem 400 if it is not JSON."""
    return await checks.run_large(len(body), caller, _parse, body)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_reject_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-json", f"The body is not valid JSON: {error}") from error


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        # A reviewer may read one of the values, and the other be applied.
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {name[:100]!r} appears twice in an object")
    return values


JsonBody = Annotated[Any, Depends(_read_json)]


Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="how many items at most")]
Cursor = Annotated[str | None, Query(max_length=400, description="next_cursor of the page before")]


def read_model(model: type[Model], body: Any) -> Model:
    """The body as that model. Raises Problem 422 with every error."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
