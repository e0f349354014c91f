"""A database has an identity, and Redis is known by what stands in it."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# Tells a cluster from one that a dump was restored to. A server may not be allowed to read it (it opens a file by its
# full path): then only the database's own random number tells.
_CLUSTER = """
CREATE FUNCTION cluster_identifier() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system());
EXCEPTION WHEN OTHERS THEN
    RETURN '';
END
$$
"""


def upgrade() -> None:
    identity = op.create_table(
        "database_identity",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("identity", sa.Text, nullable=False),
    )
    op.bulk_insert(identity, [{"id": 1, "identity": secrets.token_hex(8)}])
    op.execute(_CLUSTER)
    op.drop_column("publication", "redis_history")


def downgrade() -> None:
    op.add_column("publication", sa.Column("redis_history", sa.Text, server_default="", nullable=False))
    op.alter_column("publication", "redis_history", server_default=None)
    op.execute("DROP FUNCTION cluster_identifier()")
    op.drop_table("database_identity")
