"""``python -m sim.report``: area of the accumulator against accuracy of the network.

Writes results.json and results.csv, then one HTML page made of them. What is trained, mapped and
evaluated is kept under build/ by content, so that an interrupted report goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from golden.catalog import EXACT_LENGTH
from golden.config import ConfigError
from hw.command_line import Parser
from hw.cost.cells import Library, builtin_library, liberty_library
from hw.cost.check import NetlistError
from hw.cost.flow import SynthesisError
from hw.files import write_files
from hw.verilator_env import ToolMissingError, verilator_environment
from sim.answer import answer
from sim.data import DataError, fashion_mnist
from sim.denoising import REPORT_SIGMA, DenoisingTask, denoising_task
from sim.evaluate import CALIBRATION_IMAGES, EVENT_IMAGES, Task, packed
from sim.page import html_page
from sim.rows import (
    REFERENCE,
    WIRED_BASELINE,
    accuracies,
    add_areas,
    denoisings,
    describe,
    load_tasks,
    rows_of,
)

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent


NOTES = [
    "Accuracy: networks trained in float32 on the spot, batch norm folded, then every matrix product through "
    "the accumulator, bit for bit, without retraining. Float operands have the largest bias that fits each "
    "tensor, integers a scale. What a layer is calibrated by on training images is the offset of its "
    "accumulator, or with integers the bits that operands use (their lsb was not varied): the least error of "
    "its output, a common factor aside. One setting for all layers is tried too, and kept if it gets more "
    "training images right; wired rows have only that.",
    "Denoising: a regression beside the classifiers, trained and calibrated in the same way; the setting for "
    "all layers is kept if it has the smaller error on training images, and wired rows keep the offset that "
    "was wired in for the classifiers. PSNR is -10 log10 of the mean squared error over all pixels of all "
    "images, whose range is 1. Nothing gives back what truncation takes from every sum, which a classifier "
    "does not notice. Intervals are 95 % for the difference on the same images, by the delta method.",
    "Area: the generated Verilog of one MAC with its output register, no pipeline stage inside, mapped for "
    "least area; no wires, no clock tree, and without the adder of chunk sums that stands under each column. "
    "Each netlist passed the golden vectors whose number stands in its row before it was admitted. Relative "
    f"areas are against {WIRED_BASELINE}, the smallest float32 accumulator. The exact accumulator is built "
    f"for dot products of length {EXACT_LENGTH}; what each layer needs is in results.json.",
    "Intervals are 95 % for the difference of paired proportions (Newcombe 1998, method 10). The best of "
    "many rows is picked on the images that it is judged on, and intervals do not allow for that. Events "
    f"are shares of the multiply-accumulates of the first {EVENT_IMAGES} test images of each network; chunk "
    "overflow is of the additions of chunk sums.",
]


def results_of(
    rows: list[dict],
    tasks: Sequence[Task],
    denoising: DenoisingTask,
    library: Library,
    options: argparse.Namespace,
) -> dict:
    """The results file: rows, and how they were made."""
    packages = ("torch", "numpy", "amaranth", "pyosys", "verilator", "scikit-learn")
    return {
        "meta": {
            "title": "Narrow accumulators: area against accuracy",
            "provenance": {
                "command": "python -m sim.report",
                "seed": options.seed,
                **{f"images of {task.name}": f"{task.count}; {task.description}" for task in tasks},
                denoising.name: f"{denoising.count}; {denoising.description}",
                "calibration": f"{CALIBRATION_IMAGES} training images a network",
                "events": f"counted on the first {EVENT_IMAGES} test images of each network",
                "cell library": library.name,
                "versions": ", ".join(f"{name} {version(name)}" for name in packages),
                "python": platform.python_version(),
            },
            "notes": NOTES,
        },
        "reference": REFERENCE,
        "baseline": WIRED_BASELINE,
        "tasks": {
            task.name: {
                "n": task.count,
                "float32_correct": packed(torch.cat([network.correct for network in task.networks])),
            }
            for task in tasks
        },
        "denoising": denoising.to_json(),
        "rows": rows,
    }


def as_csv(rows: Sequence[dict], tasks: Sequence[str]) -> str:
    """One line a row: the numbers of the table, without the layers."""
    plain = (
        "label",
        "config",
        "kind",
        "operands",
        "bits",
        "rounding",
        "overflow",
        "alignment_bits",
        "product",
        "offsets",
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        *plain, "offset", "um2", "nand2", "relative", "vectors", "accuracy", "difference", "low", "high",
        "overflow_share", "underflow_share", "swamped_share", "chunk_overflow_share",
        *(
            f"{task} {field}"
            for task in tasks
            for field in ("n", "accuracy", "float32_accuracy", "low", "high")
        ),
        *(f"denoising {field}" for field in ("n", "psnr", "float32_psnr", "low", "high")),
    ])  # fmt: skip
    for row in rows:
        measured = row["area"]
        writer.writerow([
            *(row[field] for field in plain), row["offset"],
            *(measured[field] for field in ("um2", "nand2", "relative", "vectors")),
            row["accuracy"], row["difference"], *row["interval"],
            *(row["events"][event] for event in ("overflow", "underflow", "swamped", "chunk_overflow")),
            *(
                cell
                for result in (row["tasks"][task] for task in tasks)
                for cell in (result["n"], result["accuracy"], result["float32_accuracy"], *result["interval"])
            ),
            *(row["denoising"][field] for field in ("n", "psnr", "float32_psnr")),
            *row["denoising"]["interval"],
        ])  # fmt: skip
    return text.getvalue()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sim.report", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "report", help="folder (default: report)")
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="CONFIG",
        help="report these configurations only, and what they are compared with: short or canonical names",
    )
    parser.add_argument(
        "--liberty",
        action="append",
        type=Path,
        metavar="FILE",
        help="map to a real library: a Liberty file; once for each of its parts",
    )
    parser.add_argument("--fashion", type=int, default=1000, help="Fashion-MNIST test images (default: 1000)")
    parser.add_argument("--train", type=int, default=20000, help="its training images (default: 20000)")
    parser.add_argument(
        "--no-download", action="store_true", help="do without Fashion-MNIST if it is not here"
    )
    parser.add_argument("--seed", type=int, default=0, help="of training and sampling (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    return parser


def _check(options: argparse.Namespace) -> None:
    for name, low, high in (
        ("fashion", 0, 10_000),
        ("train", 1000, 60_000),
        ("jobs", 1, 256),
        ("seed", 0, 2**31),
    ):
        value = getattr(options, name)
        if not low <= value <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, not {value}")


def _fashion_images(options: argparse.Namespace) -> int:
    """Test images of Fashion-MNIST: those asked for, or none, said aloud, where it is not to be had."""
    if not options.fashion:
        return 0
    try:
        fashion_mnist(train=1, test=1, download=not options.no_download)
    except DataError as error:
        print(f"without Fashion-MNIST, on digits alone: {error}", file=sys.stderr)
        return 0
    return options.fashion


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the report; 0, or 2 with one sentence where what was asked cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _check(options)
        rows = rows_of(options.rows)
        library = liberty_library(options.liberty) if options.liberty else builtin_library()
        verilator_environment()  # a missing tool is better known before the work than after it
        options.output.mkdir(parents=True, exist_ok=True)
        options.fashion = _fashion_images(options)
        task_options = (options.fashion, options.train, options.seed)
        tasks = load_tasks(*task_options)  # trained here once; workers find it
        accuracy = accuracies(rows, options.jobs, task_options)
        denoising = denoising_task(sigma=REPORT_SIGMA, seed=options.seed)
        denoised = denoisings({row: accuracy[row]["offset"] for row in rows}, options.jobs, denoising)
        built = [describe(*row) | accuracy[row] | {"denoising": denoised[row]} for row in rows]
        add_areas(built, library)
    except (ConfigError, DataError, ToolMissingError, OSError) as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    results = results_of(built, tasks, denoising, library, options)
    write_files(
        {
            "results.json": json.dumps(results, indent=1) + "\n",
            "results.csv": as_csv(built, list(results["tasks"])),
            "index.html": html_page(results),
        },
        options.output,
    )
    said = answer(built, REFERENCE)
    print("\n".join([said.paragraph, *said.points]))
    print(f"\n{options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
