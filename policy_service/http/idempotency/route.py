"""Idempotency-Key on POST (draft-ietf-httpapi-idempotency-key-header): a repeated request is answered, not repeated.

A request with the header runs in one transaction: the lock on its key, whatever the handler changes, and the answer
that is kept are committed together, or not at all. So a handler can't wait for the effect of what it changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header, Request, Response
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute

from policy_service.database import Sessions, sessions_within
from policy_service.errors import Problem
from policy_service.http.bodies import Body
from policy_service.http.dependencies import CallerOf
from policy_service.http.idempotency import store
from policy_service.http.openapi import printable
from policy_service.models import KeptAnswer

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255


class _Claim(NamedTuple):
    """A request that was not answered before, and the transaction in which it is."""

    sessions: Sessions
    actor: str
    key: str
    fingerprint: str


class _Known(Exception):
    """Ends a request that was answered before."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


async def _claim(
    request: Request,
    caller: CallerOf,
    body: Body,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="any text of yours: the same request with it is done once, also if repeated",
            json_schema_extra=printable(MAX_KEY_LENGTH),
        ),
    ] = None,
) -> None:
    """Raises Problem: 409 while the same is in progress, 422 where the key was used for something else."""
    if idempotency_key is None:
        return
    key = idempotency_key
    if not 0 < len(key) <= MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
        detail = f"{HEADER} is a text of 1 to {MAX_KEY_LENGTH} printable ASCII characters, such as a UUID."
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-idempotency-key", detail)
    transaction: AsyncExitStack = request.state.transaction
    connection = await transaction.enter_async_context(request.app.state.engine.begin())
    # Before the handler asks for its sessions: what a route depends on is resolved ahead of its parameters.
    sessions = request.state.sessions = sessions_within(connection)
    fingerprint = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode() + body)
    claim = request.state.claim = _Claim(sessions, caller.actor, key, fingerprint.hexdigest())
    # Committed, not left: the lock would go with the savepoint.
    async with sessions.begin() as session:
        if not await store.try_lock(session, claim.actor, key):
            detail = f"A request with this {HEADER} is in progress: try again."
            raise Problem(HTTPStatus.CONFLICT, "request-in-progress", detail, headers={"Retry-After": "1"})
        kept = await store.find(session, claim.actor, key)
    if kept is not None:
        raise _Known(_repeated(kept, claim))


def _repeated(kept: KeptAnswer, claim: _Claim) -> Response:
    if kept.fingerprint != claim.fingerprint:
        detail = f"This {HEADER} was used for another request within the last 24 hours: use a new one."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
    if kept.body is None:
        detail = (
            "This was done when you sent it first. The answer showed a key, which is not kept: "
            "rotate the key that Location names to get another one, or revoke it."
        )
        headers = {name: value for name, value in kept.headers.items() if name == "location"}
        raise Problem(HTTPStatus.CONFLICT, "answer-not-kept", detail, headers=headers)
    return Response(kept.body, kept.status, {**kept.headers, "Idempotency-Replayed": "true"})


class IdempotentRoute(APIRoute):
    """A route whose POST takes an Idempotency-Key."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        dependencies: Sequence[Dependency] | None = None,
        **options: Any,
    ) -> None:
        if "POST" in (methods or ()):
            dependencies = [*(dependencies or ()), Depends(_claim)]
        super().__init__(path, endpoint, methods=methods, dependencies=dependencies, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            async with AsyncExitStack() as request.state.transaction:
                try:
                    answer = await handle(request)
                except _Known as known:
                    return known.answer
                # A refusal is an exception: nothing was changed, nothing is kept, and the same may be tried again.
                if claim := getattr(request.state, "claim", None):
                    await _keep(claim, answer)
            return answer

        return handle_once


async def _keep(claim: _Claim, answer: Response) -> None:
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    body = None if answer.headers.get("cache-control") == "no-store" else bytes(answer.body)
    async with claim.sessions.begin() as session:
        await store.keep(session, *claim[1:], answer.status_code, headers, body)
