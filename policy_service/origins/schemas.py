"""Which entries allow an origin, as the API shows it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class AllowingEntry(BaseModel):
    """An entry that allows an origin."""

    tenant: str
    service: str = Field(description="the service that its policy is for, or `default`")
    pattern: str
    expires_at: datetime | None = Field(description="when it expires; null: never")
    expired: bool = Field(description="whether it has expired: it allows nobody, and is soon removed")


class AnyOrigin(BaseModel):
    """How many entries allow every origin."""

    count: int = Field(description="how many entries are `*`, counted up to 1,000")
    more: bool = Field(description="whether there are more than that")


class AllowingPage(BaseModel):
    """Some entries that allow an origin, in the order of their patterns, tenants and services."""

    origin: str
    items: list[AllowingEntry]
    any_origin: AnyOrigin = Field(
        description="entries that allow every origin are not among the items: list them with `?origin=*`"
    )
    next_cursor: str | None = Field(default=None, description="pass it as `cursor` to read on; null at the end")
