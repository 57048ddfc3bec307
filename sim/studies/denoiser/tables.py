"""Tables of the study's page."""

from __future__ import annotations

__all__ = ["least_of", "table"]


def table(heads: list[str], rows: list[list[str]], left: int = 1) -> str:
    """Markdown; the first columns to the left, the others are numbers."""
    marks = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows))


def least_of(least: int | None) -> str:
    return "none" if least is None else str(least)
