"""A strict YAML reader that knows the line of every value and avoids the traps of the format.

Whatever YAML readers disagree on is rejected: `no` and `on`, duplicate keys, anchors, tags. An unquoted value is a
string, except for true, false, null and decimal integers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from corspolicy.core.validation import json_pointer

MAX_DEPTH = 20

# The C parser, where PyYAML was built with it, is ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)
_AMBIGUOUS = frozenset(("y", "n", "yes", "no", "on", "off"))
_YES = frozenset(("y", "yes", "on"))


class Defect(NamedTuple):
    """Something wrong in a file."""

    line: int
    message: str
    suggestion: str | None = None


class Read(NamedTuple):
    """The values of a file; the line of each, by JSON pointer; the defects of its syntax."""

    values: Any
    lines: dict[str, int]
    defects: list[Defect]

    def line(self, pointer: str) -> int:
        """The line of a value, or of what lacks it."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        return self.lines.get(pointer, 1)


class _Unreadable(Exception):
    def __init__(self, line: int, message: str) -> None:
        self.defect = Defect(line, message)


def is_ambiguous(text: str) -> bool:
    """Whether some YAML readers read that string, unquoted, as true or false."""
    return text.lower() in _AMBIGUOUS


def read(data: bytes) -> Read:
    """Read the content of a file, which must be one YAML document."""
    reader = _Reader(data)
    try:
        values = reader.read()
    except _Unreadable as error:
        return Read(None, {}, [*reader.defects, error.defect])
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Read(None, {}, [Defect(line, "Not valid UTF-8.")])
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        message = " ".join(filter(None, (error.context, error.problem)))
        return Read(None, {}, [*reader.defects, Defect(line, f"Not valid YAML: {message}.")])
    except yaml.YAMLError as error:
        return Read(None, {}, [*reader.defects, Defect(1, f"Not valid YAML: {' '.join(str(error).split())}.")])
    return Read(values, reader.lines, reader.defects)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._events: Iterator[Any] = iter(())
        self.lines: dict[str, int] = {}
        self.defects: list[Defect] = []

    def read(self) -> Any:
        # Event by event: PyYAML's own composer recurses as deep as the file is nested.
        self._events = yaml.parse(self._data.decode("utf-8-sig"), Loader=_LOADER)
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        values = self._value(next(self._events), "", 0)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Unreadable(_line(after), "A second document begins here: a file must have only one.")
        return values

    def _value(self, event: Any, pointer: str, depth: int) -> Any:
        self.lines.setdefault(pointer, _line(event))
        if depth > MAX_DEPTH:
            raise _Unreadable(_line(event), f"Nested deeper than {MAX_DEPTH} levels.")
        if isinstance(event, yaml.AliasEvent):
            self._defect(event, "Aliases are not supported: repeat the value.")
            return None
        if event.anchor is not None:
            self._defect(event, "Anchors are not supported: repeat the value wherever it is needed.")
        if event.tag is not None:
            self._defect(event, f"Tags such as {event.tag} are not supported: remove it.")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(item, f"{pointer}/{index}", depth + 1) for index, item in enumerate(self._until_end())]
        return self._mapping(pointer, depth)

    def _mapping(self, pointer: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for event in self._until_end():
            # Keys are strings, whatever they look like.
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise _Unreadable(_line(event), "A key must be a string.")
            self._scalar(event)
            place = pointer + json_pointer(key)
            if key in values:
                self._defect(event, f"Duplicate key {key}, first in line {self.lines[place]}: remove one of the two.")
                place = f"{place}//{_line(event)}"
            self.lines[place] = _line(event)
            value = self._value(next(self._events), place, depth + 1)
            values.setdefault(key, value)
        return values

    def _until_end(self) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, yaml.CollectionEndEvent):
                return
            yield event

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.style or not event.implicit[0]:
            return text
        if is_ambiguous(text):
            flag = text.lower() in _YES
            meant = "true" if flag else "false"
            self._defect(
                event, f"Some YAML readers read {text} as {meant}, some as a string: write {meant}, or quote it."
            )
            return flag
        if text.lower() in _CONSTANTS:
            return _CONSTANTS[text.lower()]
        return int(text) if _INTEGER.fullmatch(text) else text

    def _defect(self, event: Any, message: str) -> None:
        self.defects.append(Defect(_line(event), message))


def _line(event: Any) -> int:
    line: int = event.start_mark.line + 1
    return line
