"""What every figure looks like, and a figure as text: the same figure gives the same bytes."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["STYLE", "svg_text"]

#: Settings of matplotlib.
STYLE = {
    "svg.hashsalt": "fmaq",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def svg_text(figure: Figure) -> str:
    """The figure as SVG, to be drawn and written under :data:`STYLE`."""
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
