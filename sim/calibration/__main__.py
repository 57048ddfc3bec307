"""``python -m sim.calibration``: what biases, chunks, gains and tapered weights recover without training.

``run`` judges pretrained networks; ``layers`` compares the law with simulation, and its biases and chunks
with searches, layer by layer. Results are written after each row, and rows that the output has already are
not computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim.calibration.experiment import ACCUMULATORS, CalibrationRow, measure, rows
from sim.calibration.layers import LayerSetting, measure_layers, settings
from sim.calibration.steps import BIASES, STEPS
from sim.data import DataError
from sim.zero_shot.benchmarks import BENCHMARKS, Benchmark

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent.parent


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> Parser:
    steps = "\n".join(f"  {name:10} {what}" for name, what in {**BIASES, **STEPS}.items())
    parser = Parser(
        prog="python -m sim.calibration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"calibrations are biases and steps, as in rule+taper+gain:\n{steps}",
    )
    add = parser.add_argument
    add("action", choices=["run", "layers"])
    add(
        "--networks",
        type=_names,
        default=list(BENCHMARKS),
        metavar="NAME,...",
        help=f"of {', '.join(BENCHMARKS)} (default: all)",
    )
    add(
        "--accumulators",
        type=_names,
        default=list(ACCUMULATORS),
        metavar="FORMAT,...",
        help=f"(default: {','.join(ACCUMULATORS)})",
    )
    add(
        "--calibrations",
        type=_names,
        metavar="NAME,...",
        help="as below, + between the steps (default: those of the results page)",
    )
    add("--images", type=int, help="the first so many of 10 000 test images (default: all)")
    add("--pairs", type=int, help="the first so many of 1379 pairs of sentences (default: all)")
    add(
        "--device",
        default="cpu",
        choices=["cpu", "cuda"],
        help="where networks and their products are (default: cpu)",
    )
    add("--threads", type=int, help="of torch (default: its own choice)")
    add("--minutes", type=float, help="begin no row after so many minutes (default: no limit)")
    add("--seed", type=int, default=0, help="of sampling and resampling (default: 0)")
    add(
        "-o", "--output", type=Path, default=ROOT / "report" / "calibration.json", metavar="FILE",
        help="results (default: report/calibration.json)",
    )  # fmt: skip
    return parser


def _check(options: argparse.Namespace) -> None:
    for name, low, high in (
        *(("images", 1, 10_000), ("pairs", 2, 1379)),
        *(("threads", 1, 256), ("minutes", 0, 10_000), ("seed", 0, 2**31)),
    ):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, not {value:g}")
    for name in options.networks:
        if name not in BENCHMARKS:
            raise ConfigError(f"there is no network called {name!r}; use {', '.join(BENCHMARKS)}")
    list(rows(options.accumulators, options.calibrations))  # or a sentence that says why not


def _finished(path: Path) -> dict[str, dict]:
    """Rows that the output has already, by key."""
    if not path.is_file():
        return {}
    try:
        return {row["key"]: row for row in json.loads(path.read_text())["rows"]}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a results file of this command; name another --output") from error


class _Output:
    """The results file, written after each row; a bar on a terminal, a line for each row elsewhere."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.rows = options, _finished(options.output)
        self.deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes

    @property
    def late(self) -> bool:
        """Whether no row is to begin any more."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def add(self, label: str, steps: int, make: Callable[[Callable[[int], None]], dict]) -> None:
        """Make a row and write it."""
        with tqdm(total=steps, desc=label, leave=False, disable=not sys.stderr.isatty()) as bar:
            row = make(lambda _: bar.update())
        self.rows[row["key"]] = {"command": self._command(row), **row}
        text = json.dumps(
            {"command": "python -m sim.calibration", "rows": list(self.rows.values())}, indent=1
        )
        write_files({self.options.output.name: text + "\n"}, self.options.output.parent)
        print(f"{label}: {_summary(row)}", file=sys.stderr, flush=True)

    def _command(self, row: dict) -> str:
        """What makes this row."""
        o, network = self.options, row["network"]
        words = [
            "python -m sim.calibration",
            o.action,
            "--networks",
            network,
            "--accumulators",
            row["accumulator"],
        ]
        if row["kind"] == "network":
            count = "pairs" if network == "minilm" else "images"
            words += ["--calibrations", row["calibration"], f"--{count}", str(row["n"])]
        words += [f"--device {o.device}"] * (o.device != "cpu") + [f"--seed {o.seed}"] * (o.seed != 0)
        return " ".join(words)


def _summary(row: dict) -> str:
    if row["kind"] == "network":
        return (
            f"{row['metric']} {row['value']:.4f}, float32 {row['float32_value']:.4f}, {row['seconds']:.1f} s"
        )
    return f"{len(row['layers'])} layers"


def _benchmark(options: argparse.Namespace, name: str) -> Benchmark:
    benchmark = BENCHMARKS[name](options.images, options.pairs, options.seed)
    benchmark.to(options.device)
    return benchmark


def _run(options: argparse.Namespace, output: _Output) -> None:
    for name in options.networks:
        _run_network(_benchmark(options, name), options, output)


def _run_network(benchmark: Benchmark, options: argparse.Namespace, output: _Output) -> None:
    wanted = [
        row
        for row in rows(options.accumulators, options.calibrations)
        if row.key(benchmark.name, benchmark.n, options.seed, options.device) not in output.rows
    ]
    reference = benchmark.outputs(benchmark.batches) if wanted else []
    for place, row in enumerate(wanted, 1):
        if output.late:
            return

        def make(report: Callable[[int], None], row: CalibrationRow = row) -> dict:
            how = dict(backend=options.device, seed=options.seed, report=report)
            return {"kind": "network", **measure(benchmark, row, reference, **how)}

        output.add(f"{benchmark.name} {row.label} ({place} of {len(wanted)})", len(benchmark.batches), make)


def _layers(options: argparse.Namespace, output: _Output) -> None:
    for name in options.networks:
        wanted = [
            each for each in settings(options.accumulators) if each.key(name, options.seed) not in output.rows
        ]
        samples = _benchmark(options, name).samples if wanted else []
        for setting in wanted:
            if output.late:
                return

            def make(
                report: Callable[[int], None], setting: LayerSetting = setting, samples=samples, name=name
            ) -> dict:
                known = {"kind": "layers", "key": setting.key(name, options.seed), "network": name}
                return {**known, "seed": options.seed, **measure_layers(samples, setting, report=report)}

            output.add(f"{name} {setting.label}", len(samples), make)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 0, or 2 with one sentence where it cannot be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _check(options)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        output = _Output(options)
        (_run if options.action == "run" else _layers)(options, output)
    except (ConfigError, DataError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print(f"stopped; the rows so far are in {options.output}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
