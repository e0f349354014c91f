"""A change keeps its document once, and for as long as set; how large documents and differences are is stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"

# What older versions did not keep, and is no deletion, can't be restored either.
_NEVER_KEPT = "UPDATE changes SET compacted_at = created_at WHERE after IS NULL AND action <> 'tenant.delete'"
# After a compaction there may be none: an older version then shows nothing where a document was removed.
_BEFORE = """
UPDATE changes SET before = previous.after
FROM (SELECT revision, lag(after) OVER (PARTITION BY tenant ORDER BY revision) AS after FROM changes) AS previous
WHERE previous.revision = changes.revision
"""


def _bytes(name: str, of: str, *, nullable: bool) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, sa.Computed(f"octet_length({of}::text)", persisted=True), nullable=nullable)


def upgrade() -> None:
    op.drop_column("changes", "before")
    op.add_column("changes", sa.Column("compacted_at", sa.DateTime(timezone=True)))
    op.execute(_NEVER_KEPT)
    op.add_column("changes", _bytes("document_bytes", "after", nullable=True))
    op.add_column("changes", _bytes("difference_bytes", "difference", nullable=False))
    op.add_column("tenants", _bytes("document_bytes", "document", nullable=False))
    op.create_index(
        "changes_with_document",
        "changes",
        ["tenant", "revision"],
        postgresql_include=["document_bytes", "created_at"],
        postgresql_where=sa.text("document_bytes IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("changes_with_document", "changes")
    op.drop_column("tenants", "document_bytes")
    for column in ("difference_bytes", "document_bytes", "compacted_at"):
        op.drop_column("changes", column)
    op.add_column("changes", sa.Column("before", JSONB(none_as_null=True)))
    op.execute(_BEFORE)
