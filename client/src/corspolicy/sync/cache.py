"""The documents that a process holds, by tenant, and the chains compiled from them.

As long as there are no more tenants than `capacity`, all are held, and a tenant that is not held is unknown. Beyond
that, documents are held as they are asked for, the least recently used go, and unknown tenants are remembered as such
for a short while.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator

from corspolicy.core.decision import NOT_READY, STALE, TENANT_UNKNOWN, UNREADABLE, Chain, compile_chain
from corspolicy.core.document import PLATFORM, Document, UnreadableDocument
from corspolicy.core.names import is_slug
from corspolicy.sync.wire import Envelope, Unreadable, mark

MAX_REJECTIONS = 100
MAX_UNKNOWN = 10_000
UNKNOWN_SECONDS = 30.0
MAX_SECOND_CHANCES = 16

logger = logging.getLogger("corspolicy")


class Held:
    """One tenant's document: bytes until a request needs it. `document` is None for a deleted tenant."""

    # There may be many: each is one object that the garbage collector has to visit, not two.
    __slots__ = ("_is_read", "_last_good", "_payload", "document", "is_unreadable", "is_used", "mark", "revision")

    def __init__(self, tenant: str, envelope: Envelope, last_good: Held | None = None) -> None:
        self.revision, self._payload = envelope
        self.mark = 0 if envelope.payload is None else mark(tenant, envelope.revision)
        self.document: Document | None = None
        self.is_unreadable = False
        self.is_used = False
        """Whether it was asked for since its last turn to go."""
        self._is_read = envelope.payload is None
        self._last_good = last_good

    @property
    def envelope(self) -> Envelope:
        """The document as it was published."""
        return Envelope(self.revision, self._payload)

    def read(self) -> None:
        """Read the document, once. Raises UnreadableDocument if that fails."""
        self._is_read = True
        if self._payload is not None:
            try:
                self.document = Document.from_bytes(self._payload)
            except Exception as error:
                # Whatever it is: one tenant's document must not stop the feed for all others.
                self.is_unreadable = True
                raise UnreadableDocument(str(error)) from error
        self._last_good = None

    @property
    def is_good(self) -> bool:
        """Whether the document was read, or was a deletion."""
        return self._is_read and not self.is_unreadable

    @property
    def last_good(self) -> Held | None:
        """The newest readable document of the tenant: this one, if it was read, else an earlier one."""
        return self if self.is_good else self._last_good


class Documents(OrderedDict[str, Held]):
    """Documents by tenant, in the order in which they go. What is known of all of them is kept with every change."""

    digest = 0
    """Over all (tenant, revision) pairs, deleted tenants left out; see `wire.mark`."""
    revision = 0
    """The highest that was ever among them."""

    def __setitem__(self, tenant: str, held: Held) -> None:
        old = self.get(tenant)
        self.digest ^= held.mark ^ (0 if old is None else old.mark)
        self.revision = max(self.revision, held.revision)
        super().__setitem__(tenant, held)

    def __delitem__(self, tenant: str) -> None:
        self.digest ^= self[tenant].mark
        super().__delitem__(tenant)


class Cache:
    """Documents by tenant, newest revision only. Used by one event loop; readers never wait."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        # What is used is moved to the end.
        self._held = Documents()
        self._chains: dict[str, dict[str, Chain]] = {}
        self._unknown: dict[str, float] = {}
        self._is_stale = False
        self.awaited: set[str] = set()
        """Tenants that are being fetched: a change to one of them is taken, as to one that is held."""
        self.epoch: bytes | None = None
        """The epoch that what is held is of; None before the first snapshot."""
        self.is_complete = False
        """Whether every tenant's document is held."""
        self.ready = False
        self.version = object()
        """Another object after each change of what is held."""
        self.rejections: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def revision(self) -> int:
        """The highest revision that was applied."""
        return self._held.revision

    @property
    def digest(self) -> int:
        """The digest of what is held."""
        return self._held.digest

    def chains(self, service: str) -> dict[str, Chain]:
        """The compiled chains of `service` by tenant, always the same mapping: look here first."""
        return self._chains.setdefault(service, {})

    def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of `service` for `tenant`, compiled now if it has not been."""
        if not self.ready:
            return NOT_READY
        if self._is_stale:
            return STALE
        if tenant is None:
            return TENANT_UNKNOWN
        held = self._held.get(tenant)
        if held is None:
            return NOT_READY if self.is_missing(tenant) else TENANT_UNKNOWN
        held.is_used = True
        readable = self._readable(tenant, held)
        platform = self._held.get(PLATFORM)
        platform = None if platform is None else self._readable(PLATFORM, platform)
        if readable is None:
            chain = UNREADABLE
        else:
            chain = compile_chain(service, readable.document, None if platform is None else platform.document)
        self.chains(service)[tenant] = chain
        return chain

    def is_missing(self, tenant: str) -> bool:
        """Whether a document of `tenant` may be there that is not held."""
        if self.is_complete or tenant in self._held or not is_slug(tenant):
            return False
        return self._unknown.get(tenant, 0.0) < time.monotonic()

    def follows(self, tenant: str) -> bool:
        """Whether changes of `tenant` are to be applied."""
        return self.is_complete or tenant in self._held or tenant in self.awaited or tenant == PLATFORM

    def forget_unknown(self, tenant: str) -> None:
        """Note that `tenant`, which is not held, was changed: it is not unknown any more."""
        self._unknown.pop(tenant, None)

    def is_newer(self, tenant: str, revision: int) -> bool:
        """Whether `revision` is later than what is held of `tenant`."""
        held = self._held.get(tenant)
        return held is None or revision > held.revision

    def next(self, tenant: str, envelope: Envelope) -> Held:
        """What would be held of `tenant` after `envelope`; not yet read, not yet applied."""
        held = self._held.get(tenant)
        return Held(tenant, envelope, None if held is None else held.last_good)

    def apply(self, tenant: str, held: Held) -> None:
        """Hold a document that was read. Requests under way keep the chain that they started with."""
        self._held[tenant] = held
        self._unknown.pop(tenant, None)
        self.version = object()
        self.rejections.pop(tenant, None)
        self._forget_chains(tenant)
        self._make_room()

    def replace(self, fresh: Documents, epoch: bytes | None, *, is_complete: bool) -> None:
        """Hold exactly the documents of a snapshot, which are the cache's now: of all tenants, if it `is_complete`."""
        self._held = fresh
        self._unknown.clear()
        self.epoch = epoch
        self.is_complete = is_complete
        self.version = object()
        self.rejections = {tenant: why for tenant, why in self.rejections.items() if tenant in fresh}
        self.ready = True
        self._forget_chains(PLATFORM)
        self._make_room()

    def take(self, tenant: str, value: bytes | None) -> None:
        """Hold what was fetched for `tenant`, unless a change has brought something newer; None: there is none."""
        if value is not None:
            held = self.next(tenant, self.envelope(tenant, value))
            if self.is_newer(tenant, held.revision):
                held.is_used = True
                self.apply(tenant, held)
        elif tenant not in self._held:
            self._unknown.pop(tenant, None)
            while len(self._unknown) >= MAX_UNKNOWN:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[tenant] = time.monotonic() + UNKNOWN_SECONDS

    @property
    def is_stale(self) -> bool:
        """Whether what is held is too old to grant anything by it."""
        return self._is_stale

    @is_stale.setter
    def is_stale(self, is_stale: bool) -> None:
        self._is_stale = is_stale
        if is_stale:
            self._forget_chains(PLATFORM)

    def held(self, tenant: str) -> Held | None:
        """What is held of a tenant."""
        return self._held.get(tenant)

    def tenants(self) -> list[str]:
        """The tenants of which something is held."""
        return list(self._held)

    def envelope(self, tenant: str, value: bytes) -> Envelope:
        """A stored value as an envelope. One that is none is held all the same: unreadable is not unknown."""
        try:
            return Envelope.from_bytes(value)
        except Unreadable as error:
            self.reject(tenant, 0, str(error))
            # Any change to come is newer.
            return Envelope(0, value)

    def envelopes(self) -> Iterator[tuple[str, Envelope]]:
        """All that is held now, in the form in which it was published; of an unreadable document, the last good one.

        For another thread to go through: there may be many.
        """
        # Copied at once, and with no new object for each.
        pairs = zip(list(self._held), list(self._held.values()), strict=True)
        good = ((tenant, held.last_good if held.is_unreadable else held) for tenant, held in pairs)
        return ((tenant, held.envelope) for tenant, held in good if held is not None)

    def reject(self, tenant: str, revision: int, why: str) -> None:
        """Note that a document can't be read; what is held stays."""
        if tenant in self.rejections or len(self.rejections) < MAX_REJECTIONS:
            self.rejections[tenant] = f"revision {revision}: {why}"
        logger.error(
            "document of tenant %s at revision %d is unreadable and was not applied: %s", tenant, revision, why
        )

    def _readable(self, tenant: str, held: Held) -> Held | None:
        if held.is_good or held.is_unreadable:
            return held.last_good
        try:
            held.read()
        except UnreadableDocument as error:
            self.reject(tenant, held.revision, str(error))
        return held.last_good

    def _make_room(self) -> None:
        """Let go of what was not used for longest; the platform's document always stays.

        A request that finds its chain leaves no mark, so a tenant that has been asked for gets a second chance: it
        loses its chains, and is marked again when it next asks for one.
        """
        chances = MAX_SECOND_CHANCES
        while len(self._held) > self.capacity + (PLATFORM in self._held):
            tenant, held = next(iter(self._held.items()))
            if tenant == PLATFORM:
                self._held.move_to_end(tenant)
                continue
            self._forget_chains(tenant)
            if held.is_used and chances:
                held.is_used = False
                chances -= 1
                self._held.move_to_end(tenant)
                continue
            self.is_complete = False
            del self._held[tenant]
            self.rejections.pop(tenant, None)

    def _forget_chains(self, tenant: str) -> None:
        for chains in self._chains.values():
            if tenant == PLATFORM:
                chains.clear()
            else:
                chains.pop(tenant, None)
