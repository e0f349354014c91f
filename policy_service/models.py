"""The tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Computed, DateTime, Index, LargeBinary, Sequence, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

MAX_REVISION = 2**63 - 1


class Base(DeclarativeBase):
    """All tables of the service."""


# One for all tenants: a revision is never given twice, also across deletion and re-creation of a tenant.
REVISIONS = Sequence("revisions", metadata=Base.metadata)
# One number for each time a publisher begins to lead; Redis rejects the writes of an earlier one.
TERMS = Sequence("publisher_terms", metadata=Base.metadata)


def _bytes_of(column: str) -> Computed:
    """How many bytes a JSON value has as text: PostgreSQL stores it compressed."""
    return Computed(f"octet_length({column}::text)", persisted=True)


class Tenant(Base):
    """A tenant's current document. It is small and always read and written at once, hence one JSON value."""

    __tablename__ = "tenants"
    __table_args__ = (Index("tenants_by_expiry", "next_expiry", postgresql_where=text("next_expiry IS NOT NULL")),)

    # Byte order, so that pages follow the same order in every database.
    slug: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    document_bytes: Mapped[int] = mapped_column(_bytes_of("document"))
    next_expiry: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class AllowedPattern(Base):
    """Which policies have an entry of a pattern: an index of the documents."""

    __tablename__ = "allowed_patterns"

    pattern: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    tenant: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    policy: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Change(Base):
    """One revision of one tenant: the audit log, the history, and (while `published_at` is null) the outbox."""

    __tablename__ = "changes"
    __table_args__ = (
        Index("changes_unpublished", "revision", postgresql_where=text("published_at IS NULL")),
        Index("changes_by_tenant", "tenant", "revision"),
        Index("changes_by_deletion", "tenant", "revision", postgresql_where=text("action = 'tenant.delete'")),
        Index("changes_by_actor", "actor", "revision"),
        Index("changes_by_subject", "subject", "revision"),
        Index("changes_by_time", "created_at"),
        Index("changes_by_position", "position", unique=True),
        Index(
            "changes_with_document",
            "tenant",
            "revision",
            postgresql_include=["document_bytes", "created_at"],
            postgresql_where=text("document_bytes IS NOT NULL"),
        ),
    )

    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    subject: Mapped[str | None] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    # Stored, so that a page of the history need not read two documents for each of its changes.
    difference: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    omitted: Mapped[int] = mapped_column(server_default=text("0"))
    difference_bytes: Mapped[int] = mapped_column(_bytes_of("difference"))
    # The document before is the one after the tenant's change before. Null for a deletion, and where it was compacted.
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    document_bytes: Mapped[int | None] = mapped_column(_bytes_of("after"))
    compacted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    published_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Given by the publisher, one at a time: unlike revisions, positions become visible in their order.
    position: Mapped[int | None] = mapped_column(BigInteger)


class Publication(Base):
    """The epoch that the published documents were last written to Redis as. One row, from the first epoch on."""

    __tablename__ = "publication"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[str] = mapped_column(Text)


class Leader(Base):
    """What keeps the leading publisher from publishing, in its words. One row, made with the table."""

    __tablename__ = "leader"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    problems: Mapped[list[str]] = mapped_column(JSONB)


class DatabaseIdentity(Base):
    """A random number that stands in Redis too, to tell what this database publishes. One row, made with the table."""

    __tablename__ = "database_identity"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    identity: Mapped[str] = mapped_column(Text)


class ApiKey(Base):
    """A key to the API: only an HMAC of it is stored. A revoked key stays: changes name it."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("api_keys_by_age", "created_at", "id"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    tenants: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    may_write: Mapped[bool]
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    replaced_by: Mapped[str | None] = mapped_column(Text)
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class HashSecret(Base):
    """What the HMACs of keys are keyed with, together with CORSPOLICY_KEY_PEPPER. One row, made with the table."""

    __tablename__ = "hash_secret"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    secret: Mapped[bytes] = mapped_column(LargeBinary)


class StoredResponse(Base):
    """The response to a request with an Idempotency-Key, for the same request sent again."""

    __tablename__ = "stored_responses"
    __table_args__ = (Index("stored_responses_by_age", "created_at"),)

    actor: Mapped[str] = mapped_column(Text, primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    status: Mapped[int]
    headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    # Null where it held a secret.
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    revision: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
