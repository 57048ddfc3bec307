"""Verilated designs with a loop of their own in C++, as shared libraries kept by content."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from hw.verilator_env import tool_versions, verilator_environment
from tb.verify.rows import ROOT

__all__ = ["BuildError", "compile_library", "load"]

BUILDS = ROOT / "build" / "verify"

_VERILATE = (
    *(
        "verilator",
        "--cc",
        "--exe",
        "--Mdir",
        "obj",
        "--prefix",
        "Vtop",
        "--top-module",
        "top",
        "-o",
        "loop.so",
    ),
    *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-lint", "-Wno-fatal"),
    # Several libraries of Verilator's classes live in one process, and must not find each other's.
    *("-CFLAGS", "-fPIC -fvisibility=hidden -fvisibility-inlines-hidden", "-LDFLAGS", "-shared"),
    *("design.v", "loop.cpp"),
)
_MAKE = (
    "make",
    "-s",
    "-C",
    "obj",
    "-f",
    "Vtop.mk",
    "OPT_FAST=-O2",
    "OPT_SLOW=-O0",
    "OPT_GLOBAL=-O2",
    "loop.so",
)

#: Verilator's own part of every library: compiled once, for it takes longer than a MAC.
_RUNTIME = ("verilated.o", "verilated_threads.o")


class BuildError(RuntimeError):
    """Verilator or the compiler refused. The message has the end of what they said."""


def load(verilog: str, loop: str) -> ctypes.CDLL:
    """The library of ``verilog``, with top module ``top``, and of the C++ ``loop``, which includes Vtop.h."""
    tools = json.dumps([_VERILATE, _MAKE, tool_versions()], sort_keys=True)
    runtime = BUILDS / f"runtime-{_digest(tools)}"
    folder = BUILDS / _digest("\0".join([tools, verilog, loop]))
    BUILDS.mkdir(parents=True, exist_ok=True)
    library = folder / "loop.so"
    if not library.is_file():
        with (BUILDS / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be building the same
            if not library.is_file():
                _compile({"design.v": verilog, "loop.cpp": loop}, runtime, folder)
    return ctypes.CDLL(str(library))


def compile_library(text: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """The library of one C++ text, with these options beside the usual ones."""
    command = (
        "c++",
        "-O1",
        "-std=c++17",
        "-shared",
        "-fPIC",
        "-Wno-psabi",
        *options,
        "-o",
        "loop.so",
        "loop.cpp",
    )
    folder = BUILDS / _digest("\0".join([json.dumps([command, tool_versions()], sort_keys=True), text]))
    BUILDS.mkdir(parents=True, exist_ok=True)
    with (BUILDS / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=BUILDS, prefix="build-") as scratch:
                Path(scratch, "loop.cpp").write_text(text)
                _run(command, scratch)
                _keep([Path(scratch, "loop.so")], Path(scratch, "finished"), folder)
    return ctypes.CDLL(str(folder / "loop.so"))


def _compile(files: dict[str, str], runtime: Path, folder: Path) -> None:
    """Compile, and only then let ``folder`` appear."""
    with tempfile.TemporaryDirectory(dir=BUILDS, prefix="build-") as scratch:
        for file, text in files.items():
            Path(scratch, file).write_text(text)
        _run(_VERILATE, scratch)
        if runtime.is_dir():
            for part in _RUNTIME:
                shutil.copyfile(runtime / part, Path(scratch, "obj", part))  # newer than the makefile
        _run(_MAKE, scratch)
        if not runtime.is_dir():
            _keep([Path(scratch, "obj", part) for part in _RUNTIME], Path(scratch, "runtime"), runtime)
        _keep([Path(scratch, "obj", "loop.so")], Path(scratch, "finished"), folder)


def _keep(files: list[Path], scratch: Path, folder: Path) -> None:
    scratch.mkdir()
    for file in files:
        shutil.move(file, scratch)
    try:
        scratch.rename(folder)
    except OSError:  # another process was first, with the same content
        if not folder.is_dir():
            raise


def _run(command: tuple[str, ...], folder: str) -> None:
    ended = subprocess.run(
        command, cwd=folder, env=verilator_environment(), capture_output=True, text=True, check=False
    )
    if ended.returncode:
        said = "\n".join((ended.stdout + ended.stderr).splitlines()[-30:])
        raise BuildError(f"{command[0]} ended with status {ended.returncode}: {said}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
