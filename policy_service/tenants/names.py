"""What tenants and services may be called."""

from __future__ import annotations

import re

# A tenant's slug is also a label of a host name.
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)

MAX_NAME_LENGTH = 200


def is_slug(text: str) -> bool:
    """Whether `text` can be a tenant's slug."""
    return _SLUG.fullmatch(text) is not None


def is_service(text: str) -> bool:
    """Whether `text` can be a service's name."""
    return _SERVICE.fullmatch(text) is not None


def is_name(value: object) -> bool:
    """Whether `value` can be a tenant's display name: a short text that PostgreSQL and UTF-8 can hold."""
    return isinstance(value, str) and len(value) <= MAX_NAME_LENGTH and value.isprintable()
