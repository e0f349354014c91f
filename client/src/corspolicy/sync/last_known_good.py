"""The last-known-good file: what a process had cached, for a start without Redis.

A line with the version and a checksum, a line that says what the file is of, then a line for each tenant: written and
read line by line, so that the thread that does it lets the event loop go on in between, however many there are.
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

_VERSION = b"corspolicy-last-known-good 2 "
_BYTES = "surrogateescape"
# Nobody writes for as long: whoever began a temporary file that old was killed.
ABANDONED_SECONDS = 60.0
CLOCK_SKEW_SECONDS = 1.0


class UnusableFile(ValueError):
    """The file is of another version, damaged, or not a last-known-good file."""


class Head(NamedTuple):
    """What a file is of."""

    namespace: str
    database: str | None
    """The id of the database that the policies are from, where it is known."""
    epoch: str | None
    cursor: str
    revision: int
    digest: str
    complete: bool
    """Whether it has all tenants."""
    state: str | None = None
    """What the publisher has signed of it, where the process has public keys."""

    def covers(self, other: Head) -> bool:
        """Whether both are of one stream, of which this has read more, or as much with the same result."""
        position, others = _position(self.cursor), _position(other.cursor)
        is_ahead = position > others or (position == others and self.digest == other.digest)
        return self[:3] == other[:3] and is_ahead


class LastKnownGood(NamedTuple):
    """What a file has, and how old that is, in seconds; None if the clock was set back since it was written."""

    head: Head
    envelopes: dict[str, Envelope]
    age: float | None


def write(path: Path, head: Head, envelopes: Iterable[tuple[str, Envelope]]) -> None:
    """Replace the file, entirely or not at all. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            checksum = hashlib.sha256()
            file.write(_VERSION + checksum.hexdigest().encode() + b"\n")
            values = ([tenant, envelope.to_bytes().decode("utf-8", _BYTES)] for tenant, envelope in envelopes)
            for value in (head._asdict(), *values):
                line = json.dumps(value).encode() + b"\n"
                checksum.update(line)
                file.write(line)
            file.seek(len(_VERSION))
            file.write(checksum.hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def confirm(path: Path) -> None:
    """Note that what the file has is still current. Raises OSError."""
    os.utime(path)


def read_head(path: Path) -> Head | None:
    """What the file is of; None if there is no such file, or none of this version. Raises OSError."""
    with suppress(FileNotFoundError, UnusableFile), path.open("rb") as file:
        version, line = file.readline(), file.readline()
        if version.startswith(_VERSION):
            return _head(line)
    return None


def read(path: Path) -> LastKnownGood:
    """Read the file, checked by version and checksum. Raises UnusableFile and OSError."""
    with path.open("rb") as file:
        confirmed_at = os.fstat(file.fileno()).st_mtime
        version, *lines = file.readline(), *file
    if not version.startswith(_VERSION):
        raise UnusableFile("it is of another version, or not a last-known-good file")
    checksum = hashlib.sha256()
    for line in lines:
        checksum.update(line)
    if not lines or version != _VERSION + checksum.hexdigest().encode() + b"\n":
        raise UnusableFile("its checksum is wrong")
    envelopes = {}
    for line in lines[1:]:
        tenant, text = json.loads(line)
        envelopes[tenant] = Envelope.from_bytes(text.encode("utf-8", _BYTES))
    age = time.time() - confirmed_at
    return LastKnownGood(_head(lines[0]), envelopes, None if age < -CLOCK_SKEW_SECONDS else max(age, 0.0))


def remove_abandoned(path: Path) -> None:
    """Remove what writers that were killed have left beside the file. Raises OSError."""
    for temporary in path.parent.glob(f"{_prefix(path)}*"):
        with suppress(FileNotFoundError):
            if time.time() - temporary.stat().st_mtime > ABANDONED_SECONDS:
                temporary.unlink()


def _prefix(path: Path) -> str:
    return f".{path.name}."


def _head(line: bytes) -> Head:
    try:
        return Head(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise UnusableFile("it does not say what it is of") from error


def _position(cursor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in cursor.split("-") if part.isdecimal())
