"""Reads the literals in a piece of JavaScript: text, objects, arrays. What is computed is left out, not evaluated."""

from __future__ import annotations

import re
from typing import Any

from policy_service.decisions.pastes.model import Unreadable
from policy_service.decisions.pastes.shell_words import unescaped

MAX_DEPTH = 20

UNKNOWN: Any = object()
"""The value of an expression that is not a literal."""

_TOKEN = re.compile(
    r"""\s+|//[^\n]*
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)
      | (?P<mark>[^\w$])
      | (?P<name>[\w$]+)""",
    re.DOTALL | re.VERBOSE,
)
_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "\"'`"


class Literals:
    """Reads one value after another from `position` on. Raises Unreadable where the code is cut off."""

    def __init__(self, code: str, position: int) -> None:
        self._code = code
        self.position = position
        self._kind, self._current = "", ""
        self._advance()

    def value(self, depth: int = 0) -> Any:
        """The next value, up to a comma or a closing bracket: str, dict, list or UNKNOWN."""
        if depth > MAX_DEPTH:
            raise Unreadable("This code is nested too deeply.")
        found = UNKNOWN
        if self._kind == "text":
            found = unescaped(self._current[1:-1])
            self._advance()
        elif self._current == "{":
            found = self._object(depth)
        elif self._current == "[":
            found = self._array(depth)
        return found if self._is_at_end() else self._skip()

    def takes(self, mark: str) -> bool:
        """Whether that mark comes next; it is read."""
        is_next = self._kind == "mark" and self._current == mark
        if is_next:
            self._advance()
        return is_next

    def _object(self, depth: int) -> dict[str, Any]:
        self._advance()
        found: dict[str, Any] = {}
        while not self.takes("}"):
            name = unescaped(self._current[1:-1]) if self._kind == "text" else self._current
            if not self._is_at_end():
                self._advance()
            if self.takes(":"):
                found[name] = self.value(depth + 1)
            else:
                self._skip()
            if not self.takes(",") and self._current != "}":
                raise _cut_off()
        return found

    def _array(self, depth: int) -> list[Any]:
        self._advance()
        found = []
        while not self.takes("]"):
            found.append(self.value(depth + 1))
            if not self.takes(",") and self._current != "]":
                raise _cut_off()
        return found

    def _is_at_end(self) -> bool:
        return self._kind == "mark" and self._current in (",", *_CLOSE)

    def _skip(self) -> Any:
        depth = 0
        while depth or not self._is_at_end():
            if self._kind == "mark":
                depth += (self._current in _OPEN) - (self._current in _CLOSE)
            self._advance()
        return UNKNOWN

    def _advance(self) -> None:
        while (token := _TOKEN.match(self._code, self.position)) is not None:
            self.position = token.end()
            if token.lastgroup is not None:
                self._kind, self._current = token.lastgroup, token[0]
                if self._current in _QUOTES:
                    raise _cut_off()
                return
        raise _cut_off()


def _cut_off() -> Unreadable:
    return Unreadable("The fetch call is not complete: copy all of it, with its closing bracket.")
