"""Redis is known by its history, not by its process."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.alter_column("publication", "redis_run_id", new_column_name="redis_history")


def downgrade() -> None:
    op.alter_column("publication", "redis_history", new_column_name="redis_run_id")
