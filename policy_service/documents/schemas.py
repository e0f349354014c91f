"""The JSON schemas of what callers send to be stored."""

from __future__ import annotations

from typing import Any

from corspolicy.core.policy import SETTINGS, Flag, Names, Number, Origins, Setting
from corspolicy.core.validation import MAX_NOTE_LENGTH

# What a policy is shown with beside its settings: ignored when it is sent back.
READ_ONLY = frozenset(("tenant", "service", "revision", "warnings"))
PATTERN: dict[str, Any] = {
    "type": "string",
    "description": "https://app.example.com; https://*.example.com for one or more labels under it; "
    "https://pr-*.example.com for a part of a label; :* for any port; * for any origin, without credentials",
}
_ENTRY_FIELDS: dict[str, Any] = {
    "note": {"type": ["string", "null"], "maxLength": MAX_NOTE_LENGTH, "description": "why it is allowed"},
    "expires_at": {"type": ["string", "null"], "format": "date-time", "description": "when it expires"},
}


ENTRY_BODY: dict[str, Any] = {
    "title": "NewOrigin",
    "type": "object",
    "required": ["pattern"],
    "properties": {"pattern": PATTERN, **_ENTRY_FIELDS},
    "examples": [{"pattern": "https://app.example.com", "note": "the customer's front-end"}],
}


ENTRY_PATCH_BODY: dict[str, Any] = {
    "title": "OriginPatch",
    "type": "object",
    "properties": _ENTRY_FIELDS,
    "examples": [{"note": "until May"}],
}


def settings_schemas(entry: dict[str, Any]) -> dict[str, Any]:
    """The schema of each setting of a policy, by its name; an origin is a pattern or an `entry`."""
    return {name: _schema(setting, entry) for name, setting in SETTINGS.items()}


def _schema(setting: Setting, entry: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any]
    match setting.kind:
        case Origins():
            schema = {"type": "array", "items": {"anyOf": [PATTERN, entry]}}
        case Names():
            schema = {"type": "array", "items": {"type": "string"}}
        case Flag():
            schema = {"type": "boolean", "default": setting.default}
        case Number(maximum):
            schema = {"type": ["integer", "null"], "minimum": 0, "maximum": maximum}
    return {**schema, "description": setting.description}


POLICY_BODY: dict[str, Any] = {
    "title": "Policy",
    "type": "object",
    "properties": settings_schemas(ENTRY_BODY),
    "examples": [{"allow_origins": ["https://app.example.com"], "allow_methods": ["PUT"], "max_age": 600}],
}
