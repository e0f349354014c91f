"""What stands in Redis: the keys, and the form of their values.

`DOCUMENTS` is a hash of envelopes by tenant, `CHANGES` a capped stream of the same envelopes, `EPOCH` names the
hash as a complete one. All share a hash tag, so that one script reaches them in a cluster.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

DOCUMENTS = "{corspolicy}:documents"
CHANGES = "{corspolicy}:changes"
EPOCH = "{corspolicy}:epoch"
TERM = "{corspolicy}:term"
PROCESSES = "{corspolicy}:processes"
"""Ids of the processes that reported, scored by when, in seconds since the Unix epoch by Redis's clock."""
PROCESS_PREFIX = "{corspolicy}:process:"
REPORT_TTL_SECONDS = 15
FORGET_SECONDS = 3600
"""How long the id of a process that is silent stays; a report itself ends by its time to live in Redis."""

ZERO_ID = b"0-0"


class Unreadable(ValueError):
    """A value in Redis that is not of the form above."""


def mark(tenant: str, revision: int) -> int:
    """A number for one document at one revision; all that is held, xor-ed, is the digest that a process reports."""
    # PostgreSQL can compute it too, so that the service need not read every tenant to know what all should hold.
    return int.from_bytes(hashlib.sha256(f"{tenant} {revision}".encode()).digest()[:8], "big")


class Envelope(NamedTuple):
    """A tenant's published document as bytes, or None where the tenant was deleted, at its revision.

    The revision stands in front, in decimal, so that it can be compared without reading the document.
    """

    revision: int
    payload: bytes | None

    def to_bytes(self) -> bytes:
        return b"%d" % self.revision if self.payload is None else b"%d %s" % self

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Raises Unreadable."""
        revision, _, payload = data.partition(b" ")
        if not revision.isdigit() or len(revision) > 19:
            raise Unreadable("an envelope starts with its revision")
        return cls(int(revision), payload or None)


class Entry(NamedTuple):
    """An entry of the stream: a change (tenant and envelope), or the mark of a new epoch.

    `previous` is the id of the entry before it: a reader whose cursor is another one has missed something.
    """

    id: bytes
    previous: bytes | None
    tenant: bytes | None
    envelope: bytes | None
    epoch: bytes | None

    @classmethod
    def from_fields(cls, entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
        get = fields.get
        return cls(entry_id, get(b"previous"), get(b"tenant"), get(b"envelope"), get(b"epoch"))
