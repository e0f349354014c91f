"""Deletions of a tenant are found without reading its other changes: each begins another owner's history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    is_deletion = sa.text("action = 'tenant.delete'")
    op.create_index("changes_by_deletion", "changes", ["tenant", "revision"], postgresql_where=is_deletion)


def downgrade() -> None:
    op.drop_index("changes_by_deletion", "changes")
