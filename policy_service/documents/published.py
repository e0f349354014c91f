"""A stored document in the form in which clients get it, and the Redis from which they do."""

from __future__ import annotations

from corspolicy.core.document import MAX_BYTES, Document
from corspolicy.sync.wire import Envelope
from policy_service.documents.model import StoredDocument


class TooLarge(ValueError):
    """A document that clients would refuse for its size."""


def to_document(tenant: str, revision: int, stored: StoredDocument) -> Document:
    """What clients apply: the policies without notes and authors."""
    return Document(tenant, revision, {service: policy.to_policy() for service, policy in stored.policies.items()})


def to_envelope(tenant: str, revision: int, stored: StoredDocument | None) -> bytes:
    """What stands in Redis; a deletion where there is no document. Raises TooLarge."""
    payload = None if stored is None else to_document(tenant, revision, stored).to_bytes()
    if payload is not None and len(payload) > MAX_BYTES:
        raise TooLarge(f"The document would be {len(payload)} bytes as it is published; {MAX_BYTES} is the limit.")
    return Envelope(revision, payload).to_bytes()
