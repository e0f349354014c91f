"""What a write leads to: a result, or, for a dry run, what it would have done."""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Field

from policy_service.documents.difference import Difference
from policy_service.documents.model import StoredDocument
from policy_service.errors import ErrorItem

Body = TypeVar("Body", covariant=True)


class Result(NamedTuple, Generic[Body]):
    """What was written: the resource as the API shows it, at which revision, and whether the write created it.

    `changed` is False where everything was so already.
    """

    body: Body
    revision: int
    created: bool = False
    changed: bool = True


class DryRun(BaseModel):
    """What a change would do; nothing was written."""

    dry_run: Literal[True] = True
    tenant: str
    revision: int | None = Field(description="the current one; null where the tenant does not exist")
    difference: list[Difference] = Field(description="how the document would change: the first 100 items")
    omitted: int = Field(description="how many more items there are")
    problems: list[ErrorItem] = Field(description="why it would be rejected as it was sent: pass `confirm`")
    warnings: list[ErrorItem] = Field(description="what may not do what you expect")
    document: StoredDocument | None = Field(description="as it would be; null where the tenant would be deleted")
