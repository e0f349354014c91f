"""Writes to Redis what a publisher does that signs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from corspolicy.sync.signatures import public_key_text
from corspolicy.sync.wire import STATE_FIELD, Envelope, Keys
from policy_service.publisher.signing import Signer
from tests.client.published import Published

BEAT_SECONDS = 0.2


def new_key(path: Path) -> str:
    """A new signing key in a file; returns its public key."""
    key = Ed25519PrivateKey.generate()
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public_key_text(key.public_key().public_bytes_raw())


class SignedPublished(Published):
    """A Redis of signed policies."""

    def __init__(self, url: str, key_file: Path, keys: Keys | None = None) -> None:
        super().__init__(url, keys)
        self.signer = Signer(key_file, self.keys.namespace)
        self.epoch = ""

    def signed(self, tenant: str, envelope: bytes) -> bytes:
        ((_, _, signed),) = self.signer.sign([(tenant, 0, envelope)])
        return signed

    def publish_envelope(self, tenant: str, envelope: bytes) -> None:
        self.insert(tenant, self.count(tenant, envelope), state=self.signer.state(self.epoch))
        self.beat()

    def count(self, tenant: str, envelope: bytes) -> bytes:
        """Sign an envelope, and what follows with it among the documents; Redis does not get it."""
        signed = self.signed(tenant, envelope)
        self.signer.note([(tenant, Envelope.from_bytes(envelope).revision, signed)])
        return signed

    def end_epoch(self, epoch: str) -> None:
        self.epoch = epoch
        super().end_epoch(epoch)
        self.beat()

    def beat(self) -> None:
        """Sign that everything is as it was."""
        self.redis.hset(self.keys.identity, STATE_FIELD.decode(), self.signer.state(self.epoch))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Sign that again and again."""
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(BEAT_SECONDS):
                self.beat()

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
