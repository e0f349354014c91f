"""The JSON Schema of a tenant's file."""

from __future__ import annotations

from typing import Any

from policy_service.cli.gitops.files import MAX_NAME_LENGTH
from policy_service.documents.schemas import ENTRY_BODY, settings_schemas

_ENTRY: dict[str, Any] = {
    "type": "object",
    "required": ENTRY_BODY["required"],
    "additionalProperties": False,
    "properties": ENTRY_BODY["properties"],
}
_POLICY: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": settings_schemas(_ENTRY),
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A tenant of corspolicy",
    "type": "object",
    "required": ["tenant", "policies"],
    "additionalProperties": False,
    "properties": {
        "tenant": {
            "type": "string",
            "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            "description": "the same as the file's name",
        },
        "name": {"type": "string", "maxLength": MAX_NAME_LENGTH, "description": "the tenant's name for people"},
        "policies": {
            "type": "object",
            "description": "by service; `default` for all services without one of their own",
            "propertyNames": {"pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"},
            "additionalProperties": _POLICY,
        },
    },
}
