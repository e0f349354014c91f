"""What the routes share in reading requests: the JSON body, preconditions, pages."""

from __future__ import annotations

import json
from collections import Counter
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request

from policy_service.changes.preconditions import Precondition
from policy_service.errors import Problem

MAX_PAGE = 500


async def _read_body(request: Request) -> bytes:
    """Raises Problem 413 if the body is too large."""
    limit: int = request.app.state.settings.max_body_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            detail = f"The body is larger than {limit} bytes (CORSPOLICY_MAX_BODY_BYTES)."
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", detail)
    return bytes(body)


Body = Annotated[bytes, Depends(_read_body)]


async def _read_json(body: Body) -> Any:
    """The body as JSON values. Raises Problem 400 if it is not JSON."""
    try:
        return json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-json", f"The body is not JSON: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        # Whoever reviews such a body may read the one value, and have the other applied.
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {name[:100]!r} stands twice in an object")
    return values


JsonBody = Annotated[Any, Depends(_read_json)]


async def _precondition(
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="the ETag that you read, or `*` to overwrite anything")
    ] = None,
) -> Precondition:
    return Precondition(if_match)


IfMatch = Annotated[Precondition, Depends(_precondition)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="how many items at most")]
Cursor = Annotated[str | None, Query(max_length=400, description="next_cursor of the page before")]
