"""A line chart as SVG text, without a plotting library: the same data give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple
from xml.sax.saxutils import escape

__all__ = ["Series", "line_chart"]

#: Distinct to the colour-blind, and on white as on black.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#8c6d31")
_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 130, 34, 48


class Series(NamedTuple):
    """A line of the chart."""

    name: str
    points: Sequence[tuple[float, float]]  #: Positive numbers.


class _Axis:
    """A logarithmic axis between two ends in the picture."""

    def __init__(self, values: Sequence[float], ends: tuple[float, float]):
        self._ends = ends
        self._low, self._high = log10(min(values)) - 0.03, log10(max(values)) + 0.03

    def place(self, value: float) -> float:
        first, last = self._ends
        return first + (last - first) * (log10(value) - self._low) / (self._high - self._low)

    def ticks(self) -> list[float]:
        """Round numbers inside: 1, 2, 5 of each decade, or finer where those are few."""
        for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
            found = [
                digit * 10.0**decade
                for decade in range(floor(self._low), ceil(self._high) + 1)
                for digit in digits
                if self._low <= log10(digit * 10.0**decade) <= self._high
            ]
            if len(found) >= 3:
                break
        return found


def line_chart(series: Sequence[Series], *, title: str, x_label: str, y_label: str) -> str:
    """SVG of the series on logarithmic axes, each with its name at the right. There is at least one point."""
    x = _Axis([point[0] for each in series for point in each.points], (_LEFT, _WIDTH - _RIGHT))
    y = _Axis([point[1] for each in series for point in each.points], (_HEIGHT - _BOTTOM, _TOP))
    body = [_text(_LEFT, 18, title, "start", 13)]
    for tick in x.ticks():
        place = x.place(tick)
        body.append(_line((place, _TOP), (place, _HEIGHT - _BOTTOM)))
        body.append(_text(place, _HEIGHT - _BOTTOM + 16, f"{tick:g}", "middle"))
    for tick in y.ticks():
        place = y.place(tick)
        body.append(_line((_LEFT, place), (_WIDTH - _RIGHT, place)))
        body.append(_text(_LEFT - 6, place + 4, f"{tick:g}", "end"))
    body.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, x_label, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    body.append(f'<g transform="rotate(-90 16 {middle:.1f})">{_text(16, middle, y_label, "middle")}</g>')
    for index, each in enumerate(series):
        color = _COLORS[index % len(_COLORS)]
        places = [(x.place(a), y.place(b)) for a, b in each.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        body.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>')
        body += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6" fill="{color}"/>' for a, b in places]
        body.append(_text(_WIDTH - _RIGHT + 12, _TOP + 16 * index + 8, each.name, "start", 11, color))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            *body,
            "</svg>\n",
        ]
    )


def _line(first: tuple[float, float], last: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = first, last
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 11, color: str = "#333333") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}">'
        f"{escape(text)}</text>"
    )
