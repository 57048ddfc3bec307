"""Instructions of the kernels' innermost loops, counted from the compiled library by ``objdump``.

A loop's body is what stands between a backward jump and its target; the innermost contains no other.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

from benchmarks.measure import library_file
from sim.kernels.library import Job

__all__ = ["count_loop", "of_job"]

_LANES = {1: "Single", 2: "Double", 4: "Half"}
_REGISTER_BITS = {"avx512fp16": 512, "avx512": 512, "avx2": 256}
_LANE_BITS = {1: 32, 2: 64, 3: 16, 4: 16}
_FIRST_FIXED = 7  # of the ways of a step: below, float ones
_LAST_FIXED = 9
_NONE, _EXACT, _TOWARD_ZERO = 0, 1, 2

_HEAD = re.compile(r"^[0-9a-f]+ <(.*)>:$")
_LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
_MULTIPLY = re.compile(r"vp?mul(ps|pd|ph|lw)$")
_FUSED = re.compile(r"vfn?madd\d+p[sdh]$")


@cache
def _functions() -> dict[str, list[list[str]]]:
    """Disassembled functions by demangled name; several instruction sets have the same name."""
    tool = shutil.which("objdump")
    if tool is None:
        return {}
    done = subprocess.run(
        [tool, "-d", "-C", "--no-show-raw-insn", library_file()], capture_output=True, text=True, check=False
    )
    functions: dict[str, list[list[str]]] = {}
    lines: list[str] = []
    for line in done.stdout.splitlines():
        if head := _HEAD.match(line):
            lines = []
            functions.setdefault(head[1], []).append(lines)
        elif line.strip():
            lines.append(line)
    return functions


def of_job(job: Job, isa: str, *, saturates: bool) -> dict | None:
    """Instructions of the loop that a job runs, and the vectors of products in it; None where not known.

    ``saturates``: whether the operands' norms leave the checks of overflow in.
    """
    if isa not in _REGISTER_BITS or getattr(job, "coded", 0):
        return None
    if job.path == 3:
        pattern = rf"tile_short<{'true' if job.shift >= 0 else 'false'}>"
    elif job.path in _LANES:
        product, inner = job.lane_product, job.lane_inner
        fixed = _FIRST_FIXED <= inner.way <= _LAST_FIXED
        if fixed:
            clamped = not inner.wrap
        else:
            clamped = saturates and inner.maximum < float("inf") and inner.way < _FIRST_FIXED
        check = 0
        if product.way != _NONE and inner.way < _FIRST_FIXED:
            check = 2 if saturates and product.maximum < float("inf") else int(bool(job.underflows))
        way = product.way if inner.way < _FIRST_FIXED else _NONE
        if job.path == 4 and way not in (_NONE, _EXACT):
            way = _TOWARD_ZERO
        arguments = f"{way}, {inner.way}, {check}, {'true' if clamped else 'false'}"
        guard = "true" if inner.guard else "false"
        pattern = rf"chunk_loop<fmaq::{_LANES[job.path]}, {arguments}(, {guard})?>"
    else:
        return None
    width = _REGISTER_BITS[isa]
    register = {512: "%zmm", 256: "%ymm"}[width]
    for name, copies in _functions().items():
        if not re.search(pattern, name):
            continue
        for lines in copies:
            wide = any("%zmm" in line for line in lines)
            if wide == (register == "%zmm") and (counted := count_loop(lines)):
                return {**counted, "macs_per_vector": width // _LANE_BITS[job.path]}
    return None


def count_loop(lines: list[str]) -> dict | None:
    """Instructions and vectors of products in the innermost loop of a function that has most of these.

    A vector has one multiplication, or, where there is none, one fused multiplication and addition.
    """
    parsed = [(int(m[1], 16), m[2], m[3]) for m in map(_LINE.match, lines) if m]
    places = {address: i for i, (address, _, _) in enumerate(parsed)}
    loops = []
    for i, (address, name, rest) in enumerate(parsed):
        if name.startswith("j") and (target := re.match(r"([0-9a-f]+)\b", rest)):
            to = int(target[1], 16)
            if to <= address and to in places:
                loops.append((places[to], i))
    innermost = [
        (first, last)
        for first, last in loops
        if not any((first, last) != other and first <= other[0] and other[1] <= last for other in loops)
    ]
    best = None
    for first, last in innermost:
        names = [name for _, name, _ in parsed[first : last + 1]]
        vectors = sum(map(bool, map(_MULTIPLY.match, names))) or sum(map(bool, map(_FUSED.match, names)))
        if vectors and (best is None or vectors > best["vectors"]):
            best = {"instructions": len(names), "vectors": vectors}
    return best
