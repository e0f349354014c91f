"""Reads the documents of an epoch, page by page, into a copy that replaces the cache at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from corspolicy.core.document import PLATFORM
from corspolicy.core.names import is_slug
from corspolicy.sync.cache import Cache
from corspolicy.sync.connection import Ask
from corspolicy.sync.documents import Documents
from corspolicy.sync.pace import Pace
from corspolicy.sync.wire import Keys

# From so many values on, what share of them are documents tells whether all documents fit.
SAMPLE = 1000
MARGIN = 1.1


class Snapshot:
    """What one reading has found so far. Changes that come meanwhile belong in `documents` too."""

    def __init__(self, cache: Cache, keys: Keys, pace: Pace, *, trusts_cache: bool) -> None:
        """With `trusts_cache`, what is cached stays where it is of a higher revision than what is read.

        Within an epoch revisions only grow; a new epoch is the truth, whatever is cached.
        """
        self._cache = cache
        self._keys = keys
        self._pace = pace
        self._trusts_cache = trusts_cache
        self.documents: Documents = cache.no_documents()
        self.is_complete = True
        """Whether it is of all tenants: beyond `capacity` it is of those that are cached or awaited."""

    async def pages(self, redis: Redis, ask: Ask) -> AsyncIterator[None]:
        """Read, with a stop after each page for what else there is to do."""
        position: int | None = None
        total: int | None = None
        seen = 0
        while position != 0 and self.is_complete:
            began_at = time.monotonic()
            scan = redis.hscan(self._keys.documents, cursor=position or 0, count=self._pace.page)
            position, page = await ask(scan)
            self._pace.took(time.monotonic() - began_at)
            seen += len(page)
            for name, value in page.items():
                self._add(name.decode("utf-8", "replace"), value)
            if seen >= SAMPLE and total is None:
                total = await ask(redis.hlen(self._keys.documents))
            self.is_complete = self._may_fit(seen, total)
            yield
        if not self.is_complete:
            self.documents = self._cache.no_documents()
            async for _ in self._cached_pages(redis, ask):
                yield

    def _may_fit(self, seen: int, total: int | None) -> bool:
        """Whether all documents may fit into the cache. Deletions are among the values, and take no place in it."""
        count = len(self.documents) - (PLATFORM in self.documents)
        if count > self._cache.capacity:
            return False
        return total is None or count * total <= MARGIN * self._cache.capacity * seen

    async def _cached_pages(self, redis: Redis, ask: Ask) -> AsyncIterator[None]:
        """Where there are more tenants than fit: those that are cached, and those that are awaited."""
        names = list(dict.fromkeys((PLATFORM, *self._cache.tenants(), *self._cache.awaited)))
        position = 0
        while position < len(names):
            page = names[position : position + self._pace.page]
            position += len(page)
            began_at = time.monotonic()
            values = await ask(redis.hmget(self._keys.documents, page))
            self._pace.took(time.monotonic() - began_at)
            for name, value in zip(page, values, strict=True):
                if value is not None:
                    self._add(name, value)
            yield

    def _add(self, tenant: str, value: bytes) -> None:
        if not is_slug(tenant):
            return
        envelope = self._cache.envelope(tenant, value)
        known = self.documents.revision_of(tenant)
        if known is not None and known >= envelope.revision:
            return
        cached = self._cache.cached(tenant)
        if cached is not None and (
            cached.envelope == envelope or (self._trusts_cache and cached.revision >= envelope.revision)
        ):
            self.documents.put(tenant, cached)
            return
        read = self._cache.next(tenant, envelope)
        # Where it would replace something, at once; else when it is first used: a start does not wait for that.
        if (cached is None and not read.is_deletion) or self._cache.is_signed(tenant, read):
            self.documents.put(tenant, read)
        elif cached is not None:
            self.documents.put(tenant, cached)
