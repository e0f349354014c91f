"""Policies and entries as responses show them."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass

from policy_service.documents.model import Entry, StoredPolicy
from policy_service.errors import ErrorItem


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView(StoredPolicy):
    """A policy as the API shows it."""

    tenant: str
    service: str = Field(description="the service it is for, or `default`")
    revision: int
    warnings: list[ErrorItem] = Field(default_factory=list, description="what may not do what you expect")


class EntryView(Entry):
    """An entry as the API shows it."""

    revision: int = Field(description="of the tenant's document that holds it")
    warnings: list[ErrorItem] = Field(default_factory=list)


class PolicyPage(BaseModel):
    """All policies of a tenant."""

    items: list[PolicyView]


class EntryPage(BaseModel):
    """Some entries, in the order of their patterns."""

    items: list[Entry]
    next_cursor: str | None = Field(default=None, description="pass it as `cursor` to read on; null at the end")
