"""Responses to requests with an Idempotency-Key are stored under the field's name, and with their revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.rename_table("kept_answers", "stored_responses")
    op.execute("ALTER INDEX kept_answers_pkey RENAME TO stored_responses_pkey")
    op.execute("ALTER INDEX kept_answers_by_age RENAME TO stored_responses_by_age")
    op.add_column("stored_responses", sa.Column("revision", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("stored_responses", "revision")
    op.execute("ALTER INDEX stored_responses_by_age RENAME TO kept_answers_by_age")
    op.execute("ALTER INDEX stored_responses_pkey RENAME TO kept_answers_pkey")
    op.rename_table("stored_responses", "kept_answers")
