"""How far a change has come, as the API shows it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

MAX_LISTED = 100


class ReportingProcess(BaseModel):
    """A live process: one that reported within the last 15 seconds."""

    id: str
    host: str | None
    process: int | None = Field(
        description="its process id on that host; null, as the host is, if its report can't be read"
    )
    services: list[str]
    reported_at: datetime = Field(description="when it was last heard of: a process reports every 5 seconds")


class RejectingProcess(ReportingProcess):
    """A process that could not read the tenant's document, and goes on with the last one that it could."""

    why: str


class Pending(BaseModel):
    """The processes that have not said yet that they have applied the change."""

    count: int
    processes: list[ReportingProcess] = Field(
        description=f"the first {MAX_LISTED}, longest silent first; none for a key to some tenants only"
    )


class Applied(BaseModel):
    """The processes that apply the change."""

    count: int
    processes: list[ReportingProcess] = Field(
        description=f"the first {MAX_LISTED}; none for a key to some tenants only"
    )


class Rejected(BaseModel):
    """The processes that have read the change and do not apply it."""

    count: int
    processes: list[RejectingProcess] = Field(
        description=f"the first {MAX_LISTED}; none for a key to some tenants only"
    )


class PreflightsCached(BaseModel):
    """Until when a browser may go by a preflight that was answered before the change, at the latest."""

    chromium: datetime
    firefox: datetime
    safari: datetime


class Propagation(BaseModel):
    """Which of the live processes have applied a change, or a later one of the same tenant."""

    revision: int
    complete: bool = Field(
        description="every live process applies it. A process of which nothing was heard for 15 seconds counts as "
        "ended: one that was cut off from Redis for longer is not listed, and goes by what it holds until its max_stale"
    )
    published: bool = Field(description="whether Redis has it, where processes read it from")
    milliseconds: float | None = Field(
        description="from the change until the last process reported that it applies it; null while it is not "
        "complete, and where that was longer ago than this service can tell"
    )
    applied: Applied
    pending: Pending
    rejected: Rejected
    preflights_cached_until: PreflightsCached | None = Field(
        description="of a complete change that took something away: until when each browser may still go by a "
        "preflight that was answered before. Such a browser leaves out the preflight and sends the actual request; "
        "the service runs it, and its answer is without leave, so that the page can't read it. The time follows from "
        "the max_age of the policy as it was (5 seconds where it sent none) and each browser's own limit"
    )
