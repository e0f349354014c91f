"""Compares what processes reported with what is published."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from redis.exceptions import RedisError

from policy_service.errors import Problem
from policy_service.fleet.poller import FleetPoller, FleetSnapshot, LiveProcess
from policy_service.fleet.schemas import Fleet, Process, ProcessReport
from policy_service.fleet.store import Position


async def read(poller: FleetPoller) -> Fleet:
    """All live processes. Raises Problem 503 without Redis."""
    try:
        snapshot = await poller.read()
    except RedisError as error:
        detail = "Redis does not answer, and what processes have applied is there; try again."
        headers = {"Retry-After": "1"}
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "redis-unavailable", detail, headers=headers) from error
    processes = [
        _compared(process, process.report, snapshot) for process in snapshot.processes if process.report is not None
    ]
    processes.sort(key=lambda process: (process.services, process.id))
    end = f"{snapshot.end.milliseconds}-{snapshot.end.number}"
    return Fleet(cursor=end, all_known=snapshot.all_known, not_reporting=snapshot.not_reporting, processes=processes)


def _compared(process: LiveProcess, report: ProcessReport, snapshot: FleetSnapshot) -> Process:
    cursor = Position.parse(report.cursor)
    if process.is_foreign:
        return Process(**report.model_dump(), state="diverged", lag=0)
    # Without an epoch there is nothing that it could have applied.
    if cursor != snapshot.end or snapshot.epoch is None or report.epoch != snapshot.epoch:
        lag = max(0, snapshot.end.milliseconds - cursor.milliseconds) / 1000
        return Process(**report.model_dump(), state="behind", lag=lag)
    state: Literal["diverged", "current"] = "diverged" if process.is_different else "current"
    return Process(**report.model_dump(), state=state, lag=0)
