"""API keys: how they are made, stored and checked."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NamedTuple

PREFIX = "cpk"


class NewKey(NamedTuple):
    """A key just made: `text` is shown once and not kept."""

    id: str
    text: str
    digest: str


def generate_key() -> NewKey:
    """A key of 256 random bits, `cpk_<id>_<secret>`; with that many, a plain digest cannot be searched."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    return NewKey(key_id, f"{PREFIX}_{key_id}_{secret}", _digest(secret))


def key_id_of(text: str) -> str | None:
    """The public part of a key, or None if the text is not of a key's form."""
    parts = text.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX and parts[1].isalnum() and parts[1].isascii() else None


def matches(text: str, digest: str) -> bool:
    """Whether `text` is the key whose digest is stored, in constant time."""
    return hmac.compare_digest(_digest(text.rpartition("_")[2]), digest)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
