"""API keys: how they are made, read and hashed."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple
from zlib import crc32

from pydantic import SecretStr

# cpk_<id>_<256 random bits><CRC-32 of all before>. Scanners know it by its form, and tell by the checksum what is none.
_KEY = re.compile(r"(cpk_([0-9a-f]{12})_[0-9a-f]{64})([0-9a-f]{8})")


class KeyText(NamedTuple):
    """A key as its owner has it."""

    id: str
    text: str


class MalformedKey(ValueError):
    """A text that is not a valid key; the message says why."""


def generate_key() -> KeyText:
    """A new key."""
    key_id = secrets.token_hex(6)
    body = f"cpk_{key_id}_{secrets.token_hex(32)}"
    return KeyText(key_id, body + _checksum(body))


def parse_key(text: str) -> KeyText:
    """Read a key. Raises MalformedKey for what can be rejected without the database."""
    found = _KEY.fullmatch(text)
    if found is None:
        raise MalformedKey("what was sent is not a valid key (cpk_…)")
    if _checksum(found[1]) != found[3]:
        raise MalformedKey("its checksum does not match, so it was mistyped or cut off")
    return KeyText(found[2], text)


def hash_key(secret: bytes, pepper: SecretStr) -> bytes:
    """What hashes are keyed with: a secret of the database, and the operator's pepper, which is not in it."""
    return secret + pepper.get_secret_value().encode()


def digest(key: KeyText, hashed_with: bytes) -> str:
    """What is stored of a key: HMAC-SHA-256."""
    return hmac.new(hashed_with, key.text.encode(), hashlib.sha256).hexdigest()


def matches(key: KeyText, hashed_with: bytes, expected: str) -> bool:
    """Whether `expected` is the digest of that key, in constant time."""
    return hmac.compare_digest(digest(key, hashed_with), expected)


def _checksum(body: str) -> str:
    return f"{crc32(body.encode()):08x}"
