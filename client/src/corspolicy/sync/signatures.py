"""Signatures of what the publisher writes to Redis: Ed25519 (RFC 8032, section 5.1), over the exact bytes.

Each document is signed with its namespace, tenant and revision. The state is signed every second: the epoch, which
documents there are, at which revisions, and when that was. With public keys, a process applies only signed documents,
follows only an epoch that a newer state names, and counts the age of what it holds from the state's time: whoever can
write to Redis can keep news from it until it is too old, but not add, change or bring back anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from corspolicy.sync.wire import SIGNATURE_MARK, Envelope, Unreadable, split_signature

PUBLIC_KEYS_VARIABLE = "CORSPOLICY_PUBLIC_KEYS"
MAX_STATE_BYTES = 1024
_SUM_BYTES = 256
_DER_PREFIX = bytes.fromhex("302a300506032b6570032100")


class InvalidSignature(ValueError):
    """What was read is not signed by a key that is accepted, or not for here, or older than what is held."""


class Sum:
    """A hash of a set of tenants and revisions, to which one can be added, and from which one can be removed.

    Hashes of 2048 bits are added up: with fewer, another set of old revisions with the same sum could be found.
    """

    def __init__(self) -> None:
        self._value = 0

    def add(self, tenant: str, revision: int) -> None:
        """Add a tenant's document."""
        self._value = (self._value + _number(tenant, revision)) % (1 << 8 * _SUM_BYTES)

    def remove(self, tenant: str, revision: int) -> None:
        """Remove what was added."""
        self._value = (self._value - _number(tenant, revision)) % (1 << 8 * _SUM_BYTES)

    @property
    def digest(self) -> str:
        """A short form that is as hard to meet."""
        return hashlib.sha256(self._value.to_bytes(_SUM_BYTES, "big")).hexdigest()


def _number(tenant: str, revision: int) -> int:
    return int.from_bytes(hashlib.shake_256(f"{tenant} {revision}".encode()).digest(_SUM_BYTES), "big")


class State(NamedTuple):
    """What the publisher says of all that is published."""

    epoch: str
    issued_at: float
    """When, in seconds since the Unix epoch by the publisher's clock; each is later than the one before."""
    digest: str
    """That of the `Sum` of all documents; deleted tenants have none."""
    signed: bytes = b""
    """As it was read."""

    def to_bytes(self) -> bytes:
        """What is signed."""
        values = {"epoch": self.epoch, "issued_at": self.issued_at, "digest": self.digest}
        return json.dumps(values, separators=(",", ":")).encode()


def document_message(namespace: str, tenant: str, envelope: Envelope) -> bytes:
    """What is signed of a document, or of a deletion."""
    kind = b"deletion" if envelope.payload is None else b"document"
    parts = b"corspolicy 1", kind, namespace.encode(), tenant.encode(), b"%d" % envelope.revision
    return b"\0".join((*parts, envelope.payload or b""))


def state_message(namespace: str, state: bytes) -> bytes:
    """What is signed of a state."""
    return b"\0".join((b"corspolicy 1", b"state", namespace.encode(), state))


def key_id(raw: bytes) -> str:
    """The name of a public key of 32 bytes."""
    return hashlib.sha256(raw).hexdigest()[:16]


def public_key_text(raw: bytes) -> str:
    """A public key in the form in which `Verifier` takes it: base64 of its DER form (RFC 8410, section 4)."""
    return base64.b64encode(_DER_PREFIX + raw).decode()


def signature_text(key: str, signature: bytes) -> bytes:
    """A signature as it stands in front of what it signs, with the id of its key."""
    return SIGNATURE_MARK + key.encode() + b":" + base64.urlsafe_b64encode(signature)


class Verifier:
    """Checks what one event loop reads, with the public keys that it accepts."""

    def __init__(self, namespace: str, public_keys: Sequence[str]) -> None:
        """`public_keys` are in base64, in the form that `openssl pkey -pubout -outform DER` gives.

        Raises ValueError where one is not an Ed25519 key, or the package `cryptography` is missing.
        """
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
            from cryptography.hazmat.primitives.serialization import load_der_public_key
        except ModuleNotFoundError as error:
            raise ValueError("public keys need the package cryptography: pip install 'corspolicy[signing]'") from error
        if not public_keys:
            raise ValueError("no public keys: leave them out to ignore signatures")
        self._namespace = namespace
        self._keys: dict[str, Any] = {}
        for text in public_keys:
            try:
                key = load_der_public_key(base64.b64decode(text, validate=True))
            except ValueError:
                key = None
            if not isinstance(key, Ed25519PublicKey):
                raise ValueError(
                    f"{text!r} is not an Ed25519 public key: give the base64 of its DER form ({PUBLIC_KEYS_VARIABLE})"
                )
            self._keys[key_id(key.public_bytes_raw())] = key
        self._newest = 0.0
        self.proven: State | None = None
        """The newest state that what is held was found to be equal to."""

    @property
    def key_ids(self) -> list[str]:
        """The names of the keys that are accepted."""
        return list(self._keys)

    def check_document(self, tenant: str, envelope: Envelope) -> None:
        """Raises InvalidSignature unless the document, or deletion, is signed for this namespace and tenant."""
        self._check(envelope.signature, document_message(self._namespace, tenant, envelope))

    def read_state(self, value: bytes | None) -> State:
        """Read a signed state. Raises InvalidSignature, also for one that is older than the newest that was read."""
        if value is None or len(value) > MAX_STATE_BYTES:
            raise InvalidSignature("its signed state is missing or too long")
        try:
            signature, signed = split_signature(value)
        except Unreadable as error:
            raise InvalidSignature(str(error)) from error
        self._check(signature, state_message(self._namespace, signed))
        state = State(**json.loads(signed), signed=value)
        if state.issued_at < self._newest:
            raise InvalidSignature(
                f"its signed state is {self._newest - state.issued_at:.0f} s older than one that was read before"
            )
        self._newest = state.issued_at
        return state

    def prove(self, state: State, held: Sum | None) -> bool:
        """Whether what is held is what the state says; then it is as old as the state. None: it is not all there is."""
        if held is not None and held.digest != state.digest:
            return False
        self.proven = state
        return True

    def confirmed_at(self, at: float) -> float | None:
        """When what is held was current at the latest, by the monotonic clock, if it was read at that time."""
        if self.proven is None:
            return None
        return min(at, time.monotonic() - max(0.0, time.time() - self.proven.issued_at))

    def _check(self, signature: bytes | None, message: bytes) -> None:
        from cryptography.exceptions import InvalidSignature as Mismatch

        if signature is None:
            raise InvalidSignature("it is not signed")
        name, _, text = signature.removeprefix(SIGNATURE_MARK).decode("latin-1").partition(":")
        key = self._keys.get(name)
        if key is None:
            raise InvalidSignature("it is signed with a key that this process does not accept")
        try:
            key.verify(base64.b64decode(text, altchars=b"-_", validate=True), message)
        except (Mismatch, binascii.Error, ValueError) as error:
            raise InvalidSignature("its signature is wrong") from error
