"""Method ``protocol``: tiles behind other people's AXI drivers, under stalls, resets and misuse."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from hw.tile import Tile
from tb import simulator
from tb.test_tile import TILES
from tb.tile_bank import bank_text
from tb.tile_cases import TileCase
from tb.verify.rows import ARITHMETIC, Outcome, Row, Task, python_versions, simulator_versions, sources

__all__ = ["METHODS", "ProtocolRow", "rows"]

METHODS = {
    "protocol": "The testbench of the tile, tb/tile_tests.py, with more products and seeds, a tile a row. "
    "cocotbext-axi drives and listens, pausing at random on all eight channels; a watch in Verilog "
    "sees that no beat on offer changes or is withdrawn, and counts the beats that pass, which is "
    "what is given as compared: every result, with its `tkeep` and `tlast`, is golden's and comes "
    "once and in order, flags, counters and the interrupt are as golden counts, after resets and "
    "clears in any cycle products are as good as ever, and misuse (start while busy, dimensions "
    "that cannot be, `tlast` in a wrong place, accesses to what is not there) ends in the stated "
    "error, never in a hang: each wait has a limit.",
}

_VERSION = "1"
_BENCH = tuple(f"tb/tile_{part}.py" for part in ("bank", "bench", "cases", "drivers", "scenarios", "tests"))
_DEPENDS = (*ARITHMETIC, "golden/random_words.py", "golden/output.py", "hw/tile_product.py", *_BENCH)

_BEATS = 20_000  # of a row, on all channels together
_COUNT = 8  # products in a row, and so on, of one simulation
_NAME = "protocol"

_CASES = (
    *TILES.values(),
    *(
        TileCase(
            mac=mac,
            hardwired=hardwired,
            rows=rows,
            cols=cols,
            stages=stages,
            depth=depth,
            events=events,
            output=output,
        )
        for mac, hardwired, (rows, cols, stages, depth), events, output in (
            ("float12", False, (4, 4, 2, 5), True, ("e3m4", "rz", 9, None)),
            ("int12", False, (4, 2, 1, 7), True, None),
            ("int32", True, (2, 5, 2, 4), False, ("uint8", "rz", 9, 16)),
            ("fixed16-wrap", False, (8, 1, 0, 3), True, ("int12", "floor", 9, 4)),
            ("exact", False, (2, 2, 0, 2), True, ("e4m3", "rne", 9, None)),
            ("float32", True, (1, 3, 2, 4), False, None),
            ("e4m3fn_e5m2ieee_p_exact_a_e5m10ieee_rne_c4_o_e8m23ieee_rne", False, (4, 1, 1, 3), True, None),
            (
                "e3m4s_e3m4s_p_e4m7sb12_rne_a_e4m7sb10_rne_c4",
                False,
                (2, 3, 0, 6),
                True,
                ("e2m3s", "rne", 9, None),
            ),
            ("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_sr5_c2", False, (1, 2, 1, 1), False, ("e2m3s", "rz", 9, None)),
        )
    ),
)


@dataclass(frozen=True, kw_only=True)
class ProtocolRow:
    """A tile under test."""

    case: TileCase

    @property
    def subject(self) -> str:
        return self.case.config.name

    def verilog(self) -> str:
        return bank_text({"tile": Tile(self.case.config)}, _NAME)

    def depends(self) -> str:
        return _VERSION + self.verilog() + sources(_DEPENDS)

    def run(self, task: Task) -> Outcome:
        """Whole runs of the testbench, each with a seed of its own, until enough beats have passed."""
        wanted = max(1, int(_BEATS * min(task.share, 1)))
        rng = Random(f"{task.seed} {self.subject}")
        folder = simulator.build(self.verilog(), _NAME, waves=None)
        beats = runs = failed = 0
        details: dict = {}
        while beats < wanted and not failed:
            parameters = {
                "tiles": {"tile": asdict(self.case)},
                "seed": rng.getrandbits(32),
                "count": _COUNT if task.whole else 1,
            }
            with tempfile.TemporaryDirectory() as scratch:
                run_dir = Path(scratch, "run")
                try:
                    simulator.run(folder, _NAME, "tb.tile_tests", parameters, run_dir, waves=None)
                except simulator.SimulationError as error:
                    failed = max(1, len(error.failures))
                    first = str(error).splitlines()[0]
                    details["first_difference"] = f"seed {parameters['seed']}: {first}"
                else:
                    passed = json.loads((run_dir / "beats.json").read_text())["tile"]
                    beats += sum(passed.values())
            runs += 1
            task.report(beats / wanted)
        details |= {"runs": runs, "beats": beats}
        return Outcome(compared=beats, differences=failed, details=details)


def rows() -> list[Row]:
    return [
        Row(
            method="protocol",
            subject=row.subject,
            what="results, flags and answers of the tile with golden, by cocotbext-axi, under stalls",
            depends=row.depends,
            run=row.run,
            versions=lambda: simulator_versions() | python_versions("cocotb", "cocotbext-axi"),
            seconds=60,
            divides=True,
        )
        for row in (ProtocolRow(case=case) for case in _CASES)
    ]
