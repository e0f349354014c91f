"""What a process has, reached by one dependency."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Depends, Request

Part = TypeVar("Part")


class Container:
    """One object of each type: the engine, Redis, the publisher, the settings, and what resources keep in memory.

    `app.py` fills it. It names no type itself, so that a folder can ask for what is defined in that folder.
    """

    def __init__(self) -> None:
        self._parts: dict[type, Any] = {}

    def add(self, kind: type[Part], part: Part) -> None:
        """Hold `part` as the object of that type."""
        self._parts[kind] = part

    def get(self, kind: type[Part]) -> Part:
        """The object of that type. Raises KeyError for one that was not added."""
        part: Part = self._parts[kind]
        return part


def part(kind: type[Part]) -> Any:
    """The dependency that gives the process's object of a type."""

    async def get(request: Request) -> Part:
        container: Container = request.app.state.container
        return container.get(kind)

    return Depends(get)
