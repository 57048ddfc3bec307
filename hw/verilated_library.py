"""Verilated designs as shared libraries: one for each design, kept by content.

The library drives the design through its valid/ready channels; :mod:`hw.verilated_bench` loads it. What a
design answers is never kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from hw.verilator_env import tool_versions, verilator_environment

__all__ = ["OPTIMISATION", "TRACES", "BuildError", "Channel", "Design", "build", "stream_channels"]

BUILDS = Path(__file__).resolve().parents[1] / "build" / "verilated"

_HARNESS = Path(__file__).with_name("verilated_harness.cpp")

#: What a library writes while it runs, if it is built to: Verilator's option, header and class.
TRACES = {
    "vcd": ("--trace-vcd", "verilated_vcd_c.h", "VerilatedVcdC"),
    "fst": ("--trace-fst", "verilated_fst_c.h", "VerilatedFstC"),
    "saif": ("--trace-saif", "verilated_saif_c.h", "VerilatedSaifC"),
}

_OPTIONS = (
    *("--cc", "--exe", "--Mdir", "obj", "--prefix", "Vdesign", "-o", "design.so"),
    *("-O3", "--x-assign", "fast", "--x-initial", "unique", "--noassert", "-Wno-lint", "-Wno-fatal"),
    # Several libraries of Verilator's classes live in one process, and must not find each other's.
    *("-CFLAGS", "-fPIC -fvisibility=hidden -fvisibility-inlines-hidden -I..", "-LDFLAGS", "-shared"),
)

#: Verilator's own part of every library, which takes longer to compile than a small design.
_RUNTIME = "verilated*.o"

#: Of the compiler. -O2 brings about a tenth (benchmarks/bench_rtl.py --levels), and triples the time that a
#: 16 x 16 array of floats takes to compile; a longer run of one array may ask for it.
OPTIMISATION = "-O1"


class BuildError(RuntimeError):
    """Verilator or the compiler refused a design. The message has the end of what they said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """A stream of beats with valid and ready; names are those of ports in the Verilog."""

    name: str  #: As users of the library call it.
    is_input: bool  #: Of the design.
    valid: str
    ready: str
    payload: tuple[tuple[str, int], ...]  #: Ports that make a beat, and their widths in bits.

    @property
    def beat_bytes(self) -> int:
        """Each port starts on a byte of its own, the first one first."""
        return sum(-(-width // 8) for _, width in self.payload)


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """A module that has one clock, one synchronous reset and otherwise channels."""

    name: str  #: Of the top module.
    verilog: str
    clock: str
    reset: str
    reset_active: bool  #: The level that resets.
    channels: tuple[Channel, ...]


def stream_channels(component: wiring.Component) -> tuple[Channel, ...]:
    """The streams of a component, as Amaranth names their ports in Verilog."""
    channels = []
    for name, member in component.signature.members.items():
        if member.is_signature and isinstance(member.signature, stream.Signature):
            width = len(Value.cast(getattr(component, name).payload))
            channels.append(
                Channel(
                    name=name,
                    is_input=member.flow == In,
                    valid=f"{name}__valid",
                    ready=f"{name}__ready",
                    payload=((f"{name}__payload", width),),
                )
            )
    return tuple(channels)


def build(design: Design, *, trace: str | None, extra: str = "", optimisation: str = OPTIMISATION) -> Path:
    """The shared library of a design, built unless it is there.

    Parameters
    ----------
    design : Design
        What to simulate.
    trace : str or None
        A key of :data:`TRACES`. FST needs the headers of liblz4; without them it is VCD after all, which
        the suffix of the library's folder tells.
    extra : str
        C++ compiled into the library as well, at the end of the harness.
    optimisation : str
        Level that the C++ compiler is asked for.

    Raises :class:`BuildError` where it cannot be built.
    """
    try:
        return _kept(design, trace, extra, optimisation)
    except BuildError as error:
        if trace != "fst" or "lz4.h" not in str(error):
            raise
        return _kept(design, "vcd", extra, optimisation)


def _kept(design: Design, trace: str | None, extra: str, optimisation: str) -> Path:
    options = [*_OPTIONS, *(TRACES[trace][:1] if trace else ())]
    verilate = ["verilator", *options, "--top-module", design.name, "design.v", "harness.cpp"]
    make = ["make", "-s", "-j", "2", "-C", "obj", "-f", "Vdesign.mk"]
    make += [f"OPT_FAST={optimisation}", "OPT_SLOW=-O0", "design.so"]
    sources = {"design.v": design.verilog, "bindings.inc": _bindings(design), "bare_loop.inc": extra}
    sources["harness.cpp"] = _prologue(trace, extra) + _HARNESS.read_text()
    folder = BUILDS / (_digest(sources, verilate, make) + (f"-{trace}" if trace else ""))
    BUILDS.mkdir(parents=True, exist_ok=True)
    library = folder / "design.so"
    if not library.is_file():
        with (BUILDS / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be building the same
            if not library.is_file():
                runtime = BUILDS / f"runtime-{_digest(options, make)}"
                _compile(design.name, sources, (verilate, make), runtime, folder)
    return library


def _digest(*parts: object) -> str:
    content = json.dumps([*parts, tool_versions()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def _prologue(trace: str | None, extra: str) -> str:
    lines = ["#define BARE_LOOP"] if extra else []
    if trace:
        _option, header, kind = TRACES[trace]
        lines += [f'#define TRACE_HEADER "{header}"', f"#define TRACE_TYPE {kind}"]
        if trace == "saif":  # which counts over the time from 0
            lines.append("#define TIME_FROM_WINDOW true")
    return "".join(f"{line}\n" for line in lines)


def _compile(
    name: str, sources: dict[str, str], commands: Iterable[list[str]], runtime: Path, folder: Path
) -> None:
    """Compile, and only then let ``folder`` appear; and ``runtime``, unless an earlier build left it."""
    with tempfile.TemporaryDirectory(dir=BUILDS, prefix="build-") as scratch:
        for file, text in sources.items():
            Path(scratch, file).write_text(text)
        verilate, make = commands
        _run(verilate, scratch, name)
        for part in runtime.glob(_RUNTIME):
            shutil.copyfile(part, Path(scratch, "obj", part.name))  # newer than the makefile
        _run(make, scratch, name)
        if not runtime.is_dir():
            _keep(Path(scratch, "obj").glob(_RUNTIME), Path(scratch, "runtime"), runtime)
        (Path(scratch) / "design.txt").write_text(f"{name}\n")
        _keep(
            [Path(scratch, "obj", "design.so"), Path(scratch, "design.txt")],
            Path(scratch, "finished"),
            folder,
        )


def _run(command: list[str], folder: str, name: str) -> None:
    run = subprocess.run(
        command, cwd=folder, env=verilator_environment(), capture_output=True, text=True, check=False
    )
    if run.returncode:
        said = "\n".join((run.stdout + run.stderr).splitlines()[-40:])
        raise BuildError(f"{command[0]} could not build {name}: {said}")


def _keep(files: Iterable[Path], scratch: Path, folder: Path) -> None:
    """Files as a folder that appears whole."""
    scratch.mkdir()
    for file in list(files):
        shutil.move(file, scratch)
    try:
        scratch.rename(folder)
    except OSError:  # another process was first, with the same content
        if not folder.is_dir():
            raise


def _bindings(design: Design) -> str:
    """C++ that says where the ports lie."""

    def member(port: str) -> str:
        return "top." + port.replace("__", "___05F")  # as Verilator spells what it keeps for itself

    lines = [
        "void Bench::bind(Vdesign& top) {",
        f"  clock_ = &{member(design.clock)};",
        f"  reset_ = &{member(design.reset)};",
        f"  reset_active_ = {int(design.reset_active)};",
        "  channels_ = {",
    ]
    for channel in design.channels:
        parts = ", ".join(
            f"part(&{member(port)}, sizeof({member(port)}), {width})" for port, width in channel.payload
        )
        way = "true" if channel.is_input else "false"
        lines.append(f"      {{{way}, &{member(channel.valid)}, &{member(channel.ready)}, {{{parts}}}}},")
    return "\n".join([*lines, "  };", "}", ""])
