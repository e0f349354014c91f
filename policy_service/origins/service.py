"""Who allows an origin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus

from corspolicy.core.names import is_service, is_slug
from corspolicy.core.patterns import InvalidOrigin, OriginPattern
from policy_service.auth.callers import Scope
from policy_service.database import Sessions
from policy_service.documents.domains import to_ascii
from policy_service.errors import ErrorItem, Problem, invalid_request
from policy_service.models import AllowedPattern
from policy_service.origins import store
from policy_service.origins.candidates import patterns_allowing
from policy_service.origins.schemas import AllowingEntry, AllowingPage, AnyOrigin
from policy_service.origins.store import Position

MAX_COUNTED = 1_000


async def find(sessions: Sessions, scope: Scope, origin: str, cursor: str | None, limit: int) -> AllowingPage:
    """Some entries that allow `origin`, or all that it allows where it is a pattern. Raises Problem 400 or 422."""
    patterns = _patterns(origin)
    after = None if cursor is None else _read_cursor(cursor, patterns)
    async with sessions() as session:
        rows = await store.page(session, scope, patterns, after, limit + 1)
        count = await store.count_of_any(session, scope, MAX_COUNTED + 1)
    now = datetime.now(UTC)
    return AllowingPage(
        origin=origin,
        items=[_view(row, now) for row in rows[:limit]],
        any_origin=AnyOrigin(count=min(count, MAX_COUNTED), more=count > MAX_COUNTED),
        next_cursor=_cursor(rows[limit - 1], patterns) if len(rows) > limit else None,
    )


def _patterns(origin: str) -> Sequence[str]:
    try:
        return patterns_allowing(OriginPattern.parse(origin, to_ascii))
    except InvalidOrigin as error:
        item = ErrorItem(code=error.code, pointer="/query/origin", detail=error.message, suggestion=error.suggestion)
        raise invalid_request([item]) from error


def _view(row: AllowedPattern, now: datetime) -> AllowingEntry:
    return AllowingEntry(
        tenant=row.tenant,
        service=row.policy,
        pattern=row.pattern,
        expires_at=row.expires_at,
        expired=row.expires_at is not None and row.expires_at <= now,
    )


def _cursor(row: AllowedPattern, patterns: Sequence[str]) -> str:
    # The number of the pattern: the pattern itself could be longer than a cursor.
    return f"{patterns.index(row.pattern)} {row.tenant} {row.policy}"


def _read_cursor(cursor: str, patterns: Sequence[str]) -> Position:
    number, _, entry = cursor.partition(" ")
    tenant, _, policy = entry.partition(" ")
    is_number = number.isascii() and number.isdigit() and len(number) < 6 and int(number) < len(patterns)
    if not (is_number and is_slug(tenant) and is_service(policy)):
        detail = "Invalid cursor: pass the next_cursor of a page unchanged, with the same origin."
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-cursor", detail)
    return Position(patterns[int(number)], tenant, policy)
