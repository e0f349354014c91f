"""Why and for whom a change was made, what it changed, its position; when a tenant's first entry expires."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"

_NEXT_EXPIRY = """
UPDATE tenants SET next_expiry = (
    SELECT min(CAST(entry ->> 'expires_at' AS timestamptz))
    FROM jsonb_each(document -> 'policies') AS policies (service, policy),
        jsonb_array_elements(policy -> 'allow_origins') AS entry
)
"""
_CREATED = """
UPDATE changes SET difference = '[{"words": "tenant created", "op": "add"}]' WHERE action = 'tenant.create'
"""
_POSITIONS = """
UPDATE changes SET position = published.position
FROM (
    SELECT revision, row_number() OVER (ORDER BY revision) AS position FROM changes WHERE published_at IS NOT NULL
) AS published
WHERE changes.revision = published.revision
"""


def upgrade() -> None:
    op.add_column("tenants", sa.Column("next_expiry", sa.DateTime(timezone=True)))
    op.add_column("changes", sa.Column("subject", sa.Text))
    op.add_column("changes", sa.Column("reason", sa.Text))
    op.add_column("changes", sa.Column("difference", JSONB, server_default=sa.text("'[]'"), nullable=False))
    op.add_column("changes", sa.Column("omitted", sa.Integer, server_default=sa.text("0"), nullable=False))
    op.add_column("changes", sa.Column("position", sa.BigInteger))
    for statement in (_NEXT_EXPIRY, _CREATED, _POSITIONS):
        op.execute(sa.text(statement))
    has_expiry = sa.text("next_expiry IS NOT NULL")
    op.create_index("tenants_by_expiry", "tenants", ["next_expiry"], postgresql_where=has_expiry)
    op.create_index("changes_by_actor", "changes", ["actor", "revision"])
    op.create_index("changes_by_subject", "changes", ["subject", "revision"])
    op.create_index("changes_by_time", "changes", ["created_at"])
    op.create_index("changes_by_position", "changes", ["position"], unique=True)


def downgrade() -> None:
    for index in ("changes_by_position", "changes_by_time", "changes_by_subject", "changes_by_actor"):
        op.drop_index(index, "changes")
    op.drop_index("tenants_by_expiry", "tenants")
    for column in ("position", "omitted", "difference", "reason", "subject"):
        op.drop_column("changes", column)
    op.drop_column("tenants", "next_expiry")
