"""The admin API, as the command line calls it: time-outs, bounded retries, errors in words for people."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, Self
from urllib.parse import quote
from uuid import uuid4

import click
import httpx
from httpx_sse import ServerSentEvent, SSEError, connect_sse

DEFAULT_URL = "http://127.0.0.1:8700"
# The service may hold an answer back for 60 seconds, until a change is applied everywhere.
TIMEOUT = httpx.Timeout(30.0, connect=5.0, read=90.0)
# The service is heard of every ten seconds.
_STREAM_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
MAX_ATTEMPTS = 5
MAX_WAIT_SECONDS = 30.0
PAGE = 500


class Failure(click.ClickException):
    """What went wrong, in words for people."""


class Unreachable(Failure):
    """The service gave no answer: what was asked for may have been done, or not."""


class Refused(Failure):
    """The service said no, and why."""

    def __init__(self, message: str, status: int, code: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__("\n".join((message, *map(error_text, errors))))
        self.status = status
        self.code = code
        self.errors = errors


class Asked(NamedTuple):
    """What is said with a change: why, that it is meant even if it takes much away, how long to wait for its effect."""

    reason: str | None = None
    is_confirmed: bool = False
    wait: int | None = None


_PLAIN = Asked()


class Api:
    """Requests to the admin API. Any number of threads may share one."""

    def __init__(self, url: str, key: str, timeout: httpx.Timeout = TIMEOUT) -> None:
        self.url = url.rstrip("/")
        headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "User-Agent": f"corspolicy/{version('corspolicy-service')}",
        }
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    @classmethod
    def from_environment(cls, timeout: httpx.Timeout = TIMEOUT) -> Self:
        """The API that CORSPOLICY_URL and CORSPOLICY_API_KEY name. Raises Failure where they are unusable."""
        url = os.environ.get("CORSPOLICY_URL") or DEFAULT_URL
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise Failure(f"CORSPOLICY_URL is {url!r}, which is no URL: {error}.") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise Failure(f"CORSPOLICY_URL is {url!r}, but has to be such as https://corspolicy.example.com.")
        key = os.environ.get("CORSPOLICY_API_KEY", "").strip()
        if not key:
            raise Failure("Set CORSPOLICY_API_KEY to an API key; `corspolicy keys create` makes the first one.")
        if not key.isascii() or not key.isprintable():
            raise Failure("CORSPOLICY_API_KEY is no API key: it has characters that no key has.")
        return cls(url, key, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Read something."""
        return self.call("GET", path, query=query)

    def items(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Everything that a list has, page by page."""
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
        asked: Asked = _PLAIN,
    ) -> Any:
        """Send a request and return the JSON of its answer, None where it has no content.

        `revision` is the one that a change builds on; "*" overwrites whatever is there. Raises Failure.
        """
        headers = {}
        if revision is not None:
            headers["If-Match"] = "*" if revision == "*" else f'"{revision}"'
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid4())
        if asked.reason is not None:
            headers["Corspolicy-Reason"] = quote(asked.reason)
        if asked.wait is not None:
            headers["Prefer"] = f"wait={asked.wait}"
        if asked.is_confirmed:
            query = {**(query or {}), "confirm": True}
        # Whatever else is sent twice might be done twice.
        attempts = MAX_ATTEMPTS if method in ("GET", "PUT", "POST") or revision is not None else 1
        for attempt in range(attempts):
            response = self._send(method, path, body, query, headers)
            wait = _wait(response, attempt) if attempt + 1 < attempts else None
            if wait is None:
                break
            time.sleep(wait)
        return self._read(response)

    def events(self, path: str, query: Mapping[str, Any], last_id: str) -> Iterator[ServerSentEvent]:
        """Server-sent events, those after `last_id` if there is one, until the connection ends."""
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with connect_sse(self._http, "GET", path, params=query, headers=headers, timeout=_STREAM_TIMEOUT) as source:
                if not source.response.is_success:
                    source.response.read()
                    self._read(source.response)
                yield from source.iter_sse()
        except SSEError as error:
            raise Failure(f"{self.url} answers with no stream of events. Check CORSPOLICY_URL.") from error
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} can't be reached: {str(error) or type(error).__name__}.") from error

    def _send(
        self, method: str, path: str, body: Any, query: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body, params=query, headers=headers)
        except httpx.TimeoutException as error:
            raise Unreachable(f"{self.url} did not answer in time. Whatever was asked may have been done.") from error
        except httpx.TransportError as error:
            hint = "Is the service running, and CORSPOLICY_URL right?"
            raise Unreachable(f"{self.url} can't be reached: {str(error) or type(error).__name__}. {hint}") from error

    def _read(self, response: httpx.Response) -> Any:
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.is_success and answer is not None:
            return answer
        if isinstance(answer, dict) and str(answer.get("type", "")).startswith("urn:corspolicy:problem:"):
            raise self._refused(answer)
        kind = response.headers.get("content-type", "no content type").partition(";")[0]
        location = f" to {response.headers['location']}" if "location" in response.headers else ""
        raise Failure(
            f"{response.url} answered {response.status_code} {response.reason_phrase}{location} with {kind}: "
            "that is not the admin API. Check CORSPOLICY_URL."
        )

    def _refused(self, problem: Mapping[str, Any]) -> Refused:
        status = problem["status"]
        message = f"{problem['title']}: {problem['detail']}"
        if status == httpx.codes.UNAUTHORIZED:
            message = f"{self.url} does not know the key in CORSPOLICY_API_KEY: it is wrong, expired or revoked."
        code = problem["type"].rpartition(":")[2]
        if code == "confirmation-required":
            message = "Not done: it takes away more than half of what a policy admits. If you mean it, add --confirm."
        return Refused(message, status, code, problem.get("errors", ()))


def error_text(error: Mapping[str, Any], place: str | None = None) -> str:
    """One entry of a problem's errors, on a line or two."""
    where = error.get("pointer") if place is None else place
    text = f"  {where}: {error['detail']}" if where else f"  {error['detail']}"
    return text + (f"\n    try: {error['suggestion']}" if error.get("suggestion") else "")


def _wait(response: httpx.Response, attempt: int) -> float | None:
    """How long to wait before the next attempt; None where there is no point in one."""
    if response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return None
    said = response.headers.get("retry-after", "")
    seconds = float(said) if said.isascii() and said.isdigit() else 0.5 * 2**attempt
    # Jittered, so that those who were refused together do not come back together.
    return seconds * random.uniform(1.0, 1.25) if seconds <= MAX_WAIT_SECONDS else None
