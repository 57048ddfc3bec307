"""``python -m sim.microscope MODEL --config C``: where a network's accumulators go wrong.

Writes index.html and profile.json: events by layer and channel, partial sums against the format's range, what
each layer costs, and one wrong answer followed to a multiply-accumulate, and to the same one in RTL waves.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from golden.config import ConfigError
from hw.command_line import Parser
from hw.verilated_library import BuildError
from hw.verilator_env import ToolMissingError
from sim.data import DataError
from sim.microscope.page import story
from sim.microscope.profiling import DEFAULTS, Settings, profile_workload
from sim.microscope.results import add_summary, add_waves, write_profile
from sim.product_mode import UnreplacedProductError
from sim.workloads import NAMES, find_workload

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent.parent


def _parser() -> Parser:
    parser = Parser(prog="python -m sim.microscope", description=__doc__.splitlines()[0])
    parser.add_argument(
        "model", metavar="MODEL", help=f"{', '.join(NAMES)}, path/to/file.py:function or path/to/model.onnx"
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="C",
        help="float12, e5m10, a canonical name, or a TOML file of patterns of layer names",
    )
    parser.add_argument(
        "--calibrated", action="store_true", help="set each layer's accumulator from calibration inputs"
    )
    parser.add_argument("--count", type=int, default=500, help="test inputs (default: 500)")
    parser.add_argument(
        "--events",
        type=int,
        default=DEFAULTS.event_inputs,
        help="inputs that events are counted on (default: 100)",
    )
    parser.add_argument("--input", type=int, help="the wrong answer to look into (default: the first)")
    parser.add_argument("--no-ranking", action="store_true", help="do without restoring layer by layer")
    parser.add_argument("--no-waves", action="store_true", help="do without the RTL")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="add what a results page needs to this JSON file"
    )
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--seed", type=int, default=0, help="of samples and random words (default: 0)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder (default: report/microscope/MODEL-CONFIG)"
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    for name, low, high in (
        ("count", 1, 10_000),
        ("events", 1, 10_000),
        ("threads", 1, 256),
        ("seed", 0, 2**31),
    ):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, not {value}")


def _folder(options: argparse.Namespace) -> Path:
    if options.output is not None:
        return options.output
    name = f"{Path(options.model).name}-{Path(options.config).name}".replace(":", "-")
    return ROOT / "report" / "microscope" / name


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, and write what was seen; 0, or 2 with one sentence where what was asked cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    settings = Settings(
        seed=options.seed,
        event_inputs=options.events,
        sum_inputs=DEFAULTS.sum_inputs,
        sum_outputs=DEFAULTS.sum_outputs,
        restore=not options.no_ranking,
        input=options.input,
        calibrated=options.calibrated,
    )
    try:
        _check(options)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        workload = find_workload(options.model, count=options.count, seed=options.seed)
        found = profile_workload(workload, options.config, settings=settings)
        given = sys.argv[1:] if arguments is None else arguments
        content = {"command": shlex.join(["python", "-m", "sim.microscope", *given])} | found.to_json()
        folder = _folder(options)
        place = None
        if found.finding is not None and not options.no_waves:
            place = add_waves(content, found.finding, folder)
        page = write_profile(content, folder)
        if options.results is not None:
            add_summary(content, options.results)
    except (ConfigError, DataError, ToolMissingError, UnreplacedProductError, OSError) as error:
        parser.error(str(error))
    except BuildError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    if found.finding is not None:
        print("\n".join(story(content)))
    if place is not None:
        print(
            f"waves: {place.waves}\nscope: {place.scope}\ncycle: {place.cycle}\nto see them: {place.command}"
        )
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
