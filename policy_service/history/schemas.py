"""The history as the API shows it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from policy_service.documents.difference import Difference
from policy_service.documents.model import StoredDocument
from policy_service.errors import ErrorItem
from policy_service.models import MAX_REVISION


class ChangePage(BaseModel):
    """Some changes, the newest first."""

    items: list[ChangeView]
    next_cursor: str | None = Field(default=None, description="pass it as `cursor` to read on; null at the end")


class Restore(BaseModel):
    """Which document is wanted back."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"revision": 5}]})

    revision: int = Field(ge=1, le=MAX_REVISION, description="one of the tenant's, as the history shows it")


class Restored(BaseModel):
    """A tenant after it was given an earlier document again."""

    tenant: str
    revision: int = Field(description="the new one")
    difference: list[Difference] = Field(description="in what the document differs now: the first 100 items")
    omitted: int = Field(description="how many more items there are")
    warnings: list[ErrorItem] = Field(description="what was left out")
    document: StoredDocument


class ChangeView(BaseModel):
    """One revision of a tenant: who made it, when, why, and what it changed."""

    tenant: str
    revision: int
    changed_at: datetime
    actor: str = Field(examples=["key:9da3f2d6ed7f"], description="the key, or the part of corspolicy, that made it")
    subject: str | None = Field(description="for whom, as Corspolicy-Subject said")
    action: str = Field(examples=["origin.add"])
    reason: str | None = Field(description="why, as Corspolicy-Reason said")
    difference: list[Difference] = Field(description="the first items: up to 100, and 64 KiB")
    omitted: int = Field(description="how many more items there are: read the change itself for all")
    restorable: bool = Field(description="whether its document is stored; false for a deletion")


class RevisionView(ChangeView):
    """One revision, with the documents before and after it, and the entire difference, while both are stored."""

    before: StoredDocument | None = Field(description="null where it made the tenant, or is no longer stored")
    after: StoredDocument | None = Field(description="null where it deleted the tenant, or is no longer stored")
    compacted: bool = Field(
        description="whether one of the documents is no longer stored: `difference` then has the first items only"
    )
