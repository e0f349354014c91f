"""What a CORS policy is: what one would pass to a framework's CORS middleware."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class OriginEntry:
    """One allowed pattern; `expires_at` is when it stops to admit, in seconds since the Unix epoch, or None."""

    pattern: str
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """CORS settings of one tenant for one service, or for all (`default`). Build it with `validation.check`.

    An empty `allow_origins` admits nobody. Methods are case-sensitive (Fetch, section 2.2.1); header names
    are lower case. `max_age` is in seconds; None sends no Access-Control-Max-Age, which browsers read as 5.
    """

    allow_origins: tuple[OriginEntry, ...] = ()
    allow_credentials: bool = False
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: int | None = None
    dangerously_allow_insecure_origins: bool = False
    dangerously_allow_public_suffixes: bool = False

    def to_json(self) -> dict[str, Any]:
        """The policy as JSON values, defaults left out: `validation.check` reads it back to an equal policy."""
        values: dict[str, Any] = {"allow_origins": [_entry_to_json(entry) for entry in self.allow_origins]}
        for name in ("allow_methods", "allow_headers", "expose_headers"):
            if getattr(self, name):
                values[name] = list(getattr(self, name))
        if self.max_age is not None:
            values["max_age"] = self.max_age
        for name in ("allow_credentials", "dangerously_allow_insecure_origins", "dangerously_allow_public_suffixes"):
            if getattr(self, name):
                values[name] = True
        return values


def format_time(seconds: float) -> str:
    """An instant in RFC 3339 form, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _entry_to_json(entry: OriginEntry) -> str | dict[str, Any]:
    if entry.expires_at is None:
        return entry.pattern
    return {"pattern": entry.pattern, "expires_at": format_time(entry.expires_at)}
