"""``python -m sim.literature``: measure all rows and write docs/results/literature.json.

Netlists are kept under build/cost, so that a command that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from golden.config import ConfigError
from golden.formats import parse_format
from hw.command_line import Parser
from hw.cost.check import NetlistError
from hw.cost.flow import SynthesisError
from hw.cost.gates import AlignedWidth, gates, readings
from hw.cost.timing import timer_name
from hw.files import write_files
from sim.activity import NAMES
from sim.literature.measure import measure
from sim.literature.published import CLAIMS, SAME_FLOW, SAME_FLOW_REFERENCE
from sim.literature.rows import GROUPS, Design, analytic_formats, designs

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
_COMMAND = "python -m sim.literature"

#: What gates are counted for as a baseline: operands and accumulator.
_OPERANDS, _BASE = "e3m4", "e8m23"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=_COMMAND, description=__doc__.splitlines()[0], resumes=True)
    parser.add_argument("--clock-ns", type=float, default=8.0, metavar="NS", help="of sky130hd (%(default)s)")
    parser.add_argument("--asap7-clock-ns", type=float, default=1.5, metavar="NS", help="(%(default)s)")
    parser.add_argument(
        "--stimulus",
        choices=[*NAMES, "none"],
        default="resnet20",
        help="whose activity energies are of; none: no energies (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of stimuli (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument(
        "--rows", nargs="+", metavar="KEY", help="print these rows, as JSON, and write nothing"
    )
    return parser


def _jobs(options: argparse.Namespace) -> list[tuple[Design, str, float]]:
    """Every row with its technologies and their clocks; the slowest to map first."""
    known = {design.key: design for design in designs()}
    wanted = options.rows or list(known)
    unknown = [key for key in wanted if key not in known]
    if unknown:
        raise ConfigError(f"there is no row {unknown[0]!r}; rows are {', '.join(known)}")
    chosen = [known[key] for key in wanted]
    jobs = [(design, "sky130hd", options.clock_ns * 1000) for design in chosen]
    jobs += [(design, "asap7", options.asap7_clock_ns * 1000) for design in chosen if design.asap7]
    return sorted(jobs, key=lambda job: -job[0].config.accumulator.format.significand_bits)


def _measured(options: argparse.Namespace) -> Iterator[dict]:
    jobs = _jobs(options)
    activity = None if options.stimulus == "none" else options.stimulus
    os.environ["OMP_NUM_THREADS"] = "1"  # of each process: they are as many as there are cores
    start = time.monotonic()
    with ProcessPoolExecutor(max(1, options.jobs)) as pool:
        futures = {
            pool.submit(measure, design, technology, clock_ps, activity, options.seed): (design, technology)
            for design, technology, clock_ps in jobs
        }
        try:
            for count, future in enumerate(as_completed(futures), 1):
                design, technology = futures[future]
                row = future.result()
                left = (time.monotonic() - start) / count * (len(jobs) - count)
                print(
                    f"{count}/{len(jobs)} {design.key} in {technology}: {row['nand2']:.0f} GE, "
                    f"{row['stages']} stages, {row['delay_ps']:.0f} ps; about {left:.0f} s left",
                    file=sys.stderr,
                    flush=True,
                )
                yield row | {
                    "group": design.group,
                    "label": design.label,
                    "config": design.config.name,
                    "hardwired": design.hardwired,
                    "source": design.source,
                    "command": f"{_COMMAND} --rows {design.key}",
                }
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _analytic() -> dict:
    """Counted gates: by row the least and the most of all readings; savings by reading of the width."""
    rows = {}
    for key, (operand, acc) in analytic_formats().items():
        counts = [sum(gates(operand, acc, reading).values()) for reading in readings()]
        rows[key] = [min(counts), max(counts)]
    operand, base = parse_format(_OPERANDS), parse_format(_BASE)
    savings = {}
    for acc in ("e5m10", "e4m7", "e4m3"):
        by_width: dict[str, list[float]] = {width.value: [] for width in AlignedWidth}
        for reading in readings():
            ours, theirs = (
                sum(gates(operand, number, reading).values()) for number in (parse_format(acc), base)
            )
            by_width[reading.width.value].append(1 - ours / theirs)
        savings[acc] = {width: [min(found), max(found)] for width, found in by_width.items()}
    return {"gates": rows, "savings": savings}


def _luts() -> dict[str, int]:
    """LUTs of MACs without multiplier blocks, of docs/results/fpga.json if it is there."""
    file = RESULTS / "fpga.json"
    if not file.is_file():
        return {}
    return {
        row["config"]: row["placement"]["luts"]
        for row in json.loads(file.read_text())["rows"]
        if row["rows"] == row["cols"] == 1 and not row["placement"]["dsp"] and not row["hardwired"]
    }


def _claims(rows: Sequence[dict]) -> list[dict]:
    """Claims with the ratio that is measured here; None where there is none."""
    figures: dict[tuple[str, str], dict] = {(row["technology"], row["key"]): row for row in rows}
    luts = _luts()
    claims = []
    for claim in CLAIMS:
        measured = None
        if claim.ours is not None and claim.quantity == "luts":
            found = [luts.get(key) for key in claim.ours]
        elif claim.ours is not None:
            found = [figures[claim.technology, key][claim.quantity] for key in claim.ours]
        else:
            found = [None]
        if None not in found:
            measured = found[0] / found[1]
        claims.append(asdict(claim) | {"measured": measured, "figures": found})
    return claims


def _results(options: argparse.Namespace) -> dict:
    order = {design.key: index for index, design in enumerate(designs())}
    rows = sorted(_measured(options), key=lambda row: (row["technology"] != "sky130hd", order[row["key"]]))
    return {
        "meta": {
            "clock_ps": {"sky130hd": options.clock_ns * 1000, "asap7": options.asap7_clock_ns * 1000},
            "stimulus": options.stimulus,
            "seed": options.seed,
            "timer": timer_name(),
            "versions": {name: importlib.metadata.version(name) for name in ("pyosys", "numpy")},
            "groups": GROUPS,
        },
        "rows": rows,
        "analytic": _analytic(),
        "claims": _claims(rows),
        "same_flow": [asdict(unit) for unit in SAME_FLOW],
        "same_flow_reference": asdict(SAME_FLOW_REFERENCE),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.rows:
            print(json.dumps(list(_measured(options)), indent=2))
        else:
            write_files({"literature.json": json.dumps(_results(options), indent=2) + "\n"}, RESULTS)
            print(f"{RESULTS / 'literature.json'}; python -m sim.results turns it into its section")
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
