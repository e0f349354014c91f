"""The stored and shown forms of tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from policy_service.policies.schemas import POLICY_BODY, Entry, StoredPolicy
from policy_service.problems import ErrorItem


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


class ShownTenant(BaseModel):
    """A tenant as the API shows it."""

    tenant: str = Field(examples=["acme"])
    name: str
    services: list[str] = Field(description="the services that have a policy, `default` among them")
    revision: int
    created_at: datetime
    policies: dict[str, StoredPolicy] | None = Field(
        default=None, description="by service; null unless asked for by `include=policies`"
    )


class WrittenTenant(BaseModel):
    """A tenant that was written whole."""

    tenant: str
    name: str
    services: list[str]
    revision: int
    warnings: list[ErrorItem] = Field(description="what may not do what you expect")


class TenantPage(BaseModel):
    """Some tenants, in the order of their slugs."""

    items: list[ShownTenant]
    next_cursor: str | None = Field(default=None, description="pass it as `cursor` to read on; null at the end")


_NAME: dict[str, Any] = {"type": "string", "maxLength": 200}
TENANT_BODY: dict[str, Any] = {
    "title": "NewTenant",
    "type": "object",
    "required": ["tenant"],
    "additionalProperties": False,
    "properties": {
        "tenant": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
        "name": _NAME,
    },
    "examples": [{"tenant": "acme", "name": "Acme Corporation"}],
}
TENANT_PATCH_BODY: dict[str, Any] = {
    "title": "TenantPatch",
    "type": "object",
    "additionalProperties": False,
    "properties": {"name": _NAME},
    "examples": [{"name": "Acme Corporation"}],
}
WHOLE_TENANT_BODY: dict[str, Any] = {
    "title": "WholeTenant",
    "type": "object",
    "required": ["policies"],
    "properties": {"name": _NAME, "policies": {"type": "object", "additionalProperties": POLICY_BODY}},
    "examples": [{"name": "Acme Corporation", "policies": {"default": {"allow_origins": ["https://app.acme.com"]}}}],
}
