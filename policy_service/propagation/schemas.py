"""How far a change has come, as the API shows it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from policy_service.fleet.schemas import ALL_KNOWN, NOT_REPORTING

MAX_LISTED = 100


class ReportingProcess(BaseModel):
    """A live process: one that reported within the last 15 seconds."""

    id: str
    host: str | None
    process: int | None = Field(
        description="its process id on that host; null, as the host is, if its report can't be read"
    )
    services: list[str]
    reported_at: datetime = Field(description="when it last reported: a process does so every 5 seconds")


class RejectingProcess(ReportingProcess):
    """A process that could not read the tenant's document, and goes on with the last one that it could."""

    why: str


class Pending(BaseModel):
    """The processes that have not reported yet that they have applied the change."""

    count: int
    processes: list[ReportingProcess] = Field(
        description=f"the first {MAX_LISTED}, longest silent first; none for a key to some tenants only"
    )


class Applied(BaseModel):
    """The processes that apply the change."""

    count: int
    on_demand: int = Field(
        description="how many of these hold some tenants only, fetched on demand: they have read the change in the "
        "stream, but report no digest that proves what they hold"
    )
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
    """Until when a browser may use a preflight response from before the change, at the latest."""

    chromium: datetime
    firefox: datetime
    safari: datetime


class Propagation(BaseModel):
    """Which of the live processes have applied a change, or a later one of the same tenant."""

    revision: int
    complete: bool = Field(
        description="every live process applies it. A process that has been silent for 15 seconds counts as ended: "
        "one that was cut off from Redis for longer is not listed, and applies what it holds until its max_stale"
    )
    published: bool = Field(description="whether Redis has it, where processes read it from")
    all_known: bool = Field(description=f"{ALL_KNOWN}; nothing is complete meanwhile")
    not_reporting: int | None = Field(description=f"{NOT_REPORTING}. Nothing is complete while there are any")
    milliseconds: float | None = Field(
        description="from the change until the last process reported that it applies it; null while it is not "
        "complete, and where that was longer ago than this service can tell"
    )
    applied: Applied
    pending: Pending
    rejected: Rejected
    preflights_cached_until: PreflightsCached | None = Field(
        description="of a complete change that removed something: until when each browser may still use a preflight "
        "response from before it. Such a browser skips the preflight and sends the actual request; the service runs "
        "it, and the response carries no CORS headers, so that the page can't read it. The time follows from the "
        "max_age of the policy before the change (5 seconds if it sent none) and each browser's own limit"
    )
