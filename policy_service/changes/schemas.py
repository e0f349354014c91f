"""Changes as the API shows them, and what a dry run answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from policy_service.problems import ErrorItem
from policy_service.tenants.schemas import StoredDocument

MAX_DIFFERENCE = 100


class Difference(BaseModel):
    """One thing in which two documents differ, in words and as data."""

    words: str = Field(examples=["https://app.example.com admitted", "max_age 600 → 60"])
    op: Literal["add", "remove", "replace", "reorder"]
    policy: str | None = Field(default=None, description="the service that the policy is for, or `default`")
    field: str | None = Field(default=None, description="the setting; null for the policy or the tenant as a whole")
    before: Any = None
    after: Any = None


class Outcome(BaseModel):
    """A tenant's document after a change."""

    tenant: str
    revision: int | None = Field(description="of the tenant's document; null where there is none")
    document: StoredDocument | None = Field(description="null for a tenant that is deleted")
    difference: list[Difference] = Field(description="in what the change makes it differ: the first 100 items")
    omitted: int = Field(description="how many more items there are")
    warnings: list[ErrorItem] = Field(description="what may not do what you expect")


class DryRun(Outcome):
    """What a change would do. Nothing was written; the revision is the present one."""

    dry_run: Literal[True] = True
    problems: list[ErrorItem] = Field(description="what it would be refused for, as it was sent: `confirm` answers it")
