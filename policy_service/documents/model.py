"""What a tenant has, as it is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field

from corspolicy.core.policy import OriginEntry, Policy


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


class StoredDocument(BaseModel):
    """Everything that a tenant has, at one revision."""

    name: str = ""
    policies: dict[str, StoredPolicy] = {}

    def drop_expired(self, now: datetime) -> list[tuple[str, Entry]]:
        """Take out the entries that have expired at `now`; returns them, each with the service of its policy."""
        dropped = []
        for service, policy in self.policies.items():
            expired = [entry for entry in policy.allow_origins if entry.has_expired(now)]
            policy.allow_origins = [entry for entry in policy.allow_origins if not entry.has_expired(now)]
            dropped += [(service, entry) for entry in expired]
        return dropped

    def next_expiry(self) -> datetime | None:
        """When the first of its entries expires, or has."""
        entries = (entry for policy in self.policies.values() for entry in policy.allow_origins)
        return min((entry.expires_at for entry in entries if entry.expires_at is not None), default=None)
