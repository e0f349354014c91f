"""What every benchmark gives: a figure of ours beside that of a peer, from the same run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Target(NamedTuple):
    """A limit to keep: of our figure, or of its ratio to the peer's."""

    limit: float
    is_least: bool = False
    """Whether it is the least that is wanted, not the most."""
    is_ratio: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a figure, or a ratio, keeps it."""
        return value >= self.limit if self.is_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}{'×' if self.is_ratio else ''}"


def at_most(limit: float) -> Target:
    """Our figure is at most this."""
    return Target(limit)


def at_least(limit: float) -> Target:
    """Our figure is at least this."""
    return Target(limit, is_least=True)


def times_at_most(limit: float) -> Target:
    """Our figure is at most this many times the peer's."""
    return Target(limit, is_ratio=True)


def times_at_least(limit: float) -> Target:
    """Our figure is at least this many times the peer's."""
    return Target(limit, is_least=True, is_ratio=True)


@dataclass(frozen=True)
class Result:
    """One line of the table. The figures of several rounds are compared by their medians."""

    name: str
    unit: str
    ours: Sequence[float]
    """The figure of each round."""
    peer: str = ""
    theirs: Sequence[float] = ()
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """Our figure divided by the peer's; None without a peer."""
        theirs = statistics.median(self.theirs) if self.theirs else 0.0
        return statistics.median(self.ours) / theirs if theirs else None

    @property
    def spread(self) -> float | None:
        """How far the middle half of our rounds lies apart, as a share of their median; None for too few rounds."""
        return spread(self.ours)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        value = self.ratio if self.target.is_ratio else statistics.median(self.ours)
        return value is not None and self.target.is_met(value)

    def to_json(self) -> dict[str, Any]:
        """All that is known, with the figure of every round."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": statistics.median(self.ours),
            "peer": self.peer or None,
            "theirs": statistics.median(self.theirs) if self.theirs else None,
            "ratio": self.ratio,
            "spread": self.spread,
            "target": None if self.target is None else str(self.target),
            "met": self.is_met,
            "our_rounds": list(self.ours),
            "their_rounds": list(self.theirs),
        }


def spread(figures: Sequence[float]) -> float | None:
    """The distance of the quartiles as a share of the median; None for fewer than three figures."""
    if len(figures) < 3 or not statistics.median(figures):
        return None
    low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
    return (high - low) / middle


def table(results: Iterable[Result]) -> str:
    """The results as lines of text."""
    head = ("", "unit", "ours", "peer", "its figure", "ratio", "spread", "target", "met")
    rows = [head, *(_row(result) for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = "<<><>>>><"
    cells = ([f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in cells)


def _row(result: Result) -> tuple[str, ...]:
    ratio, part = result.ratio, result.spread
    return (
        result.name,
        result.unit,
        _number(statistics.median(result.ours)),
        result.peer,
        _number(statistics.median(result.theirs)) if result.theirs else "",
        "" if ratio is None else f"{ratio:.2f}",
        "" if part is None else f"{part:.0%}",
        str(result.target or ""),
        {None: "", True: "yes", False: "no"}[result.is_met],
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
