"""`corspolicy schema`: the JSON Schema of a tenant's file, for editors and for CI."""

from __future__ import annotations

from typing import Any

import click

from policy_service.cli.shared.output import echo_json

_NAMES = {"type": "array", "items": {"type": "string"}}
_PATTERN = {
    "type": "string",
    "description": "https://app.example.com; https://*.example.com for one or more labels under it; :* for any port; "
    "* for everybody, anonymously",
}
_ENTRY: dict[str, Any] = {
    "type": "object",
    "required": ["pattern"],
    "additionalProperties": False,
    "properties": {
        "pattern": _PATTERN,
        "note": {"type": ["string", "null"], "maxLength": 500, "description": "why it is there"},
        "expires_at": {"type": ["string", "null"], "format": "date-time", "description": "when it stops to admit"},
    },
}
_POLICY: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "allow_origins": {
            "type": "array",
            "items": {"anyOf": [_PATTERN, _ENTRY]},
            "description": "who may call; an empty list admits nobody",
        },
        "allow_credentials": {
            "type": "boolean",
            "default": False,
            "description": "cookies and HTTP authentication; never together with the origin *",
        },
        "allow_methods": {**_NAMES, "description": "beside GET, HEAD and POST, which always pass; case-sensitive"},
        "allow_headers": {
            **_NAMES,
            "description": "request headers that a page may set; * does not cover Authorization without credentials",
        },
        "expose_headers": {**_NAMES, "description": "response headers that a page may read"},
        "max_age": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 86400,
            "description": "seconds that a browser may keep the answer to a preflight",
        },
        "dangerously_allow_insecure_origins": {
            "type": "boolean",
            "default": False,
            "description": "with credentials, also origins that are not https",
        },
        "dangerously_allow_public_suffixes": {
            "type": "boolean",
            "default": False,
            "description": "with credentials, also *. before a domain under which anybody can register",
        },
    },
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
            "description": "as in the file's name",
        },
        "name": {"type": "string", "maxLength": 200, "description": "the name that people know it by"},
        "policies": {
            "type": "object",
            "description": "by service; `default` for all services without one of their own",
            "propertyNames": {"pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"},
            "additionalProperties": _POLICY,
        },
    },
}


@click.command()
def schema() -> None:
    """Print the JSON Schema of a tenant's file.

    Editors with a YAML language server use it from a first line such as
    `# yaml-language-server: $schema=tenant.schema.json`.
    """
    echo_json(SCHEMA)
