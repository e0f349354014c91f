"""What stands in Redis: the keys, and the form of their values. The client and the policy service share it.

`documents` is a hash of envelopes by tenant, `changes` a capped stream of what changed in it, and `epoch` names the
hash as complete. The epoch is in the hash as well, as the field `EPOCH_FIELD`: a snapshot is whole only while the two
are equal, so that the loss of either is noticed.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple

NAMESPACE = "corspolicy"
NAMESPACE_VARIABLE = "CORSPOLICY_NAMESPACE"
EPOCH_FIELD = b":epoch"
DATABASE_FIELD = b"database"
REVISION_FIELD = b"revision"
STATE_FIELD = b"state"
SIGNATURE_MARK = b"sig="
MAX_SIGNATURE_BYTES = 200
INLINE_BYTES = 8192
"""The largest envelope that stands in the stream; of a larger one the stream has only the revision."""
REPORT_SECONDS = 5.0
"""A process reports soon after each change, and otherwise this often."""
REPORT_TTL_SECONDS = 15
FORGET_SECONDS = 3600
"""How long the id of a silent process stays; its report expires by its time to live in Redis."""
MAX_EPOCH_BYTES = 64
ZERO_ID = b"0-0"

_NAMESPACE = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)


class Unreadable(ValueError):
    """A value in Redis that is not of the expected form."""


class Keys:
    """The names of all keys of one namespace. They share a hash tag, so that one script reaches them in a Cluster."""

    __slots__ = (
        "changes", "documents", "epoch", "hash_tag", "identity", "namespace", "processes", "term",
    )  # fmt: skip

    def __init__(self, namespace: str = NAMESPACE) -> None:
        """Raises ValueError for an invalid namespace."""
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(
                f"invalid namespace {namespace!r}: use 1 to 40 lower-case letters, digits and hyphens "
                f"({NAMESPACE_VARIABLE})"
            )
        self.namespace = namespace
        self.hash_tag = f"{{{namespace}}}"
        self.documents = f"{self.hash_tag}:documents"
        self.changes = f"{self.hash_tag}:changes"
        self.epoch = f"{self.hash_tag}:epoch"
        self.term = f"{self.hash_tag}:term"
        self.identity = f"{self.hash_tag}:identity"
        """A hash of what was published: `DATABASE_FIELD`, the id of the database that it is from, `REVISION_FIELD`,
        the highest published revision, and `STATE_FIELD`, what the publisher signed last of all of it."""
        self.processes = f"{self.hash_tag}:processes"
        """Ids of the processes that reported, scored by when, in seconds since the Unix epoch by Redis's clock. A
        process that stops cleanly removes its id and its report."""

    @classmethod
    def from_environment(cls) -> Keys:
        """Those of the namespace that CORSPOLICY_NAMESPACE names. Raises ValueError."""
        return cls(os.environ.get(NAMESPACE_VARIABLE) or NAMESPACE)

    def report(self, process: str) -> str:
        """The latest report of a process."""
        return f"{self.hash_tag}:process:{process}"

    def resync(self, process: str) -> str:
        """Set by the service to make a process that holds something else than is published take a new snapshot."""
        return f"{self.hash_tag}:resync:{process}"


def is_reserved(field: bytes) -> bool:
    """Whether a field of `documents` is something else than a tenant's."""
    return field.startswith(b":")


def read_epoch(value: object) -> bytes | None:
    """An epoch as it stands in Redis; None where that is missing or not of its form: then there is no snapshot."""
    if isinstance(value, bytes) and len(value) <= MAX_EPOCH_BYTES and value.isalnum():
        return value
    return None


def mark(tenant: str, revision: int) -> int:
    """A number for one document at one revision; the xor of all cached ones is the digest that a process reports."""
    # PostgreSQL can compute it too, so that the service need not read every tenant to know the right digest.
    return int.from_bytes(hashlib.sha256(f"{tenant} {revision}".encode()).digest()[:8], "big")


class Envelope(NamedTuple):
    """A tenant's published document as bytes, or None where the tenant was deleted, at its revision.

    The revision comes first, in decimal, so that it can be compared without reading the document; then the signature,
    where there is one.
    """

    revision: int
    payload: bytes | None
    signature: bytes | None = None

    def to_bytes(self) -> bytes:
        return b" ".join(part for part in (b"%d" % self.revision, self.signature, self.payload) if part is not None)

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Raises Unreadable."""
        revision, _, payload = data.partition(b" ")
        if not revision.isdigit() or len(revision) > 19:
            raise Unreadable("an envelope starts with its revision")
        signature, payload = split_signature(payload)
        return cls(int(revision), payload or None, signature)


def split_signature(data: bytes) -> tuple[bytes | None, bytes]:
    """The signature in front of what is signed, if there is one. Raises Unreadable if it is too long to be one."""
    if not data.startswith(SIGNATURE_MARK):
        return None, data
    signature, _, signed = data.partition(b" ")
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise Unreadable("the signature is too long")
    return signature, signed


def announcement(envelope: bytes) -> tuple[bytes, bytes]:
    """The field, and its value, by which an entry of the stream tells of a stored envelope."""
    if len(envelope) <= INLINE_BYTES:
        return b"envelope", envelope
    return b"revision", envelope.partition(b" ")[0]


class Entry(NamedTuple):
    """An entry of the stream: a change, or the mark of a new epoch.

    A change has the tenant and either its envelope or, where that is large, only its revision: the document itself is
    then in the hash. `previous` is the id of the entry before: a reader with another cursor has missed something.
    `state` is what the publisher signed of all documents, as they are after this entry.
    """

    id: bytes
    previous: bytes | None
    tenant: bytes | None
    envelope: bytes | None
    revision: bytes | None
    epoch: bytes | None
    state: bytes | None

    @classmethod
    def from_fields(cls, entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
        get = fields.get
        names = b"previous", b"tenant", b"envelope", b"revision", b"epoch", STATE_FIELD
        return cls(entry_id, *map(get, names))
