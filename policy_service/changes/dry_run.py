"""The end of a dry run, in place of what would be written."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from policy_service.documents.difference import Difference
from policy_service.documents.model import StoredDocument
from policy_service.errors import ErrorItem

MAX_DIFFERENCE = 100


class DryRun(BaseModel):
    """What a change would do; nothing was written."""

    dry_run: Literal[True] = True
    tenant: str
    revision: int | None = Field(description="the present one; null where there is no such tenant")
    difference: list[Difference] = Field(description="in what the document would differ: the first 100 items")
    omitted: int = Field(description="how many more items there are")
    problems: list[ErrorItem] = Field(description="what it would be refused for as it was sent: `confirm` answers it")
    warnings: list[ErrorItem] = Field(description="what may not do what you expect")
    document: StoredDocument | None = Field(description="as it would be; null where the tenant would be deleted")


class DryRunDone(Exception):
    """Everything was checked, and nothing is to be written: it ends the transaction, and is no error."""

    def __init__(self, outcome: DryRun) -> None:
        super().__init__(outcome.tenant)
        self.outcome = outcome
