"""Documents by tenant, as one process caches them."""

from __future__ import annotations

from collections import OrderedDict

from corspolicy.core.document import Document, UnreadableDocument
from corspolicy.sync.signatures import Sum, Verifier
from corspolicy.sync.wire import Envelope, mark

MAX_DELETED = 10_000


class CachedDocument:
    """One tenant's document: bytes until a request needs it. `document` is None for a deleted tenant."""

    # There may be many: each is one object that the garbage collector has to visit, not two.
    __slots__ = (
        "_is_read", "_last_readable", "_payload", "_signature", "document", "is_unreadable", "is_used", "mark",
        "revision",
    )  # fmt: skip

    def __init__(self, tenant: str, envelope: Envelope, last_readable: CachedDocument | None = None) -> None:
        self.revision, self._payload, self._signature = envelope
        self.mark = 0 if envelope.payload is None else mark(tenant, envelope.revision)
        self.document: Document | None = None
        self.is_unreadable = False
        self.is_used = False
        """Whether it was asked for since its last turn to be evicted."""
        self._is_read = envelope.payload is None
        self._last_readable = last_readable

    @property
    def envelope(self) -> Envelope:
        """The document as it was published."""
        return Envelope(self.revision, self._payload, self._signature)

    @property
    def is_deletion(self) -> bool:
        """Whether the tenant was deleted at this revision."""
        return self._payload is None

    def read(self, tenant: str, verifier: Verifier | None) -> None:
        """Check the signature and read the document, once. Raises UnreadableDocument if that fails.

        The cause is an InvalidSignature where it is not from the publisher.
        """
        self._is_read = True
        try:
            if verifier is not None:
                verifier.check_document(tenant, self.envelope)
            if self._payload is not None:
                self.document = Document.from_bytes(self._payload)
        except Exception as error:
            # Whatever it is: one tenant's document must not stop the feed for all others.
            self.is_unreadable = True
            raise UnreadableDocument(str(error)) from error
        self._last_readable = None

    @property
    def is_readable(self) -> bool:
        """Whether the document was read, or is a deletion."""
        return self._is_read and not self.is_unreadable

    @property
    def last_readable(self) -> CachedDocument | None:
        """The newest readable document of the tenant: this one, if it was read, else an earlier one."""
        return self if self.is_readable else self._last_readable


class Documents(OrderedDict[str, CachedDocument]):
    """Documents by tenant, in the order in which they are evicted, and the revisions of the latest deletions."""

    def __init__(self, *, is_signed: bool = False) -> None:
        super().__init__()
        self.sum = Sum() if is_signed else None
        """Of all documents as they were published, where that is signed; see `signatures.Sum`."""
        self._unreadable: dict[str, int] = {}
        self.digest = 0
        """Over all (tenant, revision) pairs, without deleted tenants; see `wire.mark`."""
        self.revision = 0
        """The highest that was ever among them."""
        self.deleted: dict[str, int] = {}
        """Deletions take no document's place, and the latest are enough: what comes late or again is recent."""

    def put(self, tenant: str, cached: CachedDocument) -> None:
        """Replace a tenant's document; a deletion removes it."""
        self.revision = max(self.revision, cached.revision)
        old = self.get(tenant)
        self.digest ^= cached.mark ^ (0 if old is None else old.mark)
        self.deleted.pop(tenant, None)
        self._count(tenant, None if cached.is_deletion else cached.revision)
        if not cached.is_deletion:
            super().__setitem__(tenant, cached)
            return
        if old is not None:
            super().__delitem__(tenant)
        while len(self.deleted) >= MAX_DELETED:
            del self.deleted[next(iter(self.deleted))]
        self.deleted[tenant] = cached.revision

    def evict(self, tenant: str) -> None:
        """Let go of a tenant's document."""
        self.digest ^= self[tenant].mark
        self._count(tenant, None)
        super().__delitem__(tenant)

    def note_unreadable(self, tenant: str, revision: int) -> None:
        """Count a signed document that can't be read as published, although an earlier one stays."""
        self._count(tenant, revision)
        self._unreadable[tenant] = revision

    def _count(self, tenant: str, revision: int | None) -> None:
        """Note what is published of a tenant; None: nothing."""
        if self.sum is None:
            return
        old = self.get(tenant)
        counted = self._unreadable.pop(tenant, None if old is None else old.revision)
        if counted is not None:
            self.sum.remove(tenant, counted)
        if revision is not None:
            self.sum.add(tenant, revision)

    def revision_of(self, tenant: str) -> int | None:
        """The revision of a tenant's document, or that of its deletion; None if neither is known."""
        cached = self.get(tenant)
        return self.deleted.get(tenant) if cached is None else cached.revision
