"""Holds what processes reported against what is published."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from corspolicy.status import Report
from policy_service.database import Sessions
from policy_service.errors import Problem
from policy_service.fleet import store
from policy_service.fleet.schemas import Fleet, Process, Reported


async def read(sessions: Sessions, redis: Redis) -> Fleet:
    """All live processes. Raises Problem 503 without Redis."""
    async with sessions() as session:
        truth = await store.digest(session)
    try:
        found = await store.reports(redis)
    except (RedisError, OSError) as error:
        detail = "Redis does not answer, and what processes have applied is there; try again."
        headers = {"Retry-After": "1"}
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "redis-unavailable", detail, headers=headers) from error
    readable = [report for heard in found.heard if (report := read_report(heard.report)) is not None]
    processes = [_held_against(report, found.cursor, truth) for report in readable]
    processes.sort(key=lambda process: (process.services, process.id))
    return Fleet(cursor=found.cursor, processes=processes)


def read_report(report: bytes) -> Reported | None:
    """What a process said of itself; None if it is of another version, or not ours: it must not hide the others."""
    try:
        return Reported.model_validate(Report.from_bytes(report))
    except (ValueError, ValidationError):
        return None


def _held_against(report: Reported, cursor: str, truth: str) -> Process:
    lag = max(0, _milliseconds(cursor) - _milliseconds(report.cursor)) / 1000
    if report.cursor != cursor:
        return Process(**report.model_dump(), state="behind", lag=lag)
    is_right = report.digest == truth or not report.complete
    return Process(**report.model_dump(), state="current" if is_right else "diverged", lag=0)


def _milliseconds(entry_id: str) -> int:
    milliseconds = entry_id.partition("-")[0]
    return int(milliseconds) if milliseconds.isdigit() else 0
