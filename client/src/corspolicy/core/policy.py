"""What a CORS policy is: what one would pass to a framework's CORS middleware.

A setting is declared once, in `PolicySettings`. What `validation.check` accepts, what is stored, published and shown,
the JSON schemas and the words for a difference derive from that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

MAX_AGE_LIMIT = 86_400


@dataclass(frozen=True, slots=True)
class Origins:
    """A list of origin entries."""


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false. A difference in words names it by `label`, or else by the setting's name."""

    label: str | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """A list of names. `added` and `removed` are the words for a difference; `{}` is the name."""

    added: str
    removed: str


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number from 0 to `maximum`, or None, which a difference in words calls `unset`."""

    maximum: int
    unset: str


Kind = Origins | Flag | Names | Number


class Setting(NamedTuple):
    """A setting as it is declared."""

    kind: Kind
    description: str
    default: Any


def _metadata(kind: Kind, description: str) -> dict[str, Any]:
    return {"kind": kind, "description": description}


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Every setting of a policy. Subclasses say what form an origin has.

    A new flag needs only its field here; a setting of another kind also needs its rule in `validation`.
    """

    allow_origins: Sequence[object] = field(
        default=(), metadata=_metadata(Origins(), "who may call; an empty list allows nobody")
    )
    allow_credentials: bool = field(
        default=False,
        metadata=_metadata(Flag("credentials"), "cookies and HTTP authentication; never together with the origin *"),
    )
    allow_methods: tuple[str, ...] = field(
        default=(),
        metadata=_metadata(
            Names("method {} allowed", "method {} no longer allowed"),
            "besides GET, HEAD and POST, which are always allowed; case-sensitive",
        ),
    )
    allow_headers: tuple[str, ...] = field(
        default=(),
        metadata=_metadata(
            Names("header {} allowed", "header {} no longer allowed"),
            "request headers that a page may set; * does not cover Authorization without credentials",
        ),
    )
    expose_headers: tuple[str, ...] = field(
        default=(),
        metadata=_metadata(
            Names("header {} exposed", "header {} no longer exposed"), "response headers that a page may read"
        ),
    )
    max_age: int | None = field(
        default=None,
        metadata=_metadata(
            Number(MAX_AGE_LIMIT, unset="not sent"), "seconds for which a browser may cache the response to a preflight"
        ),
    )
    dangerously_allow_insecure_origins: bool = field(
        default=False,
        metadata=_metadata(Flag(), "with credentials, also http:, ws: and ftp: origins that are not loopback"),
    )
    dangerously_allow_public_suffixes: bool = field(
        default=False,
        metadata=_metadata(
            Flag(), "with credentials, also * before a domain under which anyone can register, or as the entire host"
        ),
    )


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        declared.name: Setting(declared.metadata["kind"], declared.metadata["description"], declared.default)
        for declared in fields(PolicySettings)
    }
)


@dataclass(frozen=True, slots=True)
class OriginEntry:
    """One allowed pattern; `expires_at` is when it expires, in seconds since the Unix epoch, or None."""

    pattern: str
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Policy(PolicySettings):
    """CORS settings of one tenant for one service, or for all (`default`). Build it with `validation.check`.

    An empty `allow_origins` allows nobody. Methods are case-sensitive (Fetch, section 2.2.1); header names
    are lower case. `max_age` is in seconds; None sends no Access-Control-Max-Age, which browsers read as 5.
    """

    allow_origins: tuple[OriginEntry, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The policy as JSON values, defaults left out: `validation.check` reads it back to an equal policy."""
        values: dict[str, Any] = {"allow_origins": [_entry_to_json(entry) for entry in self.allow_origins]}
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if name not in values and value != setting.default:
                values[name] = list(value) if isinstance(value, tuple) else value
        return values


def format_time(seconds: float) -> str:
    """An instant in RFC 3339 form, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _entry_to_json(entry: OriginEntry) -> str | dict[str, Any]:
    if entry.expires_at is None:
        return entry.pattern
    return {"pattern": entry.pattern, "expires_at": format_time(entry.expires_at)}
