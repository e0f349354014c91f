"""The stored and shown forms of policies and their entries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field

from corspolicy.policy import OriginEntry, Policy
from policy_service.problems import ErrorItem


class Entry(BaseModel):
    """One allowed origin pattern."""

    id: str = Field(default_factory=lambda: str(uuid4()))
    pattern: str = Field(examples=["https://app.example.com", "https://*.example.com"])
    note: str | None = None
    expires_at: datetime | None = Field(default=None, description="when it stops to admit")
    created_by: str
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    def has_expired(self, now: datetime) -> bool:
        """Whether it admits nobody any more."""
        return self.expires_at is not None and self.expires_at <= now


class StoredPolicy(BaseModel):
    """A policy as it is stored."""

    allow_origins: list[Entry] = []
    allow_credentials: bool = False
    allow_methods: list[str] = []
    allow_headers: list[str] = []
    expose_headers: list[str] = []
    max_age: int | None = None
    dangerously_allow_insecure_origins: bool = False
    dangerously_allow_public_suffixes: bool = False

    def settings(self) -> dict[str, Any]:
        """Everything but the origins, as `validation.check` reads it."""
        return self.model_dump(exclude={"allow_origins"})

    def to_policy(self) -> Policy:
        """The policy as the core knows it."""
        return Policy(
            allow_origins=tuple(
                OriginEntry(entry.pattern, None if entry.expires_at is None else entry.expires_at.timestamp())
                for entry in self.allow_origins
            ),
            allow_credentials=self.allow_credentials,
            allow_methods=tuple(self.allow_methods),
            allow_headers=tuple(self.allow_headers),
            expose_headers=tuple(self.expose_headers),
            max_age=self.max_age,
            dangerously_allow_insecure_origins=self.dangerously_allow_insecure_origins,
            dangerously_allow_public_suffixes=self.dangerously_allow_public_suffixes,
        )


class ShownPolicy(StoredPolicy):
    """A policy as the API shows it."""

    tenant: str
    service: str = Field(description="the service it is for, or `default`")
    revision: int
    warnings: list[ErrorItem] = Field(default_factory=list, description="what may not do what you expect")


class ShownEntry(Entry):
    """An entry as the API shows it."""

    revision: int = Field(description="of the tenant's document that holds it")
    warnings: list[ErrorItem] = []


class PolicyPage(BaseModel):
    """All policies of a tenant."""

    items: list[ShownPolicy]


class EntryPage(BaseModel):
    """Some entries, in the order of their patterns."""

    items: list[Entry]
    next_cursor: str | None = Field(default=None, description="pass it as `cursor` to read on; null at the end")


_ENTRY_FIELDS: dict[str, Any] = {
    "note": {"type": ["string", "null"], "maxLength": 500},
    "expires_at": {"type": ["string", "null"], "format": "date-time"},
}
ENTRY_BODY: dict[str, Any] = {
    "title": "NewOrigin",
    "type": "object",
    "required": ["pattern"],
    "properties": {"pattern": {"type": "string"}, **_ENTRY_FIELDS},
    "examples": [{"pattern": "https://app.example.com", "note": "the customer's front-end"}],
}
ENTRY_PATCH_BODY: dict[str, Any] = {
    "title": "OriginPatch",
    "type": "object",
    "properties": _ENTRY_FIELDS,
    "examples": [{"note": "until May"}],
}
_NAMES = {"type": "array", "items": {"type": "string"}}
POLICY_BODY: dict[str, Any] = {
    "title": "Policy",
    "type": "object",
    "properties": {
        "allow_origins": {"type": "array", "items": {"anyOf": [{"type": "string"}, ENTRY_BODY]}},
        "allow_credentials": {"type": "boolean", "default": False},
        "allow_methods": _NAMES,
        "allow_headers": _NAMES,
        "expose_headers": _NAMES,
        "max_age": {"type": ["integer", "null"], "minimum": 0, "maximum": 86400},
        "dangerously_allow_insecure_origins": {"type": "boolean", "default": False},
        "dangerously_allow_public_suffixes": {"type": "boolean", "default": False},
    },
    "examples": [{"allow_origins": ["https://app.example.com"], "allow_methods": ["PUT"], "max_age": 600}],
}
