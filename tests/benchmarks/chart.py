"""The results that have a peer, as a chart: how many times the peer's cost ours is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tests.benchmarks.results import Result

ROW, TOP, NAMES, WIDTH, VALUES = 20, 44, 400, 380, 200
BETTER, WORSE, INK, FAINT = "#2e7d32", "#c62828", "#222222", "#bbbbbb"


def _cost(ratio: float, result: Result) -> float:
    """A ratio as a cost: where more is better, the inverse."""
    return 1 / ratio if result.unit == "/s" else ratio


def _place(cost: float, decades: int) -> float:
    """Where a cost is on the axis, which is logarithmic."""
    share = (math.log10(cost) + decades) / (2 * decades)
    return NAMES + WIDTH * min(1.0, max(0.0, share))


def _line(x: float, top: float, bottom: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{top:.0f}" x2="{x:.1f}" y2="{bottom:.0f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.0f}" text-anchor="{anchor}" fill="{INK}">{escape(text)}</text>'


def chart(results: Sequence[Result]) -> str:
    """An SVG document with a bar for each result; a stroke marks the target where that is a ratio."""
    shown = [(result, _cost(result.ratio, result)) for result in results if result.ratio]
    decades = max((math.ceil(abs(math.log10(cost))) for _, cost in shown), default=1) or 1
    bottom = TOP + ROW * len(shown)
    parts = [_text(NAMES, 16, "our cost, as a multiple of the peer's; green: less. A stroke marks the target.")]
    for power in range(-decades, decades + 1):
        x = _place(10.0**power, decades)
        parts += [_line(x, TOP, bottom, INK if power == 0 else FAINT), _text(x, TOP - 8, f"{10.0**power:g}×", "middle")]
    for index, (result, cost) in enumerate(shown):
        y, start, end = TOP + ROW * index, _place(1.0, decades), _place(cost, decades)
        colour = BETTER if cost <= 1 else WORSE
        left, width = min(start, end), max(abs(end - start), 1.0)
        parts.append(_text(NAMES - 8, y + 14, result.name, "end"))
        parts.append(f'<rect x="{left:.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>')
        if result.target is not None and result.target.is_ratio:
            parts.append(_line(_place(_cost(result.target.limit, result), decades), y + 1, y + ROW - 1, INK))
        parts.append(_text(NAMES + WIDTH + 8, y + 14, f"{cost:.2f}× {result.peer}"))
    size = f"{NAMES + WIDTH + VALUES} {bottom + 8}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"
