"""Every allowed pattern is indexed, so that who allows an origin is known without reading the documents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

STEP = 1_000

_LAST_OF_STEP = """
SELECT max(slug) FROM (SELECT slug FROM tenants WHERE slug > :after ORDER BY slug LIMIT :step) AS step
"""
# A document that is unreadable has no patterns.
_FILL = """
INSERT INTO allowed_patterns (pattern, tenant, policy, expires_at)
SELECT entry ->> 'pattern', slug, policy.key, CAST(entry ->> 'expires_at' AS timestamptz)
FROM tenants,
LATERAL jsonb_each(CASE jsonb_typeof(document -> 'policies') WHEN 'object' THEN document -> 'policies' END) AS policy,
LATERAL jsonb_array_elements(
    CASE jsonb_typeof(policy.value -> 'allow_origins') WHEN 'array' THEN policy.value -> 'allow_origins' END
) AS entry
WHERE slug > :after AND slug <= :last AND entry ->> 'pattern' IS NOT NULL
"""


def upgrade() -> None:
    op.create_table(
        "allowed_patterns",
        sa.Column("pattern", sa.Text(collation="C"), primary_key=True),
        sa.Column("tenant", sa.Text(collation="C"), primary_key=True),
        sa.Column("policy", sa.Text(collation="C"), primary_key=True),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
    )
    # Waits for writes under way, and lets no other begin until the table is filled.
    op.execute("LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE")
    connection, after = op.get_bind(), ""
    while last := connection.scalar(sa.text(_LAST_OF_STEP), {"after": after, "step": STEP}):
        connection.execute(sa.text(_FILL), {"after": after, "last": last})
        after = last
    op.execute("ANALYZE allowed_patterns")


def downgrade() -> None:
    op.drop_table("allowed_patterns")
