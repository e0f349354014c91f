"""What an entry of allow_origins has beside its pattern: a note, and a time of expiry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from corspolicy.core.findings import Findings, json_pointer

MAX_NOTE_LENGTH = 500
# A time with its zone (RFC 3339, section 5.6). Python reads more than that: weeks, spaces, no separators.
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

_READ_ONLY_FIELDS = frozenset(("id", "created_at", "created_by"))


def check_fields(entry: Mapping[str, Any], pointer: str, findings: Findings) -> None:
    """Check what an entry has beside its pattern and its time of expiry."""
    note = entry.get("note")
    if note is not None and (not isinstance(note, str) or len(note) > MAX_NOTE_LENGTH or not _is_storable(note)):
        message = f"A note must be a text of at most {MAX_NOTE_LENGTH} characters, without NUL."
        findings.error("note_invalid", f"{pointer}/note", message)
    for name in entry:
        if name not in ("pattern", "note", "expires_at") and name not in _READ_ONLY_FIELDS:
            message = "Unknown field. The fields of an entry are pattern, note and expires_at."
            findings.error("unknown_field", f"{pointer}{json_pointer(name)}", message)


def read_expiry(entry: Mapping[str, Any], pointer: str, findings: Findings) -> float | None:
    """When an entry expires, in seconds since the Unix epoch; None if it does not, or if that cannot be read."""
    text = entry.get("expires_at")
    if text is None:
        return None
    try:
        if not RFC_3339.fullmatch(text):
            raise ValueError
        instant = datetime.fromisoformat(text)
        seconds = instant.astimezone(UTC).timestamp()
        datetime.fromtimestamp(seconds, UTC)  # The last instants there are round up to one that is not.
        return seconds
    except (TypeError, ValueError, OverflowError):
        message = "expires_at must be an RFC 3339 time with its zone, such as 2030-01-31T12:00:00Z."
        findings.error("expires_at_invalid", f"{pointer}/expires_at", message)
        return None


def _is_storable(text: str) -> bool:
    # Neither PostgreSQL's text nor UTF-8 can hold these two.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
