"""The last-known-good file: what a process held, for a start without Redis."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from corspolicy.wire import Envelope

_HEAD = b"corspolicy-last-good 1 "
_BYTES = "surrogateescape"


class UnusableFile(ValueError):
    """The file is of another version, damaged, or no such file at all."""


class LastGood(NamedTuple):
    """Envelopes by tenant, and how old they are, in seconds."""

    envelopes: dict[str, Envelope]
    age: float


def write(path: Path, envelopes: Mapping[str, Envelope]) -> None:
    """Replace the file, whole or not at all. Raises OSError."""
    texts = {tenant: envelope.to_bytes().decode("utf-8", _BYTES) for tenant, envelope in envelopes.items()}
    body = json.dumps(texts, separators=(",", ":")).encode()
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
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
        head, _, body = file.read().partition(b"\n")
    if not head.startswith(_HEAD):
        raise UnusableFile("it is of another version, or no last-known-good file")
    if head != _HEAD + hashlib.sha256(body).hexdigest().encode():
        raise UnusableFile("its checksum is wrong")
    envelopes = {name: Envelope.from_bytes(text.encode("utf-8", _BYTES)) for name, text in json.loads(body).items()}
    return LastGood(envelopes, max(0.0, time.time() - confirmed_at))
