"""Writes to Redis what a publisher would, and what it never should."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import redis

from corspolicy.core.document import Document
from corspolicy.core.validation import check
from corspolicy.sync.wire import CHANGES, DOCUMENTS, EPOCH, Envelope


class Published:
    """A Redis as clients see it."""

    def __init__(self, url: str) -> None:
        self.redis = redis.Redis.from_url(url)

    def envelope(self, tenant: str, revision: int, *origins: str) -> bytes:
        """A tenant's envelope whose default policy admits `origins`."""
        policy = check({"allow_origins": list(origins)}).policy
        assert policy is not None
        document = Document(tenant, revision, MappingProxyType({"default": policy}))
        return Envelope(revision, document.to_bytes()).to_bytes()

    def store(self, tenant: str, envelope: bytes) -> None:
        """Put an envelope where snapshots are read from."""
        self.redis.hset(DOCUMENTS, tenant, envelope)

    def announce(self, **fields: Any) -> None:
        """Append to the stream, after what is there."""
        newest: Any = self.redis.xrevrange(CHANGES, count=1)
        entry: dict[Any, Any] = {"previous": newest[0][0] if newest else b"0-0", **fields}
        self.redis.xadd(CHANGES, entry)

    def publish(self, tenant: str, revision: int, *origins: str) -> None:
        """What a publisher does with a change."""
        envelope = self.envelope(tenant, revision, *origins)
        self.store(tenant, envelope)
        self.announce(tenant=tenant, envelope=envelope)

    def begin_epoch(self) -> None:
        """What a publisher does before it writes everything anew."""
        self.redis.delete(EPOCH, DOCUMENTS)

    def end_epoch(self, epoch: str) -> None:
        """What it does after."""
        self.redis.set(EPOCH, epoch)
        self.announce(epoch=epoch)
