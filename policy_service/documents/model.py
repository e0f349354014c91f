"""A tenant's document as it is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from corspolicy.core.policy import SETTINGS, OriginEntry, Policy, PolicySettings


class Entry(BaseModel):
    """One allowed origin pattern."""

    id: str = Field(default_factory=lambda: str(uuid4()))
    pattern: str = Field(examples=["https://app.example.com", "https://*.example.com"])
    note: str | None = None
    expires_at: datetime | None = Field(default=None, description="when it expires; null: never")
    created_by: str
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    def has_expired(self, now: datetime) -> bool:
        """Whether it has expired at `now`: it allows nobody then."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class StoredPolicy(PolicySettings):
    """A policy as it is stored. Its list of entries is edited in place."""

    allow_origins: list[Entry] = Field(default_factory=list, description=SETTINGS["allow_origins"].description)

    def settings(self) -> dict[str, Any]:
        """Everything but the origins, by name, as `validation.check` reads it."""
        return {name: getattr(self, name) for name in SETTINGS if name != "allow_origins"}

    def to_policy(self) -> Policy:
        """The policy as the core knows it."""
        entries = tuple(
            OriginEntry(entry.pattern, None if entry.expires_at is None else entry.expires_at.timestamp())
            for entry in self.allow_origins
        )
        return Policy(allow_origins=entries, **self.settings())

    def size(self) -> int:
        """How many bytes it has as JSON."""
        return len(_POLICY.dump_json(self))


_POLICY = TypeAdapter(StoredPolicy)


class StoredDocument(BaseModel):
    """A tenant's name and policies at one revision."""

    name: str = ""
    policies: dict[str, StoredPolicy] = {}

    def size(self) -> int:
        """How many bytes it has as JSON: more than as it is published, which has neither notes nor authors."""
        return len(self.model_dump_json().encode())

    def drop_expired(self, now: datetime) -> list[tuple[str, Entry]]:
        """Remove the entries that have expired at `now`; returns them, each with the service of its policy."""
        dropped = []
        for service, policy in self.policies.items():
            expired = [entry for entry in policy.allow_origins if entry.has_expired(now)]
            policy.allow_origins[:] = [entry for entry in policy.allow_origins if not entry.has_expired(now)]
            dropped += [(service, entry) for entry in expired]
        return dropped

    def next_expiry(self) -> datetime | None:
        """When the first of its entries expires or expired; None if none ever does."""
        entries = (entry for policy in self.policies.values() for entry in policy.allow_origins)
        return min((entry.expires_at for entry in entries if entry.expires_at is not None), default=None)
