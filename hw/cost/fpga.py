"""``python -m hw.cost.fpga CONFIG...``: MACs and arrays on a Lattice ECP5: logic, multipliers, clock.

A MAC is placed with multiplier blocks and without, an array with them. Every input has a register before it,
which is not counted. ``--results`` measures the rows of docs/results/fpga.json and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from golden.catalog import find
from golden.config import MAX_STAGES, ArrayConfig, ConfigError, Silicon
from hw.array import SystolicArray
from hw.command_line import Parser
from hw.cost.ecp5 import DEVICES, Placement, place
from hw.cost.flow import SynthesisError, instances
from hw.cost.mapping import CACHE
from hw.files import write_files
from hw.mac import Mac
from hw.verilator_env import ToolMissingError
from hw.verilog import verilog_text

__all__ = ["RESULTS", "Row", "main", "measure"]

ROOT = Path(__file__).resolve().parents[2]

#: MACs of the results file: configuration, and whether its offsets are wired in.
RESULTS = (
    *((name, False) for name in ("float32", "float16", "float12")),
    ("float12", True),
    *((name, False) for name in ("float8-rne", "fixed16", "fixed12", "int32", "int16", "int12", "exact")),
)

#: Arrays of the results file, each of which takes a minute or two.
RESULTS_ARRAYS = tuple(
    row for row in RESULTS if row[0] in ("int12", "int32", "exact", "fixed12", "float12", "float32")
)
_RESULTS_SIDE = 4
_DEPTH = 16
MAC_SEEDS = (1, 2, 3)
ARRAY_SEEDS = (1,)  # a placement of sixteen MACs takes a minute


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A MAC or an array of them on one device."""

    config: str  #: As it was asked for.
    hardwired: bool
    silicon: str  #: ``Silicon.mac_name``.
    stages: int
    rows: int  #: 1 x 1 for a MAC by itself.
    cols: int
    placement: Placement

    @property
    def command(self) -> str:
        """What makes this row."""
        wired = " --hardwired" if self.hardwired else ""
        array = "" if self.rows == self.cols == 1 else f" --array {self.rows}x{self.cols}"
        return f"python -m hw.cost.fpga {self.config}{wired} --stages {self.stages}{array}"


def measure(
    names: Sequence[tuple[str, bool]],
    *,
    stages: int,
    side: tuple[int, int] | None,
    progress: Callable[[str], None],
    cache: Path = CACHE,
) -> list[Row]:
    """Rows of MACs with multiplier blocks and without, or of arrays of ``side`` rows and columns with them.

    ``names``: configuration, and whether its offsets are wired in. Raises :class:`ConfigError` for what is
    not built, and what :func:`hw.cost.ecp5.place` raises.
    """
    jobs = []
    for name, hardwired in names:
        config = find(name)
        silicon = config.hardwired if hardwired else config.silicon
        if side is not None:
            array = ArrayConfig(
                silicon=silicon, rows=side[0], cols=side[1], stages=stages, depth=_DEPTH, events=False
            )
            jobs.append((name, hardwired, silicon, array, True))
        else:
            jobs += [(name, hardwired, silicon, None, dsp) for dsp in (True, False)]
    rows = []
    for count, (name, hardwired, silicon, array, dsp) in enumerate(jobs, 1):
        placement = _mac(silicon, stages, dsp, cache) if array is None else _array(array, dsp, cache)
        row = Row(
            config=name,
            hardwired=hardwired,
            silicon=silicon.mac_name,
            stages=stages,
            rows=1 if array is None else array.rows,
            cols=1 if array is None else array.cols,
            placement=placement,
        )
        rows.append(row)
        progress(f"placed {count}/{len(jobs)} {_line(row)}")
    return rows


def _mac(silicon: Silicon, stages: int, dsp: bool, cache: Path) -> Placement:
    verilog = verilog_text(Mac(silicon, stages, events=False), "mac")
    return place(verilog, "mac", dsp=dsp, device="25k", seeds=MAC_SEEDS, cache=cache)


def _array(config: ArrayConfig, dsp: bool, cache: Path) -> Placement:
    """On the smallest device that has room for it."""
    verilog = verilog_text(SystolicArray(config), "array")
    modules = instances(verilog)
    (column,) = {kind for kind, name in modules["array"] if name.startswith("column_")}
    kept = sorted({kind for kind, name in modules[column] if name.startswith(("mac_", "chunk_adder"))})
    for device in DEVICES:
        try:
            return place(verilog, "array", dsp=dsp, device=device, seeds=ARRAY_SEEDS, cache=cache, kept=kept)
        except SynthesisError:
            if device == list(DEVICES)[-1]:
                raise
    raise AssertionError("there is no device")


def _line(row: Row) -> str:
    p = row.placement
    what = "MAC" if row.rows == row.cols == 1 else f"{row.rows}x{row.cols} array"
    return (
        f"{row.config}{', wired' if row.hardwired else ''}: {what}, {row.stages} stages, "
        f"{'with' if p.dsp else 'without'} multiplier blocks: {p.luts} LUT4, {p.ffs} FF, {p.dsps} DSP, "
        f"{p.brams} BRAM, {p.fmax_mhz:.1f} MHz (ECP5-{p.device}, "
        f"{', '.join(f'{mhz:.1f}' for mhz in p.fmax_by_seed.values())})"
    )


def _json(rows: Sequence[Row]) -> str:
    return json.dumps({"rows": [asdict(row) | {"command": row.command} for row in rows]}, indent=2) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m hw.cost.fpga",
        description="Place MACs, or arrays of them, on a Lattice ECP5 with Yosys and nextpnr: LUTs, "
        "flip-flops, multiplier blocks, block memories, and the median clock of several placements.",
        resumes=True,
    )
    parser.add_argument(
        "configs", nargs="*", metavar="CONFIG", help="a name of hw.generate --list, or canonical"
    )
    parser.add_argument(
        "--stages",
        type=int,
        choices=range(MAX_STAGES + 1),
        default=1,
        metavar="N",
        help=f"registers in a MAC besides its output register, 0 to {MAX_STAGES} (default %(default)s)",
    )
    parser.add_argument("--array", type=_side_lengths, metavar="ROWSxCOLS", help="place an array of them")
    parser.add_argument("--hardwired", action="store_true", help="exponent offsets as constants")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--results", action="store_true", help="write docs/results/fpga.json")
    return parser


def _side_lengths(text: str) -> tuple[int, int]:
    if re.fullmatch(r"\d+x\d+", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write ROWSxCOLS, as in 4x4")
    rows, cols = map(int, text.split("x"))
    return rows, cols


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(options: argparse.Namespace) -> str:
    if options.results:
        if options.configs or options.array:
            raise ConfigError("--results has its own rows; give no configuration and no array with it")
        return _results(options.stages)
    if not options.configs:
        raise ConfigError("no configuration was named; give one, such as float12, or --results")
    names = [(name, options.hardwired) for name in options.configs]
    progress = _progress if options.json else lambda line: None
    rows = measure(names, stages=options.stages, side=options.array, progress=progress)
    return _json(rows).rstrip() if options.json else "\n".join(map(_line, rows))


def _results(stages: int) -> str:
    """Write the results file after the MACs, and again after each array."""
    rows = measure(RESULTS, stages=stages, side=None, progress=_progress)
    folder = ROOT / "docs" / "results"
    write_files({"fpga.json": _json(rows)}, folder)
    side = (_RESULTS_SIDE, _RESULTS_SIDE)
    for name in RESULTS_ARRAYS:
        rows += measure([name], stages=stages, side=side, progress=_progress)
        write_files({"fpga.json": _json(rows)}, folder)
    return f"{folder / 'fpga.json'}: {len(rows)} rows"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    parser = _parser()
    try:
        print(_run(parser.parse_args(arguments)))
    except (ConfigError, ToolMissingError, OSError) as error:
        parser.error(str(error))
    except SynthesisError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
