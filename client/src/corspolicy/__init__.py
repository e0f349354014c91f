"""corspolicy: centrally managed CORS policies for ASGI services."""

from corspolicy.core.decision import Reason
from corspolicy.middleware import CORSPolicyMiddleware, install
from corspolicy.policies import Policies
from corspolicy.status import Status
from corspolicy.tenancy import (
    FixedTenant,
    Scope,
    TenantFromHost,
    TenantFromPath,
    TenantFromQuery,
    TenantFromScope,
    TenantResolver,
)

__all__ = [
    "CORSPolicyMiddleware",
    "FixedTenant",
    "Policies",
    "Reason",
    "Scope",
    "Status",
    "TenantFromHost",
    "TenantFromPath",
    "TenantFromQuery",
    "TenantFromScope",
    "TenantResolver",
    "install",
]
