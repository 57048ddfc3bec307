"""The explorer as one self-contained HTML page: data, style and script in it, and nothing asked for."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from sim.explorer.axes import axes_of
from sim.explorer.export import default_view, networks_of

__all__ = ["TITLE", "explorer_page"]

HERE = Path(__file__).resolve().parent

TITLE = "Narrow accumulators: the design space"

#: The script's files in the order in which they stand in the page; each uses what is before it.
SCRIPTS = ("base", "state", "scale", "scatter", "moving", "details", "charts", "tables", "main")


def explorer_page(export: dict[str, Any]) -> str:
    """The page of a tidied export; the same export gives the same bytes."""
    meta, points = export["meta"], export["points"]
    title = meta.get("title") if isinstance(meta.get("title"), str) else TITLE
    data = {
        "meta": meta,
        "points": points,
        "axes": axes_of(meta),
        "networks": networks_of(points),
        "view": default_view(points),
    }
    script = "".join((HERE / "script" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    page = (HERE / "page.html").read_text(encoding="utf-8")
    page = page.replace("{{title}}", escape(title))
    for mark, text in (
        ("{{style}}", (HERE / "explorer.css").read_text(encoding="utf-8")),
        ("{{script}}", f'(() => {{\n"use strict";\n{script}}})();'),
        ("{{data}}", _inert(data)),  # last: what the data say is not looked through for marks
    ):
        page = page.replace(mark, text, 1)
    return page


def _inert(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element which it stands in, whatever its texts are."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
