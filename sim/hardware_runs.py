"""``python -m sim.hardware_runs``: networks on the simulated hardware, word by word against the kernels.

Every product of digits, Fashion-MNIST and one image of CIFAR-10 through ResNet-20 runs on the Verilated tile
and on backend cpu. Results are written after each network, and a network that the output has already, of the
same hardware and inputs, is not run again. A page is made of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from golden.catalog import find
from golden.config import ConfigError, MacConfig
from hw.command_line import Parser
from hw.files import write_files
from hw.tile import Tile
from hw.verilator_env import ToolMissingError, tool_versions
from hw.verilog import verilog_text
from sim.data import DataError
from sim.evaluate import Task, digits_task, evaluate, fashion_task
from sim.hardware_page import page
from sim.inject import accumulate
from sim.operands import LayerConfig
from sim.rtl import ProductRecord, RtlBackend, TileSize, explain, tile_config
from sim.zero_shot.benchmarks import ImageBenchmark
from sim.zero_shot.rows import Row

__all__ = ["Part", "main", "run_network"]

ROOT = Path(__file__).resolve().parent.parent

#: Training images of Fashion-MNIST's network: as in the report.
_FASHION_TRAIN = 20_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network with its plan and the images that pass through it."""

    model: nn.Module
    plan: Sequence[LayerConfig]
    images: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a run shows: one network, or some that share a test set."""

    description: str
    parts: list[Part]
    layers: list[str]  #: Kind of each product of a forward pass.


def _of_task(task: Task, config: MacConfig, layers: list[str]) -> Subject:
    plans = evaluate(task, config, shared=None).layers
    parts = [
        Part(model=network.model, plan=plan, images=network.images, labels=network.labels)
        for network, plan in zip(task.networks, plans, strict=True)
    ]
    return Subject(description=task.description, parts=parts, layers=layers)


def _digits(config: MacConfig, options) -> Subject:
    return _of_task(digits_task(seed=options.seed), config, ["linear"] * 3)


def _fashion(config: MacConfig, options) -> Subject:
    task = fashion_task(train=_FASHION_TRAIN, test=options.fashion, seed=options.seed)
    return _of_task(task, config, ["convolution"] * 2 + ["linear"] * 2)


def _resnet20(config: MacConfig, options) -> Subject:
    benchmark = ImageBenchmark(20, count=options.cifar, seed=options.seed)
    row = Row(label=config.name, group="named", config=config, calibrated=True)
    part = Part(
        model=benchmark.model,
        plan=benchmark.plan(row, "cpu"),
        images=torch.cat(benchmark.batches),
        labels=benchmark.labels,
    )
    layers = ["convolution"] * (len(part.plan) - 1) + ["linear"]
    return Subject(description=benchmark.description, parts=[part], layers=layers)


#: Network -> what it is, how many images of it are run, and where it comes from.
NETWORKS: dict[str, tuple[str, Callable[..., int], Callable[..., Subject]]] = {
    "digits": ("all digits", lambda options: 1797, _digits),
    "fashion": ("Fashion-MNIST", lambda options: options.fashion, _fashion),
    "resnet20": ("ResNet-20 on CIFAR-10", lambda options: options.cifar, _resnet20),
}


@torch.no_grad()
def run_network(
    subject: Subject, backend: RtlBackend, *, batch: int, report: Callable[[int], None]
) -> dict[str, object]:
    """Run the images through the networks on ``backend``, ``batch`` at a time, and say what came of it.

    ``report`` is told the number of images after each batch. Words that differ are counted, not raised.
    """
    right = right_on_cpu = count = 0
    layers: list[list[ProductRecord]] = [[] for _ in subject.layers]
    started = time.perf_counter()
    for part in subject.parts:
        for images, labels in zip(part.images.split(batch), part.labels.split(batch), strict=True):
            before = len(backend.record)
            with accumulate(part.plan, backend=backend):
                guesses = part.model(images).argmax(1)
            with accumulate(part.plan, backend="cpu"):
                right_on_cpu += int((part.model(images).argmax(1) == labels).sum())
            right += int((guesses == labels).sum())
            count += len(images)
            for place, record in zip(layers, backend.record[before:], strict=True):
                place.append(record)
            report(len(images))
    everything = [record for records in layers for record in records]
    return {
        "description": subject.description,
        "networks": len(subject.parts),
        "n": count,
        "right": right,
        "right_on_cpu": right_on_cpu,
        **_totals(everything),
        "wall_clock_seconds": time.perf_counter() - started,
        "layers": [
            {"kind": kind, "m": sum(each.m for each in records), "k": records[0].k, "n": records[0].n}
            | _totals(records)
            for kind, records in zip(subject.layers, layers, strict=True)
        ],
        "plans": [[layer.config.name for layer in part.plan] for part in subject.parts],
    }


def _totals(records: Sequence[ProductRecord]) -> dict[str, object]:
    macs = sum(each.m * each.k * each.n for each in records)
    slots = sum(each.cycles * each.macs for each in records)
    cycles, cpu_seconds = sum(each.cycles for each in records), sum(each.cpu_seconds for each in records)
    return {
        "products": len(records),
        "starts": sum(each.starts for each in records),
        "macs": macs,
        "cycles": cycles,
        "utilisation": macs / slots,
        "words_compared": sum(each.compared for each in records),
        "mismatches": sum(each.mismatches for each in records),
        "simulation_seconds": sum(each.seconds for each in records),
        "simulation_cpu_seconds": cpu_seconds,
        "cycles_per_cpu_second": cycles / cpu_seconds,
    }


def _made_by() -> dict[str, object]:
    packages = ("torch", "numpy", "amaranth", "pyosys", "scikit-learn", "pillow")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        **tool_versions(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
    }


def _finished(path: Path) -> dict[str, dict]:
    """Runs that the output has already, by network."""
    if not path.is_file():
        return {}
    try:
        return {run["network"]: run for run in json.loads(path.read_text())["runs"]}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a results file of this command; name another --output") from error


def _write(finished: dict[str, dict], options) -> None:
    runs = [finished[name] for name in NETWORKS if name in finished]
    results = {"command": "python -m sim.hardware_runs", "runs": runs}
    write_files({options.output.name: json.dumps(results, indent=1) + "\n"}, options.output.parent)
    write_files({options.page.name: page(results)}, options.page.parent)


def _parser() -> Parser:
    parser = Parser(prog="python -m sim.hardware_runs", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=NETWORKS,
        default=list(NETWORKS),
        metavar="NAME",
        help=f"of {', '.join(NETWORKS)} (default: all)",
    )
    parser.add_argument("--config", default="float12", help="a short or canonical name (default: float12)")
    parser.add_argument("--fashion", type=int, default=1000, help="Fashion-MNIST test images (default: 1000)")
    parser.add_argument("--cifar", type=int, default=1, help="CIFAR-10 test images (default: 1)")
    parser.add_argument("--batch", type=int, default=250, help="images at a time (default: 250)")
    parser.add_argument("--rows", type=int, default=16, help="of the array, at most (default: 16)")
    parser.add_argument("--cols", type=int, default=16, help="of the array (default: 16)")
    parser.add_argument("--stages", type=int, default=0, help="of a MAC (default: 0)")
    parser.add_argument("--depth", type=int, default=64, help="of the outer accumulators (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of training and sampling (default: 0)")
    kept = ROOT / "docs"
    parser.add_argument(
        "-o", "--output", type=Path, default=kept / "results" / "hardware-runs.json", metavar="FILE",
        help="results (default: docs/results/hardware-runs.json)",
    )  # fmt: skip
    parser.add_argument(
        "--page", type=Path, default=kept / "hardware-runs.md", metavar="FILE",
        help="Markdown made of them (default: docs/hardware-runs.md)",
    )  # fmt: skip
    return parser


def _check(options) -> None:
    for name, low, high in (
        ("fashion", 1, 10_000),
        ("cifar", 1, 10_000),
        ("batch", 1, 10_000),
        ("seed", 0, 2**31),
    ):
        value = getattr(options, name)
        if not low <= value <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, not {value}")


def _run(options) -> bool:
    """Whether every word was right."""
    config = find(options.config)
    size = TileSize(rows=options.rows, cols=options.cols, stages=options.stages, depth=options.depth)
    tile = tile_config(config, size)
    print(f"{tile.name}; its simulator takes a minute or more to build, once", file=sys.stderr, flush=True)
    digest = hashlib.sha256(verilog_text(Tile(tile), tile.name).encode()).hexdigest()
    finished = _finished(options.output)
    for name in options.networks:
        title, images, make = NETWORKS[name]
        asked = {
            "network": name,
            "title": title,
            "config": config.name,
            "tile": tile.name,
            "rows": tile.array.rows,
            "cols": tile.array.cols,
            "stages": tile.array.stages,
            "depth": tile.array.depth,
            "verilog_sha256": digest,
            "images": images(options),
            "batch": options.batch,
            "seed": options.seed,
        }
        if asked.items() <= finished.get(name, {}).items():
            print(f"{name}: done before", file=sys.stderr)
            continue
        backend = RtlBackend(size=size, compare=True)
        with tqdm(total=asked["images"], desc=title, unit="image", disable=not sys.stderr.isatty()) as bar:
            result = run_network(make(config, options), backend, batch=options.batch, report=bar.update)
        if backend.wrong is not None:
            print(explain(backend.wrong, size, trace="fst"), file=sys.stderr, flush=True)
        finished[name] = asked | result | {"made_by": _made_by()}
        _write(finished, options)
        print(
            f"{name}: {result['words_compared']} words, {result['mismatches']} differ",
            file=sys.stderr,
            flush=True,
        )
    _write(finished, options)
    return not any(run["mismatches"] for run in finished.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the networks; 0, 1 where a word differs, 2 with one sentence where what was asked cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _check(options)
        right = _run(options)
    except (ConfigError, DataError, ToolMissingError, OSError) as error:
        parser.error(str(error))
    print(options.page)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
