"""A database has an identity, and Redis is known by what stands in it."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    identity = op.create_table(
        "database_identity",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("identity", sa.Text, nullable=False),
    )
    op.bulk_insert(identity, [{"id": 1, "identity": secrets.token_hex(8)}])
    op.drop_column("publication", "redis_history")


def downgrade() -> None:
    op.add_column("publication", sa.Column("redis_history", sa.Text, server_default="", nullable=False))
    op.alter_column("publication", "redis_history", server_default=None)
    op.drop_table("database_identity")
