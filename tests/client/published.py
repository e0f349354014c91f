"""Writes to Redis what a publisher would, and what it never should."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import redis

from corspolicy.core.document import Document
from corspolicy.core.validation import check
from corspolicy.sync.wire import EPOCH_FIELD, Envelope, Keys, announcement
from tests.redis_users import as_default


class Published:
    """A Redis as clients see it."""

    def __init__(self, url: str, keys: Keys | None = None) -> None:
        self.url = as_default(url)
        self.redis: Any = redis.Redis.from_url(self.url)
        self.keys = keys or Keys()

    def envelope(self, tenant: str, revision: int, *origins: str) -> bytes:
        """A tenant's envelope whose default policy allows `origins`."""
        policy = check({"allow_origins": list(origins)}).policy
        assert policy is not None
        document = Document(tenant, revision, MappingProxyType({"default": policy}))
        return Envelope(revision, document.to_bytes()).to_bytes()

    def store(self, tenant: str, envelope: bytes) -> None:
        """Put an envelope where snapshots are read from."""
        self.redis.hset(self.keys.documents, tenant, envelope)

    def announce(self, **fields: Any) -> None:
        """Append to the stream, after what is there."""
        newest = self.redis.xrevrange(self.keys.changes, count=1)
        entry: dict[Any, Any] = {"previous": newest[0][0] if newest else b"0-0", **fields}
        self.redis.xadd(self.keys.changes, entry)

    def publish(self, tenant: str, revision: int, *origins: str) -> None:
        """What a publisher does with a change."""
        self.publish_envelope(tenant, self.envelope(tenant, revision, *origins))

    def delete(self, tenant: str, revision: int) -> None:
        """What it does with a deletion."""
        self.publish_envelope(tenant, Envelope(revision, None).to_bytes())

    def publish_envelope(self, tenant: str, envelope: bytes) -> None:
        """Store an envelope, and announce it."""
        self.insert(tenant, envelope)

    def insert(self, tenant: str, envelope: bytes, **fields: bytes) -> None:
        """Store and announce an envelope, as anybody could who may write to Redis."""
        self.store(tenant, envelope)
        field, value = announcement(envelope)
        self.announce(tenant=tenant, **{field.decode(): value}, **fields)

    def begin_epoch(self) -> None:
        """What a publisher does before it writes everything again."""
        self.redis.delete(self.keys.epoch, self.keys.documents)

    def end_epoch(self, epoch: str) -> None:
        """What it does after."""
        self.redis.set(self.keys.epoch, epoch)
        self.redis.hset(self.keys.documents, EPOCH_FIELD.decode(), epoch)
        self.announce(epoch=epoch)
