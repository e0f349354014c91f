"""What keeps the leading publisher from publishing: told by every replica, and known to the leader alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "leader",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("problems", JSONB, nullable=False),
    )
    op.execute("INSERT INTO leader (id, problems) VALUES (1, '[]')")


def downgrade() -> None:
    op.drop_table("leader")
