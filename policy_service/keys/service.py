"""Making, showing, rotating and revoking API keys: all of it takes an admin key, but a key may see itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from pydantic import SecretStr

from policy_service.auth import store as auth_store
from policy_service.auth.authentication import state_of
from policy_service.auth.callers import Caller, Role
from policy_service.auth.tokens import digest, generate_key, hash_key
from policy_service.database import Sessions
from policy_service.errors import ErrorItem, Problem, invalid_request
from policy_service.keys import store
from policy_service.keys.schemas import CreatedKey, KeyPage, KeyView, NewKey, Rotation
from policy_service.models import ApiKey
from policy_service.tenants import store as tenants

_ID = re.compile(r"[0-9a-f]{12}")


async def create(sessions: Sessions, pepper: SecretStr, new: NewKey, caller: Caller) -> CreatedKey:
    """Make a key; its text can't be shown again."""
    caller.require_admin()
    text = generate_key()
    async with sessions.begin() as session:
        known = await tenants.known(session, caller.scope, new.tenants or [])
        unknown = [
            ErrorItem(
                code="unknown_tenant", pointer=f"/tenants/{index}", detail=f"Unknown tenant {slug!r}: create it first."
            )
            for index, slug in enumerate(new.tenants or [])
            if slug not in known
        ]
        if unknown:
            raise invalid_request(unknown)
        key = ApiKey(
            id=text.id,
            digest=digest(text, hash_key(await auth_store.hash_secret(session), pepper)),
            description=new.description,
            role=new.role,
            tenants=None if new.tenants is None else sorted(known),
            may_write=new.may_write or new.role is Role.ADMIN,
            created_by=caller.actor,
            expires_at=new.expires_at,
        )
        await store.add(session, key)
    return CreatedKey(**_view(key).model_dump(), key=text.text)


async def create_first(sessions: Sessions, pepper: SecretStr, caller: Caller) -> str | None:
    """Create an admin key if no key exists; returns its text."""
    async with sessions() as session:
        if not await store.is_empty(session):
            return None
    return (await create(sessions, pepper, NewKey(role=Role.ADMIN), caller)).key


async def page(sessions: Sessions, cursor: str | None, limit: int, caller: Caller) -> KeyPage:
    """Some keys, the newest first."""
    caller.require_admin()
    if cursor is not None and not _ID.fullmatch(cursor):
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-cursor", "Pass next_cursor of a page as it was given.")
    async with sessions() as session:
        rows = await store.page(session, cursor, limit + 1)
    return KeyPage(
        items=[_view(row) for row in rows[:limit]], next_cursor=rows[limit - 1].id if len(rows) > limit else None
    )


async def read(sessions: Sessions, key_id: str, caller: Caller) -> KeyView:
    """One key."""
    own_id = caller.actor.removeprefix("key:")
    if key_id == "self":
        key_id = own_id
    if key_id != own_id:
        caller.require_admin()
    async with sessions() as session:
        key = await store.find(session, key_id) if _ID.fullmatch(key_id) else None
    if key is None:
        raise _unknown(key_id)
    return _view(key)


async def rotate(sessions: Sessions, pepper: SecretStr, key_id: str, rotation: Rotation, caller: Caller) -> CreatedKey:
    """Make a key of the same rights; the old one stays valid for a while, so that nothing stops in between."""
    caller.require_admin()
    text, now = generate_key(), datetime.now(UTC)
    async with sessions.begin() as session:
        old = await store.lock(session, key_id) if _ID.fullmatch(key_id) else None
        if old is None:
            raise _unknown(key_id)
        if (state := state_of(old, now)) != "active":
            detail = f"Key {key_id} is {state}; only an active one can be rotated. Make a new one."
            raise Problem(HTTPStatus.CONFLICT, "key-not-active", detail)
        if old.replaced_by is not None:
            detail = f"Key {key_id} was rotated already: rotate {old.replaced_by}, which replaces it."
            raise Problem(HTTPStatus.CONFLICT, "key-already-rotated", detail)
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        new = ApiKey(
            id=text.id,
            digest=digest(text, hash_key(await auth_store.hash_secret(session), pepper)),
            description=old.description,
            role=old.role,
            tenants=old.tenants,
            may_write=old.may_write,
            created_by=caller.actor,
            expires_at=rotation.expires_at or (None if lifetime is None else now + lifetime),
        )
        await store.add(session, new)
        end = now + timedelta(seconds=rotation.grace_seconds)
        old.replaced_by = new.id
        old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    return CreatedKey(**_view(new).model_dump(), key=text.text)


async def revoke(sessions: Sessions, key_id: str, caller: Caller) -> None:
    """End a key at once and for good. Raises Problem 409 for the last admin key."""
    caller.require_admin()
    now = datetime.now(UTC)
    async with sessions.begin() as session:
        # All of them, and first: of two that revoke each other, one has to see that the other is gone.
        admins = await store.lock_admins(session, now)
        key = await store.lock(session, key_id) if _ID.fullmatch(key_id) else None
        if key is None:
            raise _unknown(key_id)
        if list(admins) == [key_id]:
            detail = "This is the last admin key: without it nobody could manage keys. Make another one first."
            raise Problem(HTTPStatus.CONFLICT, "last-admin-key", detail)
        key.revoked_at = key.revoked_at or now


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        role=Role(key.role),
        tenants=key.tenants,
        may_write=key.may_write,
        description=key.description,
        state=state_of(key, datetime.now(UTC)),
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        replaced_by=key.replaced_by,
        last_used_at=key.last_used_at,
    )


def _unknown(key_id: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "unknown-key", f"Key {key_id!r} not found, or not visible to this key.")
