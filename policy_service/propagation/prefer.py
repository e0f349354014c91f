"""`Prefer: wait=N` (RFC 7240) on every route that changes something: the answer comes when it is applied everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header, Request, Response
from fastapi.params import Depends as Dependency
from pydantic import BaseModel, Field

from policy_service.auth.callers import Scope
from policy_service.database import DATABASE_ERRORS
from policy_service.errors import Problem
from policy_service.http.dependencies import CallerOf
from policy_service.http.idempotency.route import IdempotentRoute
from policy_service.propagation.schemas import Propagation
from policy_service.propagation.service import MAX_WAIT_SECONDS, Propagations

_DESCRIPTION = (
    f"`wait=N`: answer when every live process applies the change, or after N seconds, at most {MAX_WAIT_SECONDS}. The "
    "answer then has `Preference-Applied`, and a member `propagation` as GET /v1/revisions/{revision}/propagation "
    "answers it; 204 becomes 200. The change is made all the same where not all have applied it in time."
)


class Enforced(BaseModel):
    """The answer to a change that has no other body."""

    revision: int = Field(description="the revision that the change made")
    propagation: Propagation


class _Preference(NamedTuple):
    """What the caller wants to wait for, and how long."""

    scope: Scope
    seconds: int


async def _prefer(
    request: Request,
    caller: CallerOf,
    prefer: Annotated[list[str] | None, Header(alias="Prefer", description=_DESCRIPTION)] = None,
) -> None:
    seconds = _wait(prefer or [])
    if seconds is not None:
        request.state.preference = _Preference(caller.scope, min(seconds, MAX_WAIT_SECONDS))


def _wait(values: Sequence[str]) -> int | None:
    """The first `wait`; whatever can't be read is ignored, as preferences are (RFC 7240, section 2)."""
    for preference in ",".join(values).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        number = value.strip().strip('"')
        if name.strip().lower() == "wait" and number.isascii() and number.isdigit():
            # Longer than any wait, and too long for an int to be read.
            return int(number) if len(number) < 10 else MAX_WAIT_SECONDS
    return None


class ChangeRoute(IdempotentRoute):
    """A route of a resource that changes. An answer to a change has the revision that it made as its ETag.

    Around the route whose requests may run in one transaction: what is waited for is committed.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        dependencies: Sequence[Dependency] | None = None,
        status_code: int | None = None,
        responses: dict[int | str, dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        if not {"GET", "HEAD"} & set(methods or ("GET",)):
            dependencies = [Depends(_prefer), *(dependencies or ())]
            if status_code == HTTPStatus.NO_CONTENT:
                responses = _with_answer(responses or {})
        super().__init__(
            path,
            endpoint,
            methods=methods,
            dependencies=dependencies,
            status_code=status_code,
            responses=responses,
            **options,
        )

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_and_wait(request: Request) -> Response:
            answer = await handle(request)
            preference: _Preference | None = getattr(request.state, "preference", None)
            if preference is None or "etag" not in answer.headers:
                return answer
            propagations: Propagations = request.app.state.propagations
            revision = int(answer.headers["etag"].strip('"'))
            try:
                propagation = await propagations.read(preference.scope, revision, preference.seconds)
            except (Problem, *DATABASE_ERRORS):
                # The change is made, and no error of waiting may hide that: a preference may be left unmet.
                return answer
            return _with_propagation(answer, revision, propagation, preference)

        return handle_and_wait


def _with_answer(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that answers a change with no body, with the body that waiting gives it."""
    other = responses.get(200)
    model = Enforced if other is None else other["model"] | Enforced
    description = "With `Prefer: wait`" if other is None else f"{other['description']}, or with `Prefer: wait`"
    return {**responses, 200: {"model": model, "description": description}}


def _with_propagation(answer: Response, revision: int, propagation: Propagation, preference: _Preference) -> Response:
    is_empty = answer.status_code == HTTPStatus.NO_CONTENT
    body = {"revision": revision} if is_empty else json.loads(bytes(answer.body))
    body["propagation"] = propagation.model_dump(mode="json")
    headers = {name: value for name, value in answer.headers.items() if name not in ("content-length", "content-type")}
    headers["Preference-Applied"] = f"wait={preference.seconds}"
    status = HTTPStatus.OK if is_empty else answer.status_code
    return Response(json.dumps(body), status, headers, "application/json")
