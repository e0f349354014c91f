"""What a probe prints: words for people, JSON for scripts, no secret in either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from policy_service.cli.probe.findings import Finding
from policy_service.cli.probe.judge import Exchange, Verdict
from policy_service.cli.probe.safelists import Line
from policy_service.cli.probe.urls import without_query
from policy_service.cli.shared.output import plain

MAX_VALUE_CHARACTERS = 300
MAX_MESSAGE_CHARACTERS = 1_000
MASK = "***"
# Whatever else a page sends may be a secret.
_SHOWN_OF_REQUESTS = frozenset(
    (
        "accept", "accept-language", "access-control-request-headers", "access-control-request-method",
        "content-language", "content-type", "origin", "range",
    )
)  # fmt: skip
_SHOWN_OF_RESPONSES = frozenset(
    (
        "age", "cache-control", "cf-cache-status", "content-type", "location", "server", "vary", "via",
        "www-authenticate", "x-cache",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """A probe's result. `expected` is what the policy means, and in its words, where it was asked."""

    verdict: Verdict
    other: Exchange | None
    findings: Sequence[Finding]
    expected: tuple[Verdict, str] | None

    @property
    def has_fault(self) -> bool:
        """Whether something is wrong, be the page allowed or denied."""
        return any(finding.is_fault for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        policy = None
        if self.expected is not None:
            verdict, message = self.expected
            policy = {"allowed": verdict.allowed, "reason": verdict.reason, "message": message}
        return {
            "allowed": self.verdict.allowed,
            "reason": self.verdict.reason,
            "message": _sentence(self.verdict.message),
            "readable_headers": list(self.verdict.readable),
            "findings": [
                {"code": finding.code, "fault": finding.is_fault, "message": _sentence(finding.message)}
                for finding in self.findings
            ],
            "policy": policy,
            "exchanges": [_exchange_to_json(exchange) for exchange in self.verdict.exchanges],
            "from_other_origin": None if self.other is None else _exchange_to_json(self.other),
        }

    def to_text(self) -> Iterator[str]:
        """Lines for people, the verdict first."""
        yield f"{'allowed' if self.verdict.allowed else 'denied'}: {_sentence(self.verdict.message)}"
        if self.verdict.readable:
            yield f"The page may read these headers: {_sentence(', '.join(self.verdict.readable))}."
        for finding in self.findings:
            yield f"{'fault' if finding.is_fault else 'note'} {finding.code}: {_sentence(finding.message)}"
        if self.expected is not None:
            verdict, message = self.expected
            yield f"policy: {'allowed' if verdict.allowed else 'denied'}. {_sentence(message)}"
            if not verdict.allowed:
                yield f"  {_sentence(verdict.message)}"
        for exchange in self.verdict.exchanges:
            yield ""
            yield from _exchange_to_text(exchange)
        if self.other is not None:
            yield ""
            yield "Again, from another origin:"
            yield from _exchange_to_text(self.other)


def _exchange_to_text(exchange: Exchange) -> Iterator[str]:
    request, response = exchange.request, exchange.response
    yield _short(f"{request.method} {without_query(request.url)}")
    yield from (f"  > {name}: {value}" for name, value in _shown_request(request.headers))
    yield f"  < {response.status}"
    yield from (f"  < {name}: {value}" for name, value in _shown_response(response.headers))


def _exchange_to_json(exchange: Exchange) -> dict[str, Any]:
    request, response = exchange.request, exchange.response
    return {
        "method": request.method,
        "url": _short(without_query(request.url)),
        "preflight": request.is_preflight,
        "request_headers": _shown_request(request.headers),
        "status": response.status,
        "response_headers": _shown_response(response.headers),
    }


def _shown_request(lines: Iterable[Line]) -> list[Line]:
    return [(name.lower(), _short(value) if name.lower() in _SHOWN_OF_REQUESTS else MASK) for name, value in lines]


def _shown_response(lines: Iterable[Line]) -> list[Line]:
    shown = []
    for name, value in lines:
        lower = name.lower()
        if lower == "location":
            shown.append((lower, _short(without_query(value))))
        elif lower in _SHOWN_OF_RESPONSES or lower.startswith("access-control-"):
            shown.append((lower, _short(value)))
    return shown


def _short(value: str, limit: int = MAX_VALUE_CHARACTERS) -> str:
    return plain(value if len(value) <= limit else value[: limit - 1] + "…")


def _sentence(message: str) -> str:
    # A message names values of headers, which may be of any length.
    return _short(message, MAX_MESSAGE_CHARACTERS)
