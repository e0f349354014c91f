"""Every allowed pattern is indexed, so that who allows an origin is known without reading the documents.

The index is kept up by a trigger: whoever writes a document, an older version during a rolling deployment included,
writes the index in the same transaction.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0008"

STEP = 1_000

# A document that is unreadable has no patterns, and is no reason not to write it.
_PATTERNS_OF = """
CREATE FUNCTION patterns_of(document jsonb) RETURNS TABLE (policy text, pattern text, expires_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT named.key, entry ->> 'pattern', CAST(entry ->> 'expires_at' AS timestamptz)
    FROM jsonb_each(CASE jsonb_typeof(document -> 'policies') WHEN 'object' THEN document -> 'policies' END) AS named,
        jsonb_array_elements(
            CASE jsonb_typeof(named.value -> 'allow_origins') WHEN 'array' THEN named.value -> 'allow_origins' END
        ) AS entry
    WHERE entry ->> 'pattern' IS NOT NULL
$$
"""
# One row at a time is removed: PostgreSQL takes a set of unknown size for a large one, and would read the whole table.
_INDEX_PATTERNS = """
CREATE FUNCTION index_patterns() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gone record;
BEGIN
    FOR gone IN
        SELECT policy, pattern FROM patterns_of(OLD.document)
        EXCEPT SELECT policy, pattern FROM patterns_of(NEW.document)
    LOOP
        DELETE FROM allowed_patterns
        WHERE pattern = gone.pattern AND tenant = OLD.slug AND policy = gone.policy;
    END LOOP;
    INSERT INTO allowed_patterns (pattern, tenant, policy, expires_at)
    SELECT pattern, NEW.slug, policy, expires_at FROM (
        SELECT policy, pattern, expires_at FROM patterns_of(NEW.document)
        EXCEPT SELECT policy, pattern, expires_at FROM patterns_of(OLD.document)
    ) AS written
    ON CONFLICT (pattern, tenant, policy) DO UPDATE SET expires_at = excluded.expires_at;
    RETURN NULL;
END
$$
"""
_TRIGGER = """
CREATE TRIGGER tenants_index_patterns AFTER INSERT OR DELETE OR UPDATE OF document ON tenants
FOR EACH ROW EXECUTE FUNCTION index_patterns()
"""
_LAST_OF_STEP = """
SELECT max(slug) FROM (SELECT slug FROM tenants WHERE slug > :after ORDER BY slug LIMIT :step) AS step
"""
_FILL = """
INSERT INTO allowed_patterns (pattern, tenant, policy, expires_at)
SELECT pattern, slug, policy, expires_at FROM tenants, patterns_of(document) WHERE slug > :after AND slug <= :last
"""


def upgrade() -> None:
    op.create_table(
        "allowed_patterns",
        sa.Column("pattern", sa.Text(collation="C"), primary_key=True),
        sa.Column("tenant", sa.Text(collation="C"), primary_key=True),
        sa.Column("policy", sa.Text(collation="C"), primary_key=True),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
    )
    # The trigger first: making it waits for writes under way, and lets no other begin until the table is filled.
    for statement in (_PATTERNS_OF, _INDEX_PATTERNS, _TRIGGER):
        op.execute(statement)
    connection, after = op.get_bind(), ""
    while last := connection.scalar(sa.text(_LAST_OF_STEP), {"after": after, "step": STEP}):
        connection.execute(sa.text(_FILL), {"after": after, "last": last})
        after = last
    op.execute("ANALYZE allowed_patterns")


def downgrade() -> None:
    op.execute("DROP TRIGGER tenants_index_patterns ON tenants")
    op.execute("DROP FUNCTION index_patterns()")
    op.execute("DROP FUNCTION patterns_of(jsonb)")
    op.drop_table("allowed_patterns")
