"""The documents that a process caches, by tenant, and the chains compiled from them.

As long as there are no more tenants than `capacity`, all are cached, and a tenant that is not is unknown. Beyond that,
documents are fetched as requests ask for them, and the least recently used are evicted. Of what is not cached the names
are remembered: of tenants that exist, which are fetched first, and, for a short while, of unknown ones.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any

from corspolicy.core.decision import NOT_READY, STALE, TENANT_UNKNOWN, UNREADABLE, Chain, compile_chain
from corspolicy.core.document import PLATFORM, UnreadableDocument
from corspolicy.core.names import is_slug
from corspolicy.sync.documents import CachedDocument, Documents
from corspolicy.sync.logs import excerpt, logger
from corspolicy.sync.names import MAX_KNOWN_BYTES, MAX_UNKNOWN_BYTES, Names
from corspolicy.sync.signatures import InvalidSignature, State, Verifier
from corspolicy.sync.wire import Envelope, Unreadable

MAX_REJECTIONS = 100
UNKNOWN_SECONDS = 30.0
MAX_SECOND_CHANCES = 16


class Cache:
    """Documents by tenant, newest revision only. Used by one event loop; readers never wait."""

    def __init__(self, capacity: int, max_stale: float | None = None, verifier: Verifier | None = None) -> None:
        self.capacity = capacity
        self.verifier = verifier
        self._max_stale = max_stale
        # What is used is moved to the end.
        self._documents = self.no_documents()
        self._chains: dict[str, dict[str, Chain]] = {}
        # Until when they are unknown.
        self._unknown = Names(MAX_UNKNOWN_BYTES)
        self._known = Names(MAX_KNOWN_BYTES)
        self._awaited: Counter[str] = Counter()
        self.confirmed_at: float | None = None
        """When the documents were last known to be current, by the monotonic clock; None: never."""
        self.stale_at = math.inf
        """When the documents become too old, by the monotonic clock."""
        self.epoch: bytes | None = None
        """The epoch of the snapshot that was taken last; None before the first."""
        self.is_complete = False
        """Whether every tenant's document is cached."""
        self.ready = False
        self.version = object()
        """Another object after each change of the documents."""
        self.rejections: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def revision(self) -> int:
        """The highest revision that was applied."""
        return self._documents.revision

    @property
    def digest(self) -> int:
        """The digest of all cached documents."""
        return self._documents.digest

    @property
    def is_stale(self) -> bool:
        """Whether the documents are older than `max_stale`: then they grant nothing."""
        return monotonic() > self.stale_at

    def confirm(self, at: float | None) -> None:
        """Note that the documents were current at that time, by the monotonic clock; None: nobody knows when.

        With public keys, they are as old as what the publisher has signed of them.
        """
        if self.verifier is not None and at is not None:
            at = self.verifier.confirmed_at(at)
        self.confirmed_at = at
        if self._max_stale is not None:
            self.stale_at = -math.inf if at is None else at + self._max_stale

    def no_documents(self) -> Documents:
        """A place for the documents of a snapshot."""
        return Documents(is_signed=self.verifier is not None)

    def is_as_signed(self, state: State) -> bool:
        """Whether the documents are what the publisher has signed; of some of all documents, nobody can tell."""
        assert self.verifier is not None
        return self.verifier.prove(state, self._documents.sum if self.is_complete else None)

    def note_unreadable(self, tenant: str, revision: int) -> None:
        """Note that the publisher has signed a document that can't be read; the cached one stays."""
        self._documents.note_unreadable(tenant, revision)

    def chains(self, service: str) -> dict[str, Chain]:
        """The compiled chains of `service` by tenant, always the same mapping: look here first."""
        chains = self._chains.get(service)
        if chains is None:
            chains = self._chains[service] = {} if self._max_stale is None else _FreshChains(self)
        return chains

    def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of `service` for `tenant`, compiled now if it has not been."""
        if not self.ready:
            return NOT_READY
        if self.is_stale:
            return STALE
        if tenant is None:
            return TENANT_UNKNOWN
        cached = self._documents.get(tenant)
        if cached is None:
            return NOT_READY if self.is_missing(tenant) else TENANT_UNKNOWN
        cached.is_used = True
        readable = self._readable(tenant, cached)
        platform = self._documents.get(PLATFORM)
        platform = None if platform is None else self._readable(PLATFORM, platform)
        if readable is None:
            chain = UNREADABLE
        else:
            chain = compile_chain(service, readable.document, None if platform is None else platform.document)
        self.chains(service)[tenant] = chain
        return chain

    def is_missing(self, tenant: str) -> bool:
        """Whether `tenant` may have a document that is not cached."""
        if self.is_complete or self._documents.revision_of(tenant) is not None or not is_slug(tenant):
            return False
        return self._unknown.get(tenant) < monotonic()

    def is_known(self, tenant: str) -> bool:
        """Whether `tenant`, which is not cached, was so lately, or was changed: then it is likely to exist."""
        return tenant in self._known

    @property
    def awaited(self) -> list[str]:
        """Tenants whose documents are being fetched, or are waited for: see `expect`."""
        return list(self._awaited)

    def expect(self, tenants: Iterable[str]) -> None:
        """Apply changes of `tenants`, and do not evict them, until as many calls of `release`."""
        self._awaited.update(tenants)

    def release(self, tenants: Iterable[str]) -> None:
        """Undo one `expect`."""
        for tenant in tenants:
            self._awaited[tenant] -= 1
            if self._awaited[tenant] <= 0:
                del self._awaited[tenant]
        self._make_room()

    def follows(self, tenant: str) -> bool:
        """Whether changes of `tenant` are to be applied."""
        return self.is_complete or tenant in self._documents or tenant in self._awaited or tenant == PLATFORM

    def forget_unknown(self, tenant: str) -> None:
        """Note that `tenant`, which is not cached, was changed: it is no longer known to be unknown."""
        self._unknown.discard(tenant)
        self._known.add(tenant)
        self._documents.deleted.pop(tenant, None)

    def is_newer(self, tenant: str, revision: int) -> bool:
        """Whether `revision` is later than the cached document of `tenant`, or its deletion."""
        known = self._documents.revision_of(tenant)
        return known is None or revision > known

    def next(self, tenant: str, envelope: Envelope) -> CachedDocument:
        """What would be cached of `tenant` after `envelope`; not yet read, not yet applied."""
        cached = self._documents.get(tenant)
        return CachedDocument(tenant, envelope, None if cached is None else cached.last_readable)

    def apply(self, tenant: str, cached: CachedDocument) -> None:
        """Cache a document that was read. Requests under way keep the chain that they started with."""
        self._documents.put(tenant, cached)
        self._unknown.discard(tenant)
        self._known.discard(tenant)
        self.version = object()
        self.rejections.pop(tenant, None)
        self._forget_chains(tenant)
        self._make_room()

    def replace(self, fresh: Documents, epoch: bytes | None, *, is_complete: bool) -> None:
        """Cache exactly the documents of a snapshot, which are the cache's now: of all tenants, if it `is_complete`."""
        self._documents = fresh
        self._unknown.clear()
        self.epoch = epoch
        self.is_complete = is_complete
        self.version = object()
        self.rejections = {tenant: why for tenant, why in self.rejections.items() if tenant in fresh}
        self.ready = True
        self._forget_chains(PLATFORM)
        self._make_room()

    def take(self, tenant: str, value: bytes | None) -> None:
        """Cache what was fetched for `tenant`, unless a change has brought something newer; None: there is none."""
        if value is not None:
            cached = self.next(tenant, self.envelope(tenant, value))
            if self.is_newer(tenant, cached.revision) and self.is_signed(tenant, cached):
                cached.is_used = True
                self.apply(tenant, cached)
        elif tenant not in self._documents:
            self._known.discard(tenant)
            self._unknown.add(tenant, monotonic() + UNKNOWN_SECONDS)

    def is_signed(self, tenant: str, cached: CachedDocument) -> bool:
        """Whether a document may replace another; a rejection is noted. Without public keys, all may."""
        if self.verifier is None:
            return True
        try:
            self.verifier.check_document(tenant, cached.envelope)
        except InvalidSignature as error:
            self.reject(tenant, cached.revision, str(error))
            return False
        return True

    def cached(self, tenant: str) -> CachedDocument | None:
        """The cached document of a tenant."""
        return self._documents.get(tenant)

    def tenants(self) -> list[str]:
        """The tenants whose documents are cached."""
        return list(self._documents)

    def envelope(self, tenant: str, value: bytes) -> Envelope:
        """A stored value as an envelope. A value of another form is cached all the same: unreadable is not unknown."""
        try:
            return Envelope.from_bytes(value)
        except Unreadable as error:
            self.reject(tenant, 0, str(error))
            # Any change to come is newer.
            return Envelope(0, value)

    def envelopes(self) -> Iterator[tuple[str, Envelope]]:
        """All that is cached now, in the form in which it was published; for an unreadable document, the last readable.

        For another thread to go through: there may be many.
        """
        # Copied before that thread begins, and with no new object for each.
        tenants, documents = list(self._documents), list(self._documents.values())
        pairs = zip(tenants, documents, strict=True)
        readable = ((tenant, cached.last_readable if cached.is_unreadable else cached) for tenant, cached in pairs)
        return ((tenant, cached.envelope) for tenant, cached in readable if cached is not None)

    def reject(self, tenant: str, revision: int, why: str) -> None:
        """Note that a document can't be read; the cached one stays."""
        text = excerpt(f"revision {revision}: {why}")
        level = logging.DEBUG if self.rejections.get(tenant) == text else logging.ERROR
        if tenant in self.rejections or len(self.rejections) < MAX_REJECTIONS:
            self.rejections[tenant] = text
        logger.log(
            level, "document of tenant %s at revision %d is unreadable and was not applied: %s", tenant, revision, why
        )

    def _readable(self, tenant: str, cached: CachedDocument) -> CachedDocument | None:
        if cached.is_readable or cached.is_unreadable:
            return cached.last_readable
        try:
            cached.read(tenant, self.verifier)
        except UnreadableDocument as error:
            self.reject(tenant, cached.revision, str(error))
        return cached.last_readable

    def _make_room(self) -> None:
        """Evict what was not used for longest; never the platform's document, nor one that is awaited.

        A request that finds its chain leaves no mark, so a tenant that has been asked for gets a second chance: it
        loses its chains, and is marked again when it next asks for one.
        """
        chances = MAX_SECOND_CHANCES
        kept = 0
        while len(self._documents) > self.capacity + (PLATFORM in self._documents) + kept:
            tenant, cached = next(iter(self._documents.items()))
            if tenant == PLATFORM or tenant in self._awaited:
                kept += tenant != PLATFORM
                self._documents.move_to_end(tenant)
                continue
            self._forget_chains(tenant)
            if cached.is_used and chances:
                cached.is_used = False
                chances -= 1
                self._documents.move_to_end(tenant)
                continue
            self.is_complete = False
            self._documents.evict(tenant)
            self._known.add(tenant)
            self.rejections.pop(tenant, None)

    def _forget_chains(self, tenant: str) -> None:
        for chains in self._chains.values():
            if tenant == PLATFORM:
                chains.clear()
            else:
                chains.pop(tenant, None)


class _FreshChains(dict[str, Chain]):
    """Chains by tenant for as long as they are not too old. Each request looks at the clock, so that none is late."""

    def __init__(self, cache: Cache) -> None:
        super().__init__()
        self._cache = cache

    def get(self, tenant: str, default: Any = None) -> Any:
        return STALE if monotonic() > self._cache.stale_at else _get(self, tenant, default)


_get = dict.get
