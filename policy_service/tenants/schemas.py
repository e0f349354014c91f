"""Tenants as requests send them and responses show them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from policy_service.documents.model import StoredPolicy
from policy_service.documents.schemas import POLICY_BODY
from policy_service.errors import ErrorItem


class TenantView(BaseModel):
    """A tenant as the API shows it."""

    tenant: str = Field(examples=["acme"])
    name: str
    services: list[str] = Field(description="the services that have a policy, `default` among them")
    revision: int
    created_at: datetime
    policies: dict[str, StoredPolicy] | None = Field(
        default=None, description="by service; null without `include=policies`"
    )


class ReplacedTenant(BaseModel):
    """A tenant after it was replaced or created."""

    tenant: str
    name: str
    services: list[str]
    revision: int
    warnings: list[ErrorItem] = Field(description="what may not do what you expect")


class TenantPage(BaseModel):
    """Some tenants, in the order of their slugs."""

    items: list[TenantView]
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
