"""A reader of GET /v1/changes as server-sent events, in a thread of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any, NamedTuple, Self

import httpx

from tests.support import wait_until


class Event(NamedTuple):
    """A change as it came in a stream."""

    id: str
    change: dict[str, Any]


class Following:
    """Follows the changes until it is left, or the service ends the stream."""

    def __init__(self, http: httpx.Client, last_event_id: str | None = None, **parameters: str) -> None:
        self.events: list[Event] = []
        self.last_id = ""
        """Of an event, or of a mark of how far the stream has come."""
        self.error: Exception | None = None
        headers = {"accept": "text/event-stream"}
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        self._http = httpx.Client(base_url=http.base_url, headers={**http.headers, **headers}, timeout=30)
        self._parameters = parameters
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._socket: socket.socket | None = None
        self._is_left = False

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.last_id or self.error, "the stream is open")
        assert self.error is None, self.error
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left = True
        if self._socket is not None and not self.has_ended:
            # What the reader waits in ends with it; closing the client from here would not.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def has_ended(self) -> bool:
        """Whether the service has ended the stream."""
        return not self._thread.is_alive()

    def of(self, tenant: str) -> list[Event]:
        """The changes of a tenant that have come."""
        return [event for event in self.events if event.change["tenant"] == tenant]

    def wait_for(self, tenant: str, count: int) -> list[Event]:
        """The changes of a tenant, when there are so many."""
        return (
            wait_until(lambda: len(found := self.of(tenant)) >= count and found, f"{count} changes of {tenant}") or []
        )

    def _read(self) -> None:
        try:
            with self._http, self._http.stream("GET", "/v1/changes", params=self._parameters) as answer:
                assert answer.status_code == 200, answer.read()
                assert answer.headers["content-type"].startswith("text/event-stream")
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                fields: dict[str, str] = {}
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    if name:
                        fields[name] = value
                    elif line == "":
                        self._take(fields)
                        fields = {}
        except Exception as error:
            # Whatever it is, but for the end that was made here: a test looks at it.
            self.error = None if self._is_left else error

    def _take(self, fields: dict[str, str]) -> None:
        if "data" in fields:
            assert fields["event"] == "change"
            self.events.append(Event(fields["id"], json.loads(fields["data"])))
        self.last_id = fields.get("id", self.last_id)
