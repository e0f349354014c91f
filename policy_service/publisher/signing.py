"""Signs what is published: each document, and every second which documents there are.

See `corspolicy.sync.signatures` for what is signed, and what clients do with it.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from corspolicy.sync.signatures import (
    InvalidSignature,
    State,
    Sum,
    Verifier,
    document_message,
    key_id,
    public_key_text,
    signature_text,
    state_message,
)
from corspolicy.sync.wire import Envelope
from policy_service.settings import Settings

_LATER_SECONDS = 0.001


class InvalidSigningKey(ValueError):
    """The file with the signing key can't be used."""


class Signer:
    """Signs with one key, for one namespace, what one leader publishes."""

    def __init__(self, path: Path, namespace: str) -> None:
        """Raises InvalidSigningKey for a file that is not a PEM file with an Ed25519 key, or that others may read."""
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        except ModuleNotFoundError as error:
            raise InvalidSigningKey(
                "signing needs the package cryptography: pip install 'corspolicy-service[signing]'"
            ) from error
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(path.stat().st_mode)
                content = file.read()
        except OSError as error:
            raise InvalidSigningKey(f"the signing key {path} can't be read: {error.strerror}") from error
        if mode & 0o077:
            raise InvalidSigningKey(f"others may read the signing key {path}: run chmod 600 {path}")
        try:
            key = load_pem_private_key(content, None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidSigningKey(
                f"{path} is not a PEM file with an unencrypted Ed25519 key: make one with "
                "`openssl genpkey -algorithm ed25519`"
            )
        raw = key.public_key().public_bytes_raw()
        self.key_id = key_id(raw)
        self._sign = key.sign
        self._namespace = namespace
        self.public_key = public_key_text(raw)
        self._issued_at = 0.0
        self._revisions: dict[str, int] = {}
        self._sum = Sum()

    def resume(self, state: bytes, revisions: Mapping[str, int]) -> str | None:
        """Go on from what an earlier leader has signed of these documents; why that is not possible, if it is not."""
        self.forget()
        for tenant, revision in revisions.items():
            self._note(tenant, revision)
        verifier = Verifier(self._namespace, [self.public_key])
        try:
            self._issued_at = max(self._issued_at, verifier.read_state(state).issued_at)
        except InvalidSignature as error:
            return f"it is not signed with the key {self.key_id}: {error}"
        return None

    def forget(self) -> None:
        """Begin with no documents."""
        self._revisions, self._sum = {}, Sum()

    def sign(self, documents: Iterable[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
        """The same envelopes, signed. For another thread: each takes some 50 µs."""
        return [(tenant, revision, self._signed(tenant, envelope)) for tenant, revision, envelope in documents]

    def _signed(self, tenant: str, envelope: bytes) -> bytes:
        plain = Envelope.from_bytes(envelope)
        signature = self._sign(document_message(self._namespace, tenant, plain))
        return plain._replace(signature=signature_text(self.key_id, signature)).to_bytes()

    def note(self, documents: Iterable[tuple[str, int, bytes]]) -> None:
        """Count these documents as published, unless a later one of the same tenant is."""
        for tenant, revision, envelope in documents:
            self._note(tenant, revision, is_deletion=Envelope.from_bytes(envelope).payload is None)

    def _note(self, tenant: str, revision: int, *, is_deletion: bool = False) -> None:
        held = self._revisions.get(tenant)
        if held is not None:
            if held >= revision:
                return
            self._sum.remove(tenant, held)
            del self._revisions[tenant]
        if not is_deletion:
            self._revisions[tenant] = revision
            self._sum.add(tenant, revision)

    def state(self, epoch: str) -> bytes:
        """What is published now, signed: later than every state before, whatever the clock says."""
        self._issued_at = max(time.time(), self._issued_at + _LATER_SECONDS)
        state = State(epoch, self._issued_at, self._sum.digest).to_bytes()
        signature = self._sign(state_message(self._namespace, state))
        return signature_text(self.key_id, signature) + b" " + state


def load_signer(settings: Settings) -> Signer | None:
    """What signs, if the settings name a key. Raises InvalidSigningKey."""
    return None if settings.signing_key_file is None else Signer(settings.signing_key_file, settings.namespace)
