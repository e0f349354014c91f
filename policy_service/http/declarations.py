"""What a dependency can answer, declared beside it: `openapi.py` puts it into every operation that uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from fastapi.dependencies.models import Dependant

Function = TypeVar("Function", bound=Callable[..., Any])

_TEXT = {"type": "string"}
_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Cache-Control": ("no-store: the key is shown this once", _TEXT),
    "ETag": ("the revision of the tenant's document, for If-Match", {"type": "string", "pattern": '^"[0-9]+"$'}),
    "Idempotency-Replayed": ("the response to the first such request", {"type": "string", "const": "true"}),
    "Location": ("where it is", {"type": "string", "format": "uri-reference"}),
    "Preference-Applied": ("that the service waited, and for how long at most", _TEXT),
    "Retry-After": ("after how many seconds to try again", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("how to authenticate", _TEXT),
}


class Declaration(NamedTuple):
    """The statuses of the problems that a dependency raises, and the headers it adds to successful responses."""

    statuses: frozenset[int]
    headers: tuple[str, ...]


_declared: dict[Callable[..., Any], Declaration] = {}


def answers(*statuses: int, headers: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Declare what the decorated dependency can answer."""

    def declare(dependency: Function) -> Function:
        _declared[dependency] = Declaration(frozenset(statuses), headers)
        return dependency

    return declare


def declarations(dependant: Dependant) -> Iterator[Declaration]:
    """What the dependencies of a route declare, nested ones included."""
    for dependency in dependant.dependencies:
        if dependency.call in _declared:
            yield _declared[dependency.call]
        yield from declarations(dependency)


def header(name: str, *, required: bool = True) -> dict[str, Any]:
    """The declaration of a response header; one that is not required may be missing."""
    description, schema = _HEADERS[name]
    return {name: {"description": description, "required": required, "schema": schema}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route says of the problems that its service raises."""
    return {status: {} for status in statuses}


def printable(max_length: int | None = None) -> dict[str, Any]:
    """The schema of a header of printable ASCII characters."""
    return {"minLength": 1, "pattern": "^[ -~]+$"} | ({} if max_length is None else {"maxLength": max_length})
