"""The last-known-good file: what a process held, for a start without Redis.

A head with a checksum, then a line for each tenant: written and read line by line, so that the thread that does it
lets the event loop go on in between, however many there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from corspolicy.sync.wire import Envelope

_HEAD = b"corspolicy-last-good 1 "
_BYTES = "surrogateescape"


class UnusableFile(ValueError):
    """The file is of another version, damaged, or no such file at all."""


class LastGood(NamedTuple):
    """Envelopes by tenant, and how old they are, in seconds."""

    envelopes: dict[str, Envelope]
    age: float


def write(path: Path, envelopes: Iterable[tuple[str, Envelope]]) -> None:
    """Replace the file, whole or not at all. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            checksum = hashlib.sha256()
            file.write(_HEAD + checksum.hexdigest().encode() + b"\n")
            for tenant, envelope in envelopes:
                line = json.dumps([tenant, envelope.to_bytes().decode("utf-8", _BYTES)]).encode() + b"\n"
                checksum.update(line)
                file.write(line)
            file.seek(len(_HEAD))
            file.write(checksum.hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def confirm(path: Path) -> None:
    """Note that what the file holds is still current. Raises OSError."""
    os.utime(path)


def read(path: Path) -> LastGood:
    """Read the file, checked by version and checksum. Raises UnusableFile and OSError."""
    with path.open("rb") as file:
        confirmed_at = os.fstat(file.fileno()).st_mtime
        head, *lines = file.readline(), *file
    if not head.startswith(_HEAD):
        raise UnusableFile("it is of another version, or no last-known-good file")
    checksum = hashlib.sha256()
    for line in lines:
        checksum.update(line)
    if head != _HEAD + checksum.hexdigest().encode() + b"\n":
        raise UnusableFile("its checksum is wrong")
    envelopes = {}
    for line in lines:
        tenant, text = json.loads(line)
        envelopes[tenant] = Envelope.from_bytes(text.encode("utf-8", _BYTES))
    return LastGood(envelopes, max(0.0, time.time() - confirmed_at))
