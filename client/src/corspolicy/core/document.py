"""All policies of one tenant at one revision, in the form in which they travel.

The document is the unit of publishing, caching and history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from corspolicy.core.policy import Policy
from corspolicy.core.validation import check

FORMAT = 1
DEFAULT = "default"
PLATFORM = "platform"
MAX_BYTES = 16 * 1024 * 1024
"""How large a published document may be: far beyond what a tenant needs, and read in seconds, not in minutes."""


class UnreadableDocument(ValueError):
    """A document that this version can't read: too large, not JSON, another format, or a policy that is not valid."""


@dataclass(frozen=True, slots=True)
class Document:
    """All policies of one tenant, by service name or `default`, at one revision."""

    tenant: str
    revision: int
    policies: Mapping[str, Policy] = field(default_factory=lambda: MappingProxyType({}))

    def policy_name(self, service: str) -> str:
        """Which policy applies to a service: its own, or the default instead."""
        return service if service in self.policies else DEFAULT

    def to_bytes(self) -> bytes:
        """The document as it is published."""
        policies = {service: policy.to_json() for service, policy in self.policies.items()}
        values = {"format": FORMAT, "tenant": self.tenant, "revision": self.revision, "policies": policies}
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Document:
        """Read a published document entirely, or not at all. Raises UnreadableDocument with the reason."""
        if len(data) > MAX_BYTES:
            raise UnreadableDocument(f"larger than {MAX_BYTES} bytes")
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise UnreadableDocument(f"not JSON: {error}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise UnreadableDocument(f"not a document of format {FORMAT}: upgrade corspolicy in this service")
        tenant, revision, policies = values.get("tenant"), values.get("revision"), values.get("policies")
        if not isinstance(tenant, str) or type(revision) is not int or not isinstance(policies, dict):
            raise UnreadableDocument("tenant, revision or policies is missing or of the wrong type")
        read: dict[str, Policy] = {}
        for service, policy_values in policies.items():
            checked = check(policy_values)
            if checked.policy is None:
                finding = checked.errors[0]
                raise UnreadableDocument(f"policy {service}, {finding.pointer}: {finding.message}")
            read[service] = checked.policy
        return cls(tenant, revision, MappingProxyType(read))
