"""The processes that apply policies, as the API shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ALL_KNOWN = (
    "whether every live process is known. False for 15 seconds after Redis lost reports, was out of reach or was "
    "replaced: a process may be running that has not reported since"
)
NOT_REPORTING = (
    "processes that are connected to Redis and do not report, as their Redis user may not write; null if the "
    "service's user may not list connections (+client|list), so that nobody knows"
)


class ProcessReport(BaseModel):
    """What a process said of itself."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    id: str
    host: str
    process: int = Field(description="its process id on that host")
    version: str = Field(description="of the corspolicy package")
    services: list[str]
    started_at: float = Field(description="seconds since the Unix epoch")
    ready: bool = Field(description="whether it holds policies that are not older than its max_stale")
    age: float | None = Field(description="seconds since what it holds was known to be current, when it reported")
    revision: int = Field(description="the highest revision that it has applied")
    cursor: str = Field(description="where in the stream of changes it is")
    epoch: str | None = Field(
        default=None,
        description="the epoch of the snapshot that it follows; null while it may have missed something",
    )
    digest: str
    key_ids: list[str] = Field(default=[], description="the public keys that it accepts; none: it ignores signatures")
    tenants: int
    complete: bool = Field(default=True, description="whether it holds all tenants, or some, fetched on demand")
    rejections: dict[str, str] = Field(description="documents that it could not read, by tenant, and why")
    denied: dict[str, int] = Field(description="requests denied since its start, by reason")


class Process(ProcessReport):
    """A process, compared with what is published."""

    state: Literal["current", "behind", "diverged"] = Field(
        description="current: it has applied everything and, if complete, holds exactly what is published; behind: not "
        "everything yet; diverged: it has read everything, but holds something else, or its cursor is beyond "
        "the end of the stream. Unless it rejects a document, it is asked to resync"
    )
    lag: float = Field(description="how long it is behind, in seconds")


class Fleet(BaseModel):
    """All live processes, by service and id."""

    cursor: str = Field(description="the end of the stream of changes")
    all_known: bool = Field(description=ALL_KNOWN)
    not_reporting: int | None = Field(description=NOT_REPORTING)
    processes: list[Process]
