"""The JSON schemas of what callers send to be stored."""

from __future__ import annotations

from typing import Any

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
