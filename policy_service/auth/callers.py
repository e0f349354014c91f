"""Who calls, and which tenants that caller may see and change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import InstrumentedAttribute

from policy_service.documents.quotas import Limits
from policy_service.errors import Problem


@dataclass(frozen=True, slots=True)
class Scope:
    """The tenants that a query may touch: those named, or all. Every query for a caller takes one.

    What lies outside is not there: not found rather than forbidden, so that nobody learns who else is a tenant.
    """

    tenants: frozenset[str] | None

    def covers(self, tenant: str) -> bool:
        """Whether that tenant is within."""
        return self.tenants is None or tenant in self.tenants

    def where(self, slug: InstrumentedAttribute[str]) -> ColumnElement[bool]:
        """The same as a condition on a column of slugs."""
        return true() if self.tenants is None else slug.in_(self.tenants)


EVERYTHING = Scope(None)


class Role(StrEnum):
    """What a key is for."""

    ADMIN = "admin"
    TENANT = "tenant"
    READER = "reader"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as changes record it, and what that caller may do."""

    actor: str
    """`key:<id>`, or the name of the part of corspolicy that acts."""
    role: Role = Role.ADMIN
    scope: Scope = EVERYTHING
    may_write: bool = True
    subject: str | None = None
    """For whom the caller says it acts: Corspolicy-Subject."""
    limits: Limits | None = None
    """None for corspolicy itself."""

    def require_write(self, tenant: str) -> None:
        """Raises Problem 403 if the caller sees that tenant, but may not change it."""
        if self.scope.covers(tenant) and not self.may_write:
            raise _forbidden("This key may read, but not change anything.")

    def require_admin(self) -> None:
        """Raises Problem 403 for what takes an admin key."""
        if self.role is not Role.ADMIN:
            raise _forbidden("This takes an admin key.")

    def require_all_tenants(self) -> None:
        """Raises Problem 403 for what tells of all tenants at once."""
        if self.scope != EVERYTHING:
            raise _forbidden("This tells of all tenants: it takes an admin or a reader key.")


Authenticate = Callable[[], Awaitable[Caller]]
"""Asks again who calls. Raises Problem for a key that is not valid any more."""


def _forbidden(detail: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, "forbidden", detail)
