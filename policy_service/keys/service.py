"""Making API keys, and telling who a key belongs to."""

from __future__ import annotations

from policy_service.callers import Caller
from policy_service.database import Sessions
from policy_service.keys import store
from policy_service.security import generate_key, key_id_of, matches

_NO_DIGEST = "0" * 64


async def create(sessions: Sessions, description: str) -> str:
    """Make an admin key and return it; it cannot be shown again."""
    key = generate_key()
    async with sessions.begin() as session:
        store.add(session, key.id, key.digest, description)
    return key.text


async def create_first(sessions: Sessions, description: str) -> str | None:
    """Make an admin key if there is none yet."""
    async with sessions() as session:
        if not await store.is_empty(session):
            return None
    return await create(sessions, description)


async def authenticate(sessions: Sessions, text: str) -> Caller | None:
    """The caller that `text` stands for, or None if it is no key of ours."""
    key_id = key_id_of(text)
    if key_id is None:
        return None
    async with sessions() as session:
        key = await store.find(session, key_id)
    # An unknown id costs the same as a wrong secret.
    is_valid = matches(text, _NO_DIGEST if key is None else key.digest)
    return Caller(f"key:{key_id}") if key is not None and is_valid else None
