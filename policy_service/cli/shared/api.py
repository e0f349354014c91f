"""Calls to the admin API: time-outs, bounded retries, readable errors."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple, Self
from urllib.parse import quote
from uuid import uuid4

import click
import httpx
from httpx_sse import ServerSentEvent, SSEError, connect_sse

from policy_service.cli.shared.output import plain

DEFAULT_URL = "http://127.0.0.1:8700"
_EXAMPLE = "Set it to a URL such as https://corspolicy.example.com."
# The service may delay a response for 60 seconds, until a change is applied everywhere.
TIMEOUT = httpx.Timeout(30.0, connect=5.0, read=90.0)
# The service sends something every ten seconds.
_STREAM_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
MAX_ATTEMPTS = 5
MAX_WAIT_SECONDS = 30.0
PAGE = 500


class ApiError(click.ClickException):
    """A call that failed."""


class Unreachable(ApiError):
    """The service did not respond: the request may have been carried out, or not."""


class Rejected(ApiError):
    """The service rejected the request: with which status, which type of problem, and why."""

    def __init__(self, message: str, status: int, code: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__("\n".join((message, *(error_text(error) for error in errors))))
        self.status = status
        self.code = code
        self.errors = errors


class WriteOptions(NamedTuple):
    """Options of a change: its reason, for the history; confirmation of a large removal; how many seconds to wait."""

    reason: str | None = None
    is_confirmed: bool = False
    wait: int | None = None


_DEFAULTS = WriteOptions()


class Api:
    """The admin API. Any number of threads may share one."""

    def __init__(self, url: str, key: str, timeout: httpx.Timeout = TIMEOUT) -> None:
        self.url = _without_login(url.rstrip("/"))
        """For messages."""
        headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "User-Agent": f"corspolicy/{version('corspolicy-service')}",
        }
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout)

    @classmethod
    def from_environment(cls, timeout: httpx.Timeout = TIMEOUT) -> Self:
        """The API that CORSPOLICY_URL and CORSPOLICY_API_KEY name. Raises ApiError if they are missing or invalid."""
        url = os.environ.get("CORSPOLICY_URL") or DEFAULT_URL
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ApiError(f"Invalid CORSPOLICY_URL {_without_login(url)!r}. {_EXAMPLE}") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ApiError(f"Invalid CORSPOLICY_URL {_without_login(url)!r}. {_EXAMPLE}")
        key = os.environ.get("CORSPOLICY_API_KEY", "").strip()
        if not key:
            raise ApiError("CORSPOLICY_API_KEY is not set. `corspolicy keys create` creates the first API key.")
        if not key.isascii() or not key.isprintable():
            raise ApiError("Invalid CORSPOLICY_API_KEY: it contains characters that no key has. Copy the key again.")
        return cls(url, key, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Send a GET request and return the JSON of its response. Raises ApiError."""
        return self.call("GET", path, query=query)

    def items(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page. Raises ApiError."""
        query.setdefault("limit", PAGE)
        while True:
            page = self.get(path, **query)
            yield from page["items"]
            if page.get("next_cursor") is None:
                return
            query["cursor"] = page["next_cursor"]

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        revision: int | str | None = None,
        options: WriteOptions = _DEFAULTS,
    ) -> Any:
        """Send a request and return the JSON of its response, None where it has no content.

        `revision` is the one that a change is based on; "*" overwrites any. Raises ApiError.
        """
        headers = {}
        if revision is not None:
            headers["If-Match"] = "*" if revision == "*" else f'"{revision}"'
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid4())
        if options.reason is not None:
            headers["Corspolicy-Reason"] = quote(options.reason)
        if options.wait is not None:
            headers["Prefer"] = f"wait={options.wait}"
        if options.is_confirmed:
            query = {**(query or {}), "confirm": True}
        # Any other request, sent twice, might take effect twice.
        attempts = MAX_ATTEMPTS if method in ("GET", "PUT", "POST") or revision is not None else 1
        for attempt in range(attempts):
            response = self._send(method, path, body, query, headers)
            wait = _wait(response, attempt) if attempt + 1 < attempts else None
            if wait is None:
                break
            time.sleep(wait)
        return self._read(response)

    def events(self, path: str, query: Mapping[str, Any], last_id: str) -> Iterator[ServerSentEvent]:
        """Server-sent events, after `last_id` if given, until the connection ends. Raises ApiError."""
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with connect_sse(self._http, "GET", path, params=query, headers=headers, timeout=_STREAM_TIMEOUT) as source:
                if not source.response.is_success:
                    source.response.read()
                    self._read(source.response)
                yield from source.iter_sse()
        except SSEError as error:
            raise ApiError(f"{self.url} did not respond with a stream of events. Check CORSPOLICY_URL.") from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _send(
        self, method: str, path: str, body: Any, query: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body, params=query, headers=headers)
        except httpx.InvalidURL as error:
            raise ApiError(f"Not the name of anything: {path.rpartition('/')[2]!r}.") from error
        except httpx.TimeoutException as error:
            message = f"{self.url} did not respond in time. The request may have been carried out."
            raise Unreachable(message) from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        why = str(error) or type(error).__name__
        return Unreachable(f"Can't reach {self.url}: {why}. Check that the service runs, and CORSPOLICY_URL.")

    def _read(self, response: httpx.Response) -> Any:
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and body is not None:
            return body
        if isinstance(body, dict) and str(body.get("type", "")).startswith("urn:corspolicy:problem:"):
            raise self._rejected(body)
        media_type = response.headers.get("content-type", "no content type").partition(";")[0]
        location = f" to {response.headers['location']}" if "location" in response.headers else ""
        raise ApiError(
            f"{_without_login(str(response.url))} responded {response.status_code} {response.reason_phrase}{location} "
            f"with {media_type}: that is not the admin API. Check CORSPOLICY_URL."
        )

    def _rejected(self, problem: Mapping[str, Any]) -> Rejected:
        status = problem["status"]
        message = plain(f"{problem['title']}: {problem['detail']}")
        if status == httpx.codes.UNAUTHORIZED:
            message = f"{self.url} rejected the key in CORSPOLICY_API_KEY: it is wrong, expired or revoked."
        code = problem["type"].rpartition(":")[2]
        if code == "confirmation-required":
            message = "Rejected: this removes more than half of a policy's origins. To do it anyway, pass --confirm."
        return Rejected(message, status, code, problem.get("errors", ()))


def has_expired(entry: Mapping[str, Any]) -> bool:
    """Whether an entry that the API shows has expired: it allows nothing, and will be removed."""
    try:
        return datetime.fromisoformat(entry["expires_at"] or "") <= datetime.now(UTC)
    except ValueError:
        return False


def error_text(error: Mapping[str, Any], place: str | None = None) -> str:
    """One entry of a problem's errors, in one line or two; `place` replaces its pointer."""
    where = error.get("pointer") if place is None else place
    lines = [f"  {where}: {error['detail']}" if where else f"  {error['detail']}"]
    if error.get("suggestion"):
        lines.append(f"    try: {error['suggestion']}")
    return "\n".join(map(plain, lines))


def _without_login(url: str) -> str:
    """The URL without the user name and password that it may have, for messages."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _wait(response: httpx.Response, attempt: int) -> float | None:
    """How many seconds to wait before the next attempt; None for no other attempt."""
    if response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return None
    retry_after = response.headers.get("retry-after", "")
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.5 * 2**attempt
    # Jittered, so that requests that were rejected together are not retried together.
    return seconds * random.uniform(1.0, 1.25) if seconds <= MAX_WAIT_SECONDS else None
