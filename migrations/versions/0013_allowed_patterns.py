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

# A document that is unreadable has no patterns, and is no reason not to write it. In PL/pgSQL, because a large document
# is unpacked once then; as one query it is for each part that is read of it.
_PATTERNS_OF = """
CREATE FUNCTION patterns_of(document jsonb) RETURNS TABLE (policy text, pattern text, expires_at timestamptz)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    policies jsonb = document -> 'policies';
    entries jsonb;
BEGIN
    IF jsonb_typeof(policies) = 'object' THEN
        FOR policy, entries IN SELECT key, value -> 'allow_origins' FROM jsonb_each(policies) LOOP
            IF jsonb_typeof(entries) = 'array' THEN
                RETURN QUERY
                SELECT policy, entry ->> 'pattern', CAST(entry ->> 'expires_at' AS timestamptz)
                FROM jsonb_array_elements(entries) AS entry WHERE entry ->> 'pattern' IS NOT NULL;
            END IF;
        END LOOP;
    END IF;
END
$$
"""
# One row at a time: PostgreSQL takes a set of unknown size for a large one, and would read the whole table to join it.
_INDEX_PATTERNS = """
CREATE FUNCTION index_patterns() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed record;
BEGIN
    FOR changed IN
        SELECT policy, pattern, after.policy IS NOT NULL AS stays, after.expires_at AS expires_at
        FROM patterns_of(OLD.document) AS before FULL JOIN patterns_of(NEW.document) AS after USING (policy, pattern)
        WHERE before.policy IS NULL OR after.policy IS NULL OR before.expires_at IS DISTINCT FROM after.expires_at
    LOOP
        IF changed.stays THEN
            INSERT INTO allowed_patterns (pattern, tenant, policy, expires_at)
            VALUES (changed.pattern, NEW.slug, changed.policy, changed.expires_at)
            ON CONFLICT (pattern, tenant, policy) DO UPDATE SET expires_at = excluded.expires_at;
        ELSE
            DELETE FROM allowed_patterns
            WHERE pattern = changed.pattern AND tenant = OLD.slug AND policy = changed.policy;
        END IF;
    END LOOP;
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
