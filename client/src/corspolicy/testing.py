"""Fixed policies, for tests of applications that use corspolicy: no Redis, no service.

install(app, service="billing", tenant="acme", policies=FixedPolicies({"acme": {"default": {...}}}))
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from corspolicy.core.decision import Chain, Reason, compile_chain
from corspolicy.core.document import PLATFORM, Document
from corspolicy.core.names import is_service
from corspolicy.core.validation import check


class FixedPolicies:
    """Policies that never change: values as the admin API takes them, by tenant and by service or `default`.

    Raises ValueError for invalid policies. `denied` counts the denied requests by reason.
    """

    def __init__(self, policies: Mapping[str, Mapping[str, Any]]) -> None:
        self.denied: Counter[Reason] = Counter()
        self._documents = {tenant: _document(tenant, services) for tenant, services in policies.items()}
        self._chains: dict[str, dict[asyncio.AbstractEventLoop, dict[str, Chain]]] = {}

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def chains(self, service: str) -> Mapping[asyncio.AbstractEventLoop, Mapping[str, Chain]]:
        """The chains of `service` compiled so far, by event loop and tenant."""
        return self._chains.setdefault(service, {})

    async def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of any tenant."""
        document = self._documents.get(tenant) if tenant is not None else None
        chain = compile_chain(service, document, self._documents.get(PLATFORM))
        if document is not None:
            by_loop = self._chains.setdefault(service, {})
            by_loop.setdefault(asyncio.get_running_loop(), {})[document.tenant] = chain
        return chain


def _document(tenant: str, services: Mapping[str, Any]) -> Document:
    policies = {}
    for service, values in services.items():
        if not is_service(service) or not isinstance(values, Mapping):
            raise ValueError(f'tenant {tenant}: write {{"default": {{"allow_origins": [...]}}}}, policies by service')
        checked = check(values)
        if checked.policy is None:
            reasons = "; ".join(f"{error.pointer}: {error.message}" for error in checked.errors)
            raise ValueError(f"policy {service} of tenant {tenant}: {reasons}")
        policies[service] = checked.policy
    return Document(tenant, 1, MappingProxyType(policies))
