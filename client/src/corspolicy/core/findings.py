"""What a check finds: errors and warnings, not too many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corspolicy.core.policy import Policy

MAX_REPORTED = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why values are rejected or, as a warning, may not do what their author expects.

    `pointer` is a JSON pointer (RFC 6901) to the value.
    """

    code: str
    pointer: str
    message: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The policy, or None if there are errors, and the warnings either way."""

    policy: Policy | None
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


class TooManyErrors(Exception):
    """There are more errors than are reported."""


class Findings:
    """What a check has found so far."""

    def __init__(self) -> None:
        self.errors: list[Finding] = []
        self.warnings: list[Finding] = []

    def error(self, code: str, pointer: str, message: str, suggestion: str | None = None) -> None:
        """Add an error. Raises TooManyErrors where there are enough."""
        if len(self.errors) >= MAX_REPORTED:
            raise TooManyErrors
        self.errors.append(Finding(code, pointer, message, suggestion))

    def each(self, code: str, pointer: str, message: str, suggestions: Sequence[str]) -> None:
        """Add the error once for each of the suggestions, and at least once."""
        for suggestion in suggestions or (None,):
            self.error(code, pointer, message, suggestion)

    def warn(self, code: str, pointer: str, message: str, suggestion: str | None = None) -> None:
        """Add a warning, unless there are enough."""
        if len(self.warnings) < MAX_REPORTED:
            self.warnings.append(Finding(code, pointer, message, suggestion))


def json_pointer(*parts: object) -> str:
    """The JSON pointer (RFC 6901) that leads through these names and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
