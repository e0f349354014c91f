"""As little of an HTTP client as measures a server and not itself: one kept connection, one request at a time."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit


class Connection:
    """A kept connection to the API."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: str) -> None:
        self._reader = reader
        self._writer = writer
        self._lines = lines

    @classmethod
    async def open(cls, url: str, key: str) -> Connection:
        """Connect to the server at `url`, as the owner of `key`."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(reader, writer, f"host: {parts.netloc}\r\nauthorization: Bearer {key}\r\n")

    async def send(self, method: str, path: str, values: dict[str, Any] | None = None) -> Any:
        """The JSON that the server answers, or None. Raises AssertionError for any status but 2xx."""
        body = b"" if values is None else json.dumps(values).encode()
        lines = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{self._lines}{lines}\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        answer = await self._reader.readexactly(int(rest.split(b"\r\n", 1)[0])) if found else b""
        assert head.split(b" ", 2)[1].startswith(b"2"), head + answer
        return json.loads(answer) if answer else None

    def close(self) -> None:
        """End the connection."""
        self._writer.close()
