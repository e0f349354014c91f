"""The requests of a probe over the network: HTTP/1.1, every one in bounded time, no byte of a body read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from importlib.metadata import version

import httpx

from policy_service.cli.probe import judge
from policy_service.cli.probe.judge import Exchange, Fetch, Page, Reason, Request, Response, Verdict
from policy_service.cli.probe.urls import without_query

TIMEOUT_SECONDS = 10.0
# For all requests of a probe together: one that is redirected at every hop sends more than forty.
TOTAL_SECONDS = 60.0
# An origin that nobody lists: the name can't be registered (RFC 2606).
OTHER_ORIGIN = "https://corspolicy-probe.invalid"


class NoAnswer(Exception):
    """The address gave no response; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a browser concludes, and the same request again from OTHER_ORIGIN, if it was sent."""

    verdict: Verdict
    other: Exchange | None = None


def observe(page: Page, *, preflight_only: bool = False) -> Observation:
    """Send what a browser sends for `page`; then, if that changes nothing, again from OTHER_ORIGIN. Raises NoAnswer."""
    return asyncio.run(_observe(judge.fetch(page, preflight_only=preflight_only), asks_again=True))


def browse(page: Page) -> Verdict:
    """Send what a browser sends for `page`, and no more. Raises NoAnswer."""
    return asyncio.run(_observe(judge.fetch(page), asks_again=False)).verdict


async def _observe(steps: Fetch, *, asks_again: bool) -> Observation:
    try:
        async with asyncio.timeout(TOTAL_SECONDS), _Sender() as sender:
            verdict = await _drive(steps, sender)
            again = _from_other_origin(verdict) if asks_again else None
            if again is None:
                return Observation(verdict)
            return Observation(verdict, Exchange(again, await sender.send(again)))
    except TimeoutError as error:
        raise NoAnswer(f"The requests took more than {TOTAL_SECONDS:.0f} seconds in all.") from error


async def _drive(steps: Fetch, sender: _Sender) -> Verdict:
    try:
        request = next(steps)
        while True:
            request = steps.send(await sender.send(request))
    except StopIteration as end:
        verdict: Verdict = end.value
        return verdict


def _from_other_origin(verdict: Verdict) -> Request | None:
    """The first request from another origin: the actual one if it only reads, else the preflight."""
    safe = [
        exchange.request
        for exchange in verdict.exchanges[:2]
        if exchange.request.is_preflight or exchange.request.method in ("GET", "HEAD")
    ]
    if not safe or verdict.reason is Reason.SAME_ORIGIN:
        return None
    request = safe[0] if safe[-1].url != safe[0].url else safe[-1]
    lines = tuple((name, OTHER_ORIGIN if name == "Origin" else value) for name, value in request.headers)
    return replace(request, origin=OTHER_ORIGIN, headers=lines)


class _Sender:
    """Sends requests exactly as given, each on a connection of its own: no cookies kept, no redirect followed."""

    async def __aenter__(self) -> _Sender:
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS, http2=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._agent = f"Mozilla/5.0 (compatible; corspolicy-probe/{version('corspolicy-service')})"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(self, request: Request) -> Response:
        """The head of the response. Raises NoAnswer."""
        lines = [*request.headers]
        if not any(name.lower() == "user-agent" for name, _ in lines):
            lines.append(("User-Agent", self._agent))
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            lines.append(("Content-Length", "0"))
        # Made here rather than by the client, which would add headers of its own and the cookies of earlier responses.
        sent = httpx.Request(
            request.method,
            request.url,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines],
        )
        where = f"{request.method} {without_query(request.url)}"
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._client.send(sent, stream=True)
                # What is not read of it ends with its connection.
                await answer.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NoAnswer(f"{where}: no response within {TIMEOUT_SECONDS:.0f} seconds.") from error
        except httpx.TransportError as error:
            raise NoAnswer(f"{where}: {(str(error) or type(error).__name__).rstrip('.')}.") from error
        raw = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers.raw)
        return Response(answer.status_code, tuple(raw))
