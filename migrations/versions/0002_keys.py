"""Keys: what each may do, for how long, when it was used; the secret that their hashes are keyed with."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # They were hashed in another way and can't be checked any more: make others.
    op.execute("DELETE FROM api_keys")
    op.add_column("api_keys", sa.Column("role", sa.Text, nullable=False))
    op.add_column("api_keys", sa.Column("tenants", ARRAY(sa.Text)))
    op.add_column("api_keys", sa.Column("may_write", sa.Boolean, nullable=False))
    op.add_column("api_keys", sa.Column("created_by", sa.Text, nullable=False))
    op.add_column("api_keys", sa.Column("replaced_by", sa.Text))
    for name in ("expires_at", "revoked_at", "last_used_at"):
        op.add_column("api_keys", sa.Column(name, sa.DateTime(timezone=True)))
    op.create_index("api_keys_by_age", "api_keys", ["created_at", "id"])
    hash_secret = op.create_table(
        "hash_secret",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(hash_secret, [{"id": 1, "secret": secrets.token_bytes(32)}])


def downgrade() -> None:
    op.drop_table("hash_secret")
    op.drop_index("api_keys_by_age", "api_keys")
    # A key of one tenant would be an admin's.
    op.execute("DELETE FROM api_keys")
    added = ("role", "tenants", "may_write", "created_by", "replaced_by", "expires_at", "revoked_at", "last_used_at")
    for name in added:
        op.drop_column("api_keys", name)
