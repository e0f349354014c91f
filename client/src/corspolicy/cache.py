"""The documents that a process holds, by tenant, and the chains compiled from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import reduce
from operator import xor

from corspolicy.decision import NOT_READY, STALE, TENANT_UNKNOWN, UNREADABLE, Chain, compile_chain
from corspolicy.document import PLATFORM, Document, UnreadableDocument
from corspolicy.wire import Envelope, mark

MAX_REJECTIONS = 100

logger = logging.getLogger("corspolicy")


class Held:
    """One tenant's document: bytes until a request needs it. `document` is None for a deleted tenant."""

    __slots__ = ("_is_read", "_last_good", "document", "envelope", "is_unreadable", "mark")

    def __init__(self, tenant: str, envelope: Envelope, last_good: Held | None = None) -> None:
        self.envelope = envelope
        self.mark = 0 if envelope.payload is None else mark(tenant, envelope.revision)
        self.document: Document | None = None
        self.is_unreadable = False
        self._is_read = envelope.payload is None
        self._last_good = last_good

    @property
    def revision(self) -> int:
        return self.envelope.revision

    def read(self) -> None:
        """Read the document, once. Raises UnreadableDocument if that fails."""
        self._is_read = True
        if self.envelope.payload is not None:
            try:
                self.document = Document.from_bytes(self.envelope.payload)
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


class Cache:
    """Documents by tenant, newest revision only. Used by one event loop; readers never wait."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._chains: dict[str, dict[str, Chain]] = {}
        self._is_stale = False
        self.ready = False
        self.version = object()
        """Another object after each change of what is held."""
        self.revision = 0
        self.digest = 0
        """Over all (tenant, revision) pairs held, deleted tenants left out; see `wire.mark`."""
        self.rejections: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    def chains(self, service: str) -> dict[str, Chain]:
        """The compiled chains of `service` by tenant, always the same mapping: look here first."""
        return self._chains.setdefault(service, {})

    def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of `service` for `tenant`, compiled now if it has not been."""
        if not self.ready:
            return NOT_READY
        if self._is_stale:
            return STALE
        held = None if tenant is None else self._held.get(tenant)
        if tenant is None or held is None:
            return TENANT_UNKNOWN
        readable = self._readable(tenant, held)
        platform = self._held.get(PLATFORM)
        platform = None if platform is None else self._readable(PLATFORM, platform)
        if readable is None:
            chain = UNREADABLE
        else:
            chain = compile_chain(service, readable.document, None if platform is None else platform.document)
        self.chains(service)[tenant] = chain
        return chain

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
        old = self._held.get(tenant)
        self.digest ^= held.mark ^ (0 if old is None else old.mark)
        self._held[tenant] = held
        self.version = object()
        self.revision = max(self.revision, held.revision)
        self.rejections.pop(tenant, None)
        self._forget_chains(tenant)

    def replace(self, fresh: Mapping[str, Held]) -> None:
        """Hold exactly the documents of a complete snapshot."""
        self._held = dict(fresh)
        self.digest = reduce(xor, (held.mark for held in fresh.values()), 0)
        self.version = object()
        self.revision = max((held.revision for held in fresh.values()), default=0)
        self.rejections = {tenant: why for tenant, why in self.rejections.items() if tenant in fresh}
        self.ready = True
        self._forget_chains(PLATFORM)

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

    def envelopes(self) -> dict[str, Envelope]:
        """All that is held, in the form in which it was published; of an unreadable document, the last good one."""
        good = ((tenant, held.last_good if held.is_unreadable else held) for tenant, held in self._held.items())
        return {tenant: held.envelope for tenant, held in good if held is not None}

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

    def _forget_chains(self, tenant: str) -> None:
        for chains in self._chains.values():
            if tenant == PLATFORM:
                chains.clear()
            else:
                chains.pop(tenant, None)
