"""/v1/keys"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response
from pydantic import ValidationError

from policy_service.errors import validation_problem
from policy_service.http.bodies import Cursor, JsonBody, Limit
from policy_service.http.dependencies import CallerOf, SessionsOf, SettingsOf
from policy_service.http.idempotency.route import IdempotentRoute
from policy_service.http.openapi import body_schema, header, problems
from policy_service.keys import service
from policy_service.keys.schemas import CreatedKey, KeyPage, NewKey, Rotation, ShownKey

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=IdempotentRoute)

_CREATED: dict[int | str, dict[str, Any]] = {201: {"headers": header("Location") | header("Cache-Control")}}


@router.get("", operation_id="list_keys", responses=problems(403))
async def list_keys(sessions: SessionsOf, caller: CallerOf, cursor: Cursor = None, limit: Limit = 100) -> KeyPage:
    """All keys, also those that ended, the newest first."""
    return await service.page(sessions, cursor, limit, caller)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    operation_id="create_key",
    openapi_extra=body_schema(NewKey),
    responses=_CREATED | problems(403),
)
async def create_key(
    sessions: SessionsOf, settings: SettingsOf, caller: CallerOf, body: JsonBody, response: Response
) -> CreatedKey:
    """Make a key. The answer is the only one that shows it."""
    try:
        new = NewKey.model_validate(body)
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
    return _created(response, await service.create(sessions, settings.key_pepper, new, caller))


@router.get("/{key}", operation_id="get_key", responses=problems(403))
async def get_key(sessions: SessionsOf, caller: CallerOf, key: str) -> ShownKey:
    """One key, by its id; `self` is the one that you send, which every key may see."""
    return await service.read(sessions, key, caller)


@router.post(
    "/{key}/rotate",
    status_code=HTTPStatus.CREATED,
    operation_id="rotate_key",
    openapi_extra=body_schema(Rotation),
    responses=_CREATED | problems(403),
)
async def rotate_key(
    sessions: SessionsOf, settings: SettingsOf, caller: CallerOf, key: str, body: JsonBody, response: Response
) -> CreatedKey:
    """Make a key of the same rights; the old one stays valid for a day, or as long as you say."""
    try:
        rotation = Rotation.model_validate(body)
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
    return _created(response, await service.rotate(sessions, settings.key_pepper, key, rotation, caller))


@router.delete(
    "/{key}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    operation_id="revoke_key",
    responses=problems(403, 409),
)
async def revoke_key(sessions: SessionsOf, caller: CallerOf, key: str) -> None:
    """End a key at once and for good. The last admin key can't be revoked."""
    await service.revoke(sessions, key, caller)


def _created(response: Response, created: CreatedKey) -> CreatedKey:
    response.headers["Location"] = f"/v1/keys/{created.id}"
    response.headers["Cache-Control"] = "no-store"
    return created
