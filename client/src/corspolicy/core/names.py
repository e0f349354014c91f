"""What tenants and services may be called."""

from __future__ import annotations

import re

# A tenant's slug is also a label of a host name.
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)


def is_slug(text: str) -> bool:
    """Whether `text` can be a tenant's slug."""
    return _SLUG.fullmatch(text) is not None


def is_service(text: str) -> bool:
    """Whether `text` can be a service's name."""
    return _SERVICE.fullmatch(text) is not None
