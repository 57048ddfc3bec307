"""Verilog kept from run to run: generating it takes longer than a small simulation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from hw.files import write_files

__all__ = ["kept_verilog"]

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "tb" / "verilog"


def kept_verilog(make: Callable[[], str], name: str, *about: str) -> str:
    """The text that ``make`` gives, made once for all the same sources and the same ``about``.

    ``about`` and the sources of this repository must say all that the text depends on.
    """
    digest = hashlib.sha256("\0".join((_sources(), name, *about)).encode()).hexdigest()[:16]
    path = FOLDER / f"{name}-{digest}.v"
    if not path.is_file():
        write_files({path.name: make()}, FOLDER)
    return path.read_text()


@cache
def _sources() -> str:
    """Fingerprint of whatever can have a part in a Verilog text."""
    found = hashlib.sha256("\0".join(map(version, ("amaranth", "pyosys"))).encode())
    for folder in ("golden", "hw", "tb"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()
