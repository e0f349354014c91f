"""What a decision is made from, and what the caller may see of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from corspolicy.core.decision import Chain, Decision, decide
from corspolicy.core.document import Document
from corspolicy.core.request import Line
from policy_service.auth.callers import Scope

MAX_PATTERNS = 10_000


class DecisionInput(NamedTuple):
    """A request, the chain that decides on it, and the time in seconds since the Unix epoch."""

    chain: Chain
    method: str
    lines: tuple[Line, ...]
    now: float

    def decide(self) -> Decision:
        """What the middleware would decide."""
        return decide(self.chain, self.method, self.lines, self.now)

    def value(self, name: bytes) -> bytes:
        """A header's value, with its lines joined (RFC 9110, section 5.2)."""
        return b", ".join(value for line, value in self.lines if line == name)

    def has(self, name: bytes) -> bool:
        """Whether the request has that header."""
        return any(line == name for line, _ in self.lines)

    def replace(self, name: bytes, *values: bytes) -> DecisionInput:
        """The same with other lines of a header, or without it."""
        others = tuple(line for line in self.lines if line[0] != name)
        return self._replace(lines=(*others, *((name, value) for value in values)))


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """The service that the request was sent to, the documents that decide there, and the caller's scope."""

    service: str
    tenant: Document | None
    platform: Document | None
    scope: Scope

    @property
    def documents(self) -> list[Document]:
        """The documents that the caller may see, in the order of the chain."""
        documents = (self.tenant, self.platform)
        return [each for each in documents if each is not None and self.scope.covers(each.tenant)]

    def shows(self, decision: Decision) -> bool:
        """Whether the caller may see the policy that decided."""
        return decision.policy is not None and self.scope.covers(decision.policy.tenant)

    def patterns(self) -> Iterator[str]:
        """The patterns that the caller may see, up to MAX_PATTERNS."""
        policies = (policy for document in self.documents for policy in document.policies.values())
        return islice((entry.pattern for policy in policies for entry in policy.allow_origins), MAX_PATTERNS)


def text_of(value: bytes) -> str:
    """The bytes of a header as text."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def bytes_of(text: str) -> bytes:
    """A header's text as on the wire: a character is a byte where it can be, and UTF-8 otherwise."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
