"""corspolicy: centrally managed CORS policies for ASGI services."""

from corspolicy.middleware import CORSPolicyMiddleware, install
from corspolicy.policies import Policies
from corspolicy.status import Status
from corspolicy.tenancy import FixedTenant, TenantFromHost, TenantFromPath, TenantFromQuery, TenantFromScope

__all__ = [
    "CORSPolicyMiddleware",
    "FixedTenant",
    "Policies",
    "Status",
    "TenantFromHost",
    "TenantFromPath",
    "TenantFromQuery",
    "TenantFromScope",
    "install",
]
