"""Idempotency-Key on POST (draft-ietf-httpapi-idempotency-key-header): a repeated request is answered, not repeated.

A request with the header runs in one transaction: the lock on its key, whatever the action changes, and the response
that is stored are committed together, or not at all. So an action can't wait for the effect of its own change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Request

from policy_service.database import Sessions
from policy_service.errors import Problem
from policy_service.http.bodies import Body
from policy_service.http.declarations import answers, printable
from policy_service.http.dependencies import CallerDep, SessionsDep
from policy_service.http.idempotency import store
from policy_service.http.replies import Reply
from policy_service.models import StoredResponse

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
MAX_STORED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Once:
    """Carries out one POST, or answers with the stored response to the same request."""

    sessions: Sessions
    actor: str
    key: str | None
    fingerprint: str

    async def carry_out(self, action: Callable[[Sessions], Awaitable[Reply]]) -> Reply:
        """The reply of `action`, which changes things through the sessions that it is given.

        Raises Problem: 409 while the same request is in progress, 422 where the key was used for another one.
        """
        if self.key is None:
            return await action(self.sessions)
        async with self.sessions.as_one() as sessions:
            # Committed, not left open: the lock would end with the savepoint.
            async with sessions.begin() as session:
                if not await store.try_lock(session, self.actor, self.key):
                    detail = f"A request with this {HEADER} is in progress: try again."
                    raise Problem(HTTPStatus.CONFLICT, "request-in-progress", detail, headers={"Retry-After": "1"})
                stored = await store.find(session, self.actor, self.key)
            if stored is not None:
                return self._repeat(stored)
            reply = await action(sessions)
            # A rejection is an exception: nothing was changed or stored, and the same request may be tried again.
            if reply.changed:
                await self._store(sessions, self.key, reply)
            return reply

    def _repeat(self, stored: StoredResponse) -> Reply:
        if stored.fingerprint != self.fingerprint:
            detail = f"This {HEADER} was used for another request within the last 24 hours: use a new one."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
        if stored.body is None:
            if _shows_a_key(stored.headers):
                detail = (
                    "This was done when you sent it first. The response showed a key, which is not stored: "
                    "rotate the key that Location names to get another one, or revoke it."
                )
            else:
                detail = (
                    f"This was done when you sent it first. The response was larger than {MAX_STORED_BYTES} bytes, "
                    "which is not stored: read the tenant; ETag is the revision that this made."
                )
            headers = {name: value for name, value in stored.headers.items() if name in ("etag", "location")}
            raise Problem(HTTPStatus.CONFLICT, "response-not-stored", detail, headers=headers)
        return Reply(stored.status, {**stored.headers, "idempotency-replayed": "true"}, stored.body, stored.revision)

    async def _store(self, sessions: Sessions, key: str, reply: Reply) -> None:
        is_stored = len(reply.body) <= MAX_STORED_BYTES and not _shows_a_key(reply.headers)
        body = reply.body if is_stored else None
        values = {"status": reply.status, "headers": reply.headers, "body": body, "revision": reply.revision}
        async with sessions.begin() as session:
            await store.put(session, self.actor, key, self.fingerprint, values)


def _shows_a_key(headers: Mapping[str, str]) -> bool:
    return headers.get("cache-control") == "no-store"


@answers(400, 409, 422, headers=("Idempotency-Replayed",))
async def _once(
    request: Request,
    sessions: SessionsDep,
    caller: CallerDep,
    body: Body,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="any text of yours: the same request with it is carried out once, also if repeated",
            json_schema_extra=printable(MAX_KEY_LENGTH),
        ),
    ] = None,
) -> Once:
    """Raises Problem 400 for a malformed key."""
    key = idempotency_key
    if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        detail = f"{HEADER} must be 1 to {MAX_KEY_LENGTH} printable ASCII characters, such as a UUID."
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-idempotency-key", detail)
    fingerprint = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode() + body)
    return Once(sessions, caller.actor, key, fingerprint.hexdigest())


OnceDep = Annotated[Once, Depends(_once)]
