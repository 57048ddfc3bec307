"""A timing diagram as SVG, from the values of signals cycle by cycle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

__all__ = ["Row", "Track", "drawing"]

_CYCLE, _LABEL, _ROW, _TITLE, _MARGIN = 40, 196, 26, 30, 12
_HIGH, _LOW = 5, 19  # of a level, in its row
_INK, _SOFT, _WAITS, _TAKEN = "#1b1b1b", "#d6d6d6", "#ffe3b3", "#bfe3c6"


class Row(NamedTuple):
    """A signal."""

    label: str
    values: tuple  #: In each cycle 0 or 1, or the text of a bus, None where it has no meaning.
    taken: tuple[bool, ...] | None  #: Of a bus: whether the beat was taken. None: a level.


class Track(NamedTuple):
    """Signals that belong together."""

    title: str
    rows: tuple[Row, ...]


def drawing(title: str, cycles: int, tracks: Sequence[Track]) -> str:
    """The SVG. Cycles are counted from 0; a beat that waits and one that is taken have their colours."""
    height = _TITLE + _ROW + sum(_ROW * len(track.rows) + _ROW for track in tracks) + 2 * _MARGIN
    width = _LABEL + _CYCLE * cycles + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="{_INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(_MARGIN, _MARGIN + 12, title, weight="bold"),
        *_legend(width),
    ]
    top = _MARGIN + _TITLE
    for cycle in range(cycles + 1):
        x = _MARGIN + _LABEL + _CYCLE * cycle
        parts.append(f'<path d="M{x} {top + _ROW}V{height - _MARGIN}" stroke="{_SOFT}"/>')
        if cycle < cycles:
            parts.append(_text(x + _CYCLE / 2, top + 10, str(cycle), anchor="middle"))
    parts += _clock(cycles, top)
    y = top + _ROW
    for track in tracks:
        parts.append(_text(_MARGIN, y + 18, track.title, weight="bold"))
        y += _ROW
        for row in track.rows:
            parts.append(_text(_MARGIN + 8, y + 16, row.label))
            parts += _level(row, y) if row.taken is None else _bus(row, y)
            y += _ROW
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _legend(width: int) -> Iterator[str]:
    for x, colour, text in ((width - 260, _WAITS, "offered, waits"), (width - 130, _TAKEN, "taken")):
        yield f'<rect x="{x}" y="{_MARGIN + 2}" width="14" height="12" fill="{colour}" stroke="{_INK}"/>'
        yield _text(x + 20, _MARGIN + 12, text)


def _clock(cycles: int, top: int) -> Iterator[str]:
    """A cycle ends with its rising edge."""
    x = _MARGIN + _LABEL
    path = f"M{x} {top + 15}"
    for _ in range(cycles):
        path += f"h{_CYCLE / 2:g}v10h{_CYCLE / 2:g}v-10"
    yield _text(_MARGIN + 8, top + 25, "aclk")
    yield f'<path d="{path}" fill="none" stroke="{_INK}"/>'


def _level(row: Row, y: int) -> Iterator[str]:
    x = _MARGIN + _LABEL
    heights = [y + (_HIGH if value else _LOW) for value in row.values]
    path = f"M{x} {heights[0]}" + "".join(f"V{height}h{_CYCLE}" for height in heights)
    yield f'<path d="{path}" fill="none" stroke="{_INK}" stroke-width="1.5"/>'


def _bus(row: Row, y: int) -> Iterator[str]:
    for cycle, (text, taken) in enumerate(zip(row.values, row.taken, strict=True)):
        x = _MARGIN + _LABEL + _CYCLE * cycle
        if text is None:
            yield f'<path d="M{x} {y + 12}h{_CYCLE}" stroke="{_SOFT}" stroke-width="3"/>'
            continue
        colour = _TAKEN if taken else _WAITS
        yield (
            f'<rect x="{x + 1}" y="{y + 4}" width="{_CYCLE - 2}" height="17" rx="3" fill="{colour}" '
            f'stroke="{_INK}"/>'
        )
        yield _text(x + _CYCLE / 2, y + 16, text, anchor="middle")
