"""Which changes a caller may see."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, func, literal_column, select
from sqlalchemy.orm import aliased

from policy_service.auth.callers import Scope
from policy_service.models import Change


def visible_changes(scope: Scope) -> ColumnElement[bool]:
    """The condition that a change is visible in that scope.

    For a key to some tenants the history starts at the last creation of each: before, the slug may have been somebody
    else's.
    """
    within = scope.where(Change.tenant)
    if scope.tenants is None:
        return within
    deletion, other = aliased(Change), aliased(Change)
    last = select(func.max(other.revision)).where(other.tenant == Change.tenant).correlate(Change).scalar_subquery()
    # Not a bound value: the index is for deletions only, which PostgreSQL has to see. One that is the last change is
    # still of the same owner.
    is_earlier_deletion = and_(deletion.action == literal_column("'tenant.delete'"), deletion.revision < last)
    start = select(func.max(deletion.revision)).where(deletion.tenant == Change.tenant, is_earlier_deletion)
    return and_(within, Change.revision > func.coalesce(start.correlate(Change).scalar_subquery(), 0))
