"""``python -m sim.zero_shot``: accuracy of pretrained networks on narrow accumulators, without retraining.

Every product of weights and of attention goes through the configuration of a row. Results are written after
each row, and rows that the output has already are not computed again. ``python -m sim.zero_shot.table``
makes tables of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim.backends import BACKENDS, find_backend
from sim.data import DataError
from sim.zero_shot.benchmarks import BENCHMARKS
from sim.zero_shot.measure import key, measure
from sim.zero_shot.rows import GROUPS, Row, find_rows

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent.parent


def _parser() -> Parser:
    parser = Parser(
        prog="python -m sim.zero_shot",
        resumes=True,
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="groups of rows:\n" + "\n".join(f"  {name:8} {what}" for name, what in GROUPS.items()),
    )
    parser.add_argument(
        "--networks",
        type=_names,
        default=list(BENCHMARKS),
        metavar="NAME,...",
        help=f"of {', '.join(BENCHMARKS)} (default: all)",
    )
    parser.add_argument(
        "--rows",
        type=_names,
        metavar="ROW,...",
        help="groups, labels of rows, or configurations by any name, which -calibrated may follow (default: "
        "all groups)",
    )
    parser.add_argument("--images", type=int, help="the first so many of 10 000 test images (default: all)")
    parser.add_argument(
        "--pairs", type=int, help="the first so many of 1379 pairs of sentences (default: all)"
    )
    parser.add_argument("--backend", default="cpu", help=f"{' or '.join(BACKENDS)} (default: cpu)")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--seed", type=int, default=0, help="of sampling and resampling (default: 0)")
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "report" / "zero-shot.json", metavar="FILE",
        help="results (default: report/zero-shot.json)",
    )  # fmt: skip
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _check(options: argparse.Namespace) -> None:
    for name, low, high in (
        ("images", 1, 10_000),
        ("pairs", 2, 1379),
        ("threads", 1, 256),
        ("seed", 0, 2**31),
    ):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, not {value}")
    for name in options.networks:
        if name not in BENCHMARKS:
            raise ConfigError(f"there is no network called {name!r}; use {', '.join(BENCHMARKS)}")
    find_backend(options.backend)


def _finished(path: Path) -> dict[str, dict]:
    """Rows that the output has already, by key."""
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text())["rows"]
        return {row["key"]: row for row in rows}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a results file of this command; name another --output") from error


class _Progress:
    """A bar of batches on a terminal; a line for each finished row elsewhere."""

    def __init__(self, network: str, count: int):
        self.network, self.count, self.place = network, count, 0

    def start(self, label: str, batches: int) -> None:
        self.place += 1
        self.what = f"{self.network} {label} ({self.place} of {self.count})"
        self.bar = tqdm(total=batches, desc=self.what, leave=False, disable=not sys.stderr.isatty())

    def batch(self, _done: int) -> None:
        self.bar.update()

    def end(self, row: dict) -> None:
        self.bar.close()
        value = f"{row['metric']} {row['value']:.4f}, float32 {row['float32_value']:.4f}"
        times = f"{row['seconds']:.1f} s, {row['ratio']:.1f} times float32"
        print(f"{self.what}: {value}; {times}", file=sys.stderr, flush=True)


def _run(options: argparse.Namespace, rows: Sequence[Row], finished: dict[str, dict]) -> None:
    for name in options.networks:
        benchmark = BENCHMARKS[name](options.images, options.pairs, options.seed)
        keys = [key(name, row, benchmark.n, options.seed, options.backend) for row in rows]
        wanted = [row for row, each in zip(rows, keys, strict=True) if each not in finished]
        if not wanted:
            continue
        reference = benchmark.outputs(benchmark.batches)
        progress = _Progress(name, len(wanted))
        for row in wanted:
            progress.start(row.label, len(benchmark.batches))
            result = measure(
                benchmark, row, reference, backend=options.backend, seed=options.seed, report=progress.batch
            )
            finished[result["key"]] = result
            _write(finished, options.output)
            progress.end(result)


def _write(finished: dict[str, dict], path: Path) -> None:
    text = json.dumps({"command": "python -m sim.zero_shot", "rows": list(finished.values())}, indent=1)
    write_files({path.name: text + "\n"}, path.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows; 0, or 2 with one sentence where what was asked cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _check(options)
        rows = find_rows(options.rows)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        _run(options, rows, _finished(options.output))
    except (ConfigError, DataError, OSError) as error:
        parser.error(str(error))
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
