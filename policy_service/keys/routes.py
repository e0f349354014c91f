"""/v1/keys"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response

from policy_service.database import Sessions
from policy_service.http.bodies import Cursor, JsonBody, Limit, read_model
from policy_service.http.declarations import header, problems
from policy_service.http.dependencies import CallerDep, SessionsDep, SettingsDep
from policy_service.http.idempotency.once import OnceDep
from policy_service.http.openapi import body_schema
from policy_service.http.replies import Reply
from policy_service.keys import service
from policy_service.keys.schemas import CreatedKey, KeyPage, KeyView, NewKey, Rotation

router = APIRouter(prefix="/v1/keys", tags=["keys"])

_CREATES: dict[str, Any] = {
    "status_code": HTTPStatus.CREATED,
    "response_model": CreatedKey,
    "responses": {201: {"headers": header("Location") | header("Cache-Control")}, **problems(403)},
}


@router.get("", operation_id="list_keys", responses=problems(403))
async def list_keys(sessions: SessionsDep, caller: CallerDep, cursor: Cursor = None, limit: Limit = 100) -> KeyPage:
    """All keys, expired and revoked ones included, the newest first."""
    return await service.page(sessions, cursor, limit, caller)


@router.post("", operation_id="create_key", openapi_extra=body_schema(NewKey), **_CREATES)
async def create_key(once: OnceDep, settings: SettingsDep, caller: CallerDep, body: JsonBody) -> Response:
    """Create a key. Only this response shows it."""
    new = read_model(NewKey, body)

    async def act(sessions: Sessions) -> Reply:
        return _created(await service.create(sessions, settings.key_pepper, new, caller))

    return (await once.carry_out(act)).to_response()


@router.get("/{key}", operation_id="get_key", responses=problems(403))
async def get_key(sessions: SessionsDep, caller: CallerDep, key: str) -> KeyView:
    """One key, by its id; `self` is the one that you send, which every key may see."""
    return await service.read(sessions, key, caller)


@router.post("/{key}/rotate", operation_id="rotate_key", openapi_extra=body_schema(Rotation), **_CREATES)
async def rotate_key(once: OnceDep, settings: SettingsDep, caller: CallerDep, key: str, body: JsonBody) -> Response:
    """Create a key with the same rights; the old one stays valid for a day, or as long as you say."""
    rotation = read_model(Rotation, body)

    async def act(sessions: Sessions) -> Reply:
        return _created(await service.rotate(sessions, settings.key_pepper, key, rotation, caller))

    return (await once.carry_out(act)).to_response()


@router.delete(
    "/{key}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    operation_id="revoke_key",
    responses=problems(403, 409),
)
async def revoke_key(sessions: SessionsDep, caller: CallerDep, key: str) -> None:
    """Revoke a key, at once and for good. The last valid admin key can't be revoked."""
    await service.revoke(sessions, key, caller)


def _created(created: CreatedKey) -> Reply:
    headers = {"location": f"/v1/keys/{created.id}", "cache-control": "no-store"}
    return Reply(HTTPStatus.CREATED, headers, created.model_dump_json().encode())
