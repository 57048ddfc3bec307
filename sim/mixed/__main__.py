"""``python -m sim.mixed MODEL``: a configuration for each layer, found for an area or read from a file.

    python -m sim.mixed resnet20 --budget fixed12-wrap,2000     # searches, and compares with uniform
    python -m sim.mixed resnet20 --plan plan.toml               # judges a file of patterns

Results are written after each row, and rows that the output has already are not computed again. For each
row a TOML file with the assignment is left beside them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from golden.config import ConfigError
from hw.command_line import Parser
from hw.cost.check import NetlistError
from hw.cost.flow import SynthesisError
from hw.files import write_files
from hw.verilator_env import ToolMissingError
from sim.data import DataError
from sim.mixed.areas import Candidate, candidates_of
from sim.mixed.measure import Study, judge, table_key
from sim.mixed.patterns import LayerPatterns, toml_text
from sim.mixed.plan import layers_of, plan_from
from sim.mixed.search import COSTS
from sim.product_mode import UnreplacedProductError
from sim.workload import Workload
from sim.workloads import NAMES, find_workload

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent.parent

#: Int8 operands, and FP8 operands into fixed point, up to what loses nothing: smaller than equal floats.
CANDIDATES = (
    "int8-wrap,int10-wrap,int12-wrap,int14-wrap,int16-wrap,fixed8,fixed8-wrap,fixed10,fixed10-wrap,fixed12,"
    "fixed12-wrap,fixed14-wrap,fixed16-wrap"
)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m sim.mixed",
        resumes=True,
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="how area counts:\n" + "\n".join(f"  {name:8} {what}" for name, what in COSTS.items()),
    )
    parser.add_argument(
        "model", metavar="MODEL", help=f"{', '.join(NAMES)}, path/to/file.py:function or path/to/model.onnx"
    )
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--budget",
        type=_names,
        metavar="AREA,...",
        help="um2 of a MAC, or configurations whose area it is; a row for each",
    )
    wanted.add_argument("--plan", type=Path, metavar="FILE", help="judge this TOML file of patterns instead")
    parser.add_argument(
        "--candidates",
        type=_names,
        default=_names(CANDIDATES),
        metavar="C,...",
        help=f"(default: {CANDIDATES})",
    )
    parser.add_argument("--cost", choices=COSTS, default="shares", help="how area counts (default: shares)")
    parser.add_argument("--arrays", type=int, default=3, help="kinds of MAC at most (default: 3)")
    parser.add_argument("--count", type=int, default=500, help="test inputs (default: 500)")
    parser.add_argument("--calibrated", action="store_true", help="with --plan: set each layer's accumulator")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--seed", type=int, default=0, help="of sampling (default: 0)")
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "report" / "mixed.json", metavar="FILE",
        help="results (default: report/mixed.json)",
    )  # fmt: skip
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _check(options: argparse.Namespace) -> None:
    for name, low, high in (("count", 1, 10_000), ("arrays", 1, 4), ("threads", 1, 256), ("seed", 0, 2**31)):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, not {value}")


def _read(path: Path) -> dict:
    """What the output has already."""
    if not path.is_file():
        return {"command": "python -m sim.mixed", "tables": {}, "rows": {}}
    try:
        content = json.loads(path.read_text())
        return {"command": content["command"], "tables": content["tables"], "rows": content["rows"]}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a results file of this command; name another --output") from error


def _areas(names: Sequence[str], candidates: Sequence[Candidate]) -> dict[str, float]:
    """Budgets by what they are called."""
    known = {each.name: each.um2 for each in candidates}
    budgets = {}
    for name in names:
        try:
            budgets[name] = known[name] if name in known else float(name)
        except ValueError:
            raise ConfigError(
                f"--budget {name!r} is neither an area in um2 nor among the candidates: {', '.join(known)}"
            ) from None
    return budgets


def _study(
    workload: Workload, candidates: list[Candidate], options: argparse.Namespace, content: dict
) -> Study:
    """With its tables, measured unless the output has them."""
    study = Study(workload=workload, candidates=candidates, seed=options.seed)
    key = table_key(workload.name, candidates, options.seed)
    if key not in content["tables"]:
        rounds = len(candidates) * (len(study.layers.names) + 1)
        with tqdm(total=rounds, desc=f"{workload.name}, layers", disable=not sys.stderr.isatty()) as bar:
            study.measure(bar.update)
        content["tables"][key] = {
            "model": workload.name,
            "candidates": {each.name: {"config": each.config.name, "um2": each.um2} for each in candidates},
            "macs": dict(zip(study.layers.names, study.layers.macs, strict=True)),
            "errors": study.errors,
            "uniform_errors": study.uniform,
        }
        _write(content, options.output)
    table = content["tables"][key]
    study.errors, study.uniform = table["errors"], table["uniform_errors"]
    return study


def _search(options: argparse.Namespace, command: str) -> None:
    content = _read(options.output)
    candidates = candidates_of(options.candidates, progress=lambda line: print(line, file=sys.stderr))
    budgets = _areas(options.budget, candidates)
    workload = find_workload(options.model, count=options.count, seed=options.seed)
    study = None
    for name, budget in budgets.items():
        table = table_key(workload.name, candidates, options.seed)
        kind = options.cost if options.cost == "widest" else f"{options.cost} of {options.arrays} arrays"
        key = f"{table}, {budget:.2f} um2 by {kind}, {workload.n} {workload.unit}"
        if key not in content["rows"]:
            study = study or _study(workload, candidates, options, content)
            row = study.row(budget=budget, cost=options.cost, arrays=options.arrays)
            facts = {"model": workload.name, "budget": name, "seed": options.seed, "command": command}
            content["rows"][key] = facts | {"description": workload.description} | row
            _write(content, options.output)
        row = content["rows"][key]
        stem = f"{Path(workload.name).stem}-{name}-{options.cost}"
        text = toml_text(row["mixed"]["layers"], _sentence(row))
        write_files({f"{stem}.toml": text}, options.output.parent)
        print(f"{_sentence(row)}\n{options.output.parent / f'{stem}.toml'}")


def _sentence(row: dict) -> str:
    percent = " %" if row["score_unit"] == "%" else ""
    against = row["mixed_against_uniform"]
    span = "" if against["interval"] is None else " [{:+.2f}, {:+.2f}]".format(*against["interval"])
    return (
        f"{row['model']}, {row['budget_um2']:.0f} um2 a MAC: uniform {row['uniform']['configs'][0]} "
        f"({row['uniform']['area_um2']:.0f} um2) {row['uniform']['value']:.2f}{percent}, mixed "
        f"{'+'.join(row['mixed']['configs'])} ({row['mixed']['area_um2']:.0f} um2) "
        f"{row['mixed']['value']:.2f}{percent}, difference {against['difference']:+.2f}{span}; float32 "
        f"{row['float32_value']:.2f}{percent}; {row['n']} {row['unit']}"
    )


def _judge(options: argparse.Namespace) -> None:
    patterns = LayerPatterns.read(options.plan)
    workload = find_workload(options.model, count=options.count, seed=options.seed)
    layers = layers_of(workload.model, workload.calibration, seed=options.seed)
    plan = plan_from(layers, patterns, calibrated=options.calibrated)
    row = judge(workload, plan, layers.names, options.seed)
    percent = " %" if workload.score_unit == "%" else ""
    span = " [{:+.2f}, {:+.2f}]".format(*row["interval"]) if "interval" in row else ""
    for name, layer in zip(layers.names, plan, strict=True):
        print(f"{name:30} {layer.config.name}")
    print(
        f"{workload.metric} {row['value']:.2f}{percent}, float32 {row['float32_value']:.2f}{percent}, "
        f"difference {row['difference']:+.2f}{span}; {workload.n} {workload.unit}"
    )


def _write(content: dict, path: Path) -> None:
    write_files({path.name: json.dumps(content, indent=1) + "\n"}, path.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Search or judge; 0, or 2 with one sentence where what was asked cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _check(options)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        if options.plan is not None:
            _judge(options)
        else:
            _search(options, shlex.join(["python", "-m", "sim.mixed", *given]))
            print(options.output)
    except (ConfigError, DataError, ToolMissingError, UnreplacedProductError, OSError) as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
