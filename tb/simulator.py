"""Verilator under cocotb: finds the tools, keeps builds by content, and runs testbenches."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import cocotb_tools.config
import cocotb_tools.runner

from hw.verilator_env import ToolMissingError, tool_versions, verilator_environment

__all__ = [
    "MISMATCH",
    "WAVES",
    "Failure",
    "SimulationError",
    "build",
    "build_program",
    "find_tools",
    "run",
    "run_folder",
]

MISMATCH = "mismatch.json"  #: In the folder of a run: where it first differs from golden, if it says so.
BUILDS = Path(__file__).resolve().parents[1] / "build" / "tb"

#: Options that write a trace, by file format. FST needs the headers of liblz4 (package liblz4-dev).
WAVES = {"vcd": ("--trace-structs",), "fst": ("--trace-fst", "--trace-structs")}

_OPTIONS = ("--x-initial", "unique", "-Wno-lint", "-Wno-fatal", "-O3")  # hw.generate's tests do the linting
_MAKE_OPTIONS = ("OPT_FAST=-O0",)  # testbenches wait for Python, not for the design: compile fast


class SimulationError(AssertionError):
    """A build that failed, a failing testbench, or none that ran."""

    def __init__(self, message: str, failures: Sequence[Failure] = ()):
        super().__init__(message)
        self.failures = tuple(failures)  #: Tests that failed, in the order in which they ran.


class Failure(NamedTuple):
    """A test in the simulator that failed."""

    test: str  #: Its full name.
    start_ns: float  #: When it began, in the simulation.
    end_ns: float


#: The line of cocotb's main program that writes a trace, and what it becomes: only in a window.
_DUMP = (
    "        if (tfp) {\n            tfp->dump(",
    "        if (tfp && in_window()) {\n            tfp->dump(",
)
_WINDOW = """
#include <stdlib.h>
static bool in_window() {
    static const char *const from = getenv("TB_TRACE_FROM"), *const to = getenv("TB_TRACE_TO");
    return (!from || main_time >= strtoull(from, 0, 10)) && (!to || main_time <= strtoull(to, 0, 10));
}

int main("""
_STEPS_IN_NS = 1000  # of simulation: Verilator's timescale is 1 ps


class _Runner(cocotb_tools.runner.Verilator):
    """cocotb's runner, without making every signal public: ports are all that a testbench needs.

    Public signals keep Verilator from optimising: large designs compile and run several times slower.
    Where waves are written, a window of time can be chosen. Verilator's own classes, the same in every
    program, are taken from ``runtime``, once they are there.
    """

    def __init__(self, runtime: Path):
        super().__init__()
        self._runtime = runtime

    def build(self, *, build_dir: Path, **options) -> None:
        super().build(build_dir=build_dir, **options)
        if not self._runtime.is_dir():
            with tempfile.TemporaryDirectory(dir=BUILDS, prefix="runtime-") as scratch:
                kept = Path(scratch, "kept")
                kept.mkdir()
                for compiled in build_dir.glob("verilated*.o"):
                    shutil.copy(compiled, kept)
                with contextlib.suppress(OSError):  # another process was faster
                    kept.rename(self._runtime)

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        if "--public-flat-rw" in verilate:
            at = verilate.index("--public-flat-rw")
            verilate[at : at + 1] = ["--public-depth", "1"]
        if self.waves:
            (at,) = [i for i, each in enumerate(verilate) if each.endswith("verilator.cpp")]
            program = Path(verilate[at]).read_text()
            if program.count(_DUMP[0]) != 1 or program.count("\nint main(") != 1:
                raise SimulationError(
                    "cocotb's main program is not the one known here; use the pinned version"
                )
            verilate[at] = str(Path(self.build_dir, "main.cpp").resolve())
            Path(verilate[at]).write_text(program.replace(*_DUMP).replace("\nint main(", _WINDOW))
        # Copied after the makefile has been written: make takes them for newer.
        compiled = [["cp", *map(str, self._runtime.glob("*.o")), str(self.build_dir)]]
        return [verilate, *(compiled if self._runtime.is_dir() else []), [*make, *_MAKE_OPTIONS]]


def find_tools() -> None:
    """Make Verilator, perl, make and the compiler available to what this process starts.

    Raises :class:`SimulationError` if one is missing.
    """
    try:
        os.environ.update(verilator_environment())
    except ToolMissingError as error:
        raise SimulationError(str(error)) from None


def _key(verilog: str, options: tuple[str, ...]) -> str:
    """Fingerprint of all that the binary depends on."""
    versions = [importlib.metadata.version("cocotb"), sys.version, *tool_versions().values()]
    libraries = str(cocotb_tools.config.libs_dir)  # the binary finds them by this path
    text = "\0".join([verilog, *options, *_MAKE_OPTIONS, *versions, libraries])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(verilog: str, name: str, *, waves: str | None) -> Path:
    """The folder of the Verilated ``verilog``, with top level ``name``, for cocotb.

    ``waves`` is None or a file format, a key of :data:`WAVES`.
    """
    options = _OPTIONS + (WAVES[waves] if waves else ())

    def compile_in(scratch: Path, source: Path, log: Path) -> None:
        runtime = BUILDS / f"runtime-{waves or 'plain'}-{_key('', options)}"
        _Runner(runtime).build(
            sources=[source],
            hdl_toplevel=name,
            build_dir=scratch,
            build_args=options,
            waves=waves is not None,
            log_file=log,
        )

    return _kept_build(verilog, name, options + ((_WINDOW,) if waves else ()), compile_in)


def build_program(verilog: str, name: str) -> Path:
    """A Verilated program that runs ``verilog``, top level ``name`` with its own stimulus, to ``$finish``."""
    # Delays are coroutines, which the makefile of the wheel does not ask the compiler for.
    options = ("--binary", "-j", "2", "-CFLAGS", "-std=c++20", *_OPTIONS)

    def compile_in(scratch: Path, source: Path, log: Path) -> None:
        command = [
            "verilator",
            *options,
            "--top-module",
            name,
            "-Mdir",
            str(scratch),
            "-o",
            name,
            str(source),
        ]
        with log.open("w") as file:
            ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
        if ended.returncode:
            raise RuntimeError(f"Verilator ended with status {ended.returncode}")

    return _kept_build(verilog, name, options, compile_in) / name


def _kept_build(
    verilog: str, name: str, options: tuple[str, ...], compile_in: Callable[[Path, Path, Path], None]
) -> Path:
    """The folder with the binary ``name``, compiled unless it is there. Verdicts are never kept."""
    find_tools()
    folder = BUILDS / f"{name}-{_key(verilog, options)}"
    BUILDS.mkdir(parents=True, exist_ok=True)
    with (BUILDS / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be building the same
        if not folder.is_dir():
            _compile(verilog, name, folder, compile_in)
    return folder


def _compile(verilog: str, name: str, folder: Path, compile_in: Callable[[Path, Path, Path], None]) -> None:
    """Compile, and only then let ``folder`` appear, with the source and the binary."""
    with tempfile.TemporaryDirectory(dir=BUILDS, prefix=f"{name}-") as scratch:
        source, log = Path(scratch, f"{name}.v"), Path(scratch, "build.log")
        source.write_text(verilog)
        try:
            compile_in(Path(scratch), source, log)
        except RuntimeError as error:
            if "lz4.h: No such file" in log.read_text():
                raise SimulationError(
                    "waves in FST need the headers of liblz4: apt-get install liblz4-dev, or use --waves=vcd"
                ) from None
            raise SimulationError(f"building {name} failed: {error}\n{_tail(log)}") from None
        finished = Path(scratch, "finished")
        finished.mkdir()
        for product in (source, Path(scratch, name)):
            product.rename(finished / product.name)
        finished.rename(folder)


def run(
    folder: Path,
    name: str,
    module: str,
    parameters: dict,
    run_dir: Path,
    *,
    waves: str | None,
    only: str | None = None,
    window_ns: tuple[int, int] | None = None,
) -> None:
    """Run the cocotb tests of ``module`` on what :func:`build` left in ``folder``.

    They find ``parameters`` as a JSON file at ``$TB_PARAMETERS``, and may leave the first difference from
    golden at ``$TB_MISMATCH``. Memories start with random contents, always the same. ``only`` is the full
    name of one test; waves are written in the window, if there is one. Raises :class:`SimulationError` with
    the messages of failing tests, or if no test ran.
    """
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    parameter_file, log, results = (run_dir / each for each in ("parameters.json", "run.log", "results.xml"))
    parameter_file.write_text(json.dumps(parameters))
    environment = {"TB_PARAMETERS": str(parameter_file), "TB_MISMATCH": str(run_dir / MISMATCH)}
    if window_ns is not None:
        steps = (str(max(0, end) * _STEPS_IN_NS) for end in window_ns)
        environment |= dict(zip(("TB_TRACE_FROM", "TB_TRACE_TO"), steps, strict=True))
    stopped = None
    try:
        _Runner(folder).test(
            hdl_toplevel=name,
            hdl_toplevel_lang="verilog",
            test_module=module,
            build_dir=folder,
            test_dir=run_dir,
            test_args=["+verilator+rand+reset+2", "+verilator+seed+1"],
            waves=waves is not None,
            extra_env=environment,
            test_filter=None if only is None else f"^{re.escape(only)}$",
            results_xml=str(results),
            log_file=log,
        )
    except (SystemExit, RuntimeError) as error:
        stopped = error
    cases = list(ElementTree.parse(results).getroot().iter("testcase")) if results.is_file() else []
    failures, texts = [], []
    for case in cases:
        found = [*case.iter("failure"), *case.iter("error")]
        if found:
            times = {each.get("name"): each.get("value") for each in case.iter("property")}
            test = f"{case.get('classname')}.{case.get('name')}"
            failures.append(Failure(test, *(float(times[f"sim_time_{end}"]) for end in ("start", "stop"))))
            texts += [f"{test}: {each.get('message', '')}{each.text or ''}" for each in found]
    if failures:
        dump = f"\nwaves: {run_dir}/dump.{waves}" if waves else ""
        raise SimulationError("\n".join(texts) + dump, failures)
    if stopped is not None or not cases:
        raise SimulationError(
            f"{name} ran no test of {module} to its end ({stopped or 'none was found'})\n{_tail(log)}"
        )


def run_folder(test_name: str) -> Path:
    """Where a test of that name leaves its log and waves."""
    return BUILDS / "runs" / re.sub(r"\W+", "_", test_name).strip("_")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:]) if log.is_file() else ""
