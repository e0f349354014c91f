"""Tenants, changes, publication, API keys; the platform tenant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_PLATFORM = """
WITH platform AS (
    INSERT INTO tenants (slug, revision, document) VALUES ('platform', nextval('revisions'), CAST(:document AS jsonb))
    RETURNING slug, revision, document
)
INSERT INTO changes (revision, tenant, actor, action, after)
SELECT revision, slug, 'migration', 'tenant.create', document FROM platform
"""
_DOCUMENT = """
{"name": "What applies to all tenants", "policies": {"default": {
    "allow_origins": [], "allow_credentials": false, "allow_methods": [], "allow_headers": [], "expose_headers": [],
    "max_age": null, "dangerously_allow_insecure_origins": false, "dangerously_allow_public_suffixes": false}}}
"""


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("revisions")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("publisher_terms")))
    op.create_table(
        "tenants",
        sa.Column("slug", sa.Text(collation="C"), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("document", JSONB, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("before", JSONB),
        sa.Column("after", JSONB),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
    )
    op.create_index("changes_unpublished", "changes", ["revision"], postgresql_where=sa.text("published_at IS NULL"))
    op.create_index("changes_by_tenant", "changes", ["tenant", "revision"])
    op.create_table(
        "publication",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("redis_run_id", sa.Text, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.execute(sa.text(_PLATFORM).bindparams(document=_DOCUMENT))


def downgrade() -> None:
    for table in ("api_keys", "publication", "changes", "tenants"):
        op.drop_table(table)
    for sequence in ("publisher_terms", "revisions"):
        op.execute(sa.schema.DropSequence(sa.Sequence(sequence)))
