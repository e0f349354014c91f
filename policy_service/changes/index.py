"""The index of allowed patterns, which tells who allows an origin: each change also changes the index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from policy_service.documents.model import StoredDocument

_REMOVE = text("""
    DELETE FROM allowed_patterns AS known
    USING unnest(CAST(:patterns AS text[]), CAST(:policies AS text[])) AS gone (pattern, policy)
    WHERE known.pattern = gone.pattern AND known.tenant = :tenant AND known.policy = gone.policy
""")
_WRITE = text("""
    INSERT INTO allowed_patterns (pattern, tenant, policy, expires_at)
    SELECT pattern, :tenant, policy, expires_at FROM unnest(
        CAST(:patterns AS text[]), CAST(:policies AS text[]), CAST(:times AS timestamptz[])
    ) AS entry (pattern, policy, expires_at)
    ON CONFLICT (pattern, tenant, policy) DO UPDATE SET expires_at = excluded.expires_at
""")


async def follow(
    session: AsyncSession, tenant: str, before: StoredDocument | None, after: StoredDocument | None
) -> None:
    """Write what differs between a tenant's documents."""
    old, new = dict(_entries(before)), dict(_entries(after))
    if gone := [key for key in old if key not in new]:
        patterns, policies = zip(*gone, strict=True)
        await session.execute(_REMOVE, {"tenant": tenant, "patterns": patterns, "policies": policies})
    if written := {key: until for key, until in new.items() if key not in old or old[key] != until}:
        patterns, policies = zip(*written, strict=True)
        times = tuple(written.values())
        await session.execute(_WRITE, {"tenant": tenant, "patterns": patterns, "policies": policies, "times": times})


def _entries(document: StoredDocument | None) -> Iterator[tuple[tuple[str, str], datetime | None]]:
    for service, policy in (document or StoredDocument()).policies.items():
        for entry in policy.allow_origins:
            yield (entry.pattern, service), entry.expires_at
