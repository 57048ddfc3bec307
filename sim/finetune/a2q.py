"""``python -m sim.finetune.a2q``: accumulator-aware integers and narrow accumulators, side by side.

``run`` trains and judges, ``area`` maps the MACs, ``merge`` brings in rows from another machine; all write
the same results file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from golden.config import ConfigError, MacConfig
from hw.command_line import Parser
from hw.files import write_files
from sim.backends import find_backend
from sim.data import BUILD, DataError
from sim.finetune.a2q_methods import METHODS, Method, Weights, find_method
from sim.finetune.a2q_page import EXACT_INTEGER, FLOAT32
from sim.finetune.a2q_train import Settings, key, run_one
from sim.finetune.a2q_weights import need_brevitas
from sim.finetune.images import cifar10

__all__ = ["main"]

RESULTS = "docs/results/a2q.json"

#: A run is not begun unless so many times the longest one so far would fit into the time left.
_MARGIN = 1.1

Task = tuple[Method, int, Settings]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sim.finetune.a2q", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train by each method and seed, and judge on the test images")
    run.add_argument("--methods", nargs="+", metavar="NAME", default=list(METHODS), help=", ".join(METHODS))
    run.add_argument("--seeds", type=_positive, default=3, metavar="N", help="0 to N - 1 (default 3)")
    run.add_argument("--epochs", type=_positive, default=20, metavar="N", help="default 20")
    run.add_argument("--rate", type=float, default=1e-3, help="Adam's, at first (default 0.001)")
    run.add_argument("--batch-size", type=_positive, default=250, metavar="N", help="default 250")
    run.add_argument("--train-images", type=_positive, default=15000, metavar="N", help="default: all 15 000")
    run.add_argument("--test-images", type=_positive, default=10000, metavar="N", help="default: all 10 000")
    run.add_argument(
        "--held-out", action="store_true", help="judge on the last training images instead of test images"
    )
    run.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    run.add_argument("--backend", help="computes narrow sums: cpu or cuda (default: as the device)")
    run.add_argument("--jobs", type=_positive, default=1, metavar="N", help="trainings at a time (default 1)")
    run.add_argument("--minutes", type=float, metavar="M", help="stop then; the same command goes on")
    run.add_argument(
        "--checkpoints", type=Path, default=BUILD / "finetune" / "a2q", help="default build/finetune/a2q"
    )
    run.add_argument("--keep", type=Path, metavar="DIR", help="keep the trained networks there")
    area = commands.add_parser("area", help="map the MAC of each accumulator for least area")
    merge = commands.add_parser("merge", help="add the rows of other results files that are not there yet")
    merge.add_argument("files", nargs="+", type=Path, metavar="FILE")
    for each in (run, area, merge):
        each.add_argument("-o", "--output", type=Path, default=Path(RESULTS), help=f"default {RESULTS}")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"rows": [], "areas": []}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path} is no results file ({error}); name another with -o") from error


def _write(path: Path, results: dict[str, Any]) -> None:
    write_files({path.name: json.dumps(results, indent=1) + "\n"}, path.parent)


def _tasks(options: argparse.Namespace) -> list[Task]:
    """Method by method, so that the first ones have all their seeds first."""
    settings = Settings(
        epochs=options.epochs,
        rate=options.rate,
        batch_size=options.batch_size,
        train_images=options.train_images,
        test_images=options.test_images,
        held_out=options.held_out,
        device=options.device,
        backend=options.backend or options.device.partition(":")[0],
    )
    methods = [find_method(name) for name in options.methods]
    if any(method.weights in (Weights.A2Q, Weights.A2Q_PLUS) for method in methods):
        need_brevitas()
    return [(method, seed, settings) for method in methods for seed in range(options.seeds)]


def _worker_starts() -> None:
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False  # which would round the pixels and the int8 weights' products


def _train(task: Task, checkpoints: Path, keep: Path | None, deadline: float) -> dict[str, Any] | None:
    method, seed, settings = task
    digest = hashlib.sha256(key(*task).encode()).hexdigest()
    name = f"{method.name}-{seed}-{digest[:12]}.pt"
    row = run_one(
        method,
        seed,
        settings,
        checkpoint=checkpoints / name,
        keep=None if keep is None else keep / name,
        stop=lambda: time.time() > deadline,
    )
    if row is not None:
        (checkpoints / name).unlink(missing_ok=True)
    return row


def _finished(tasks: Sequence[Task], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows as they come. Tasks are begun in order, as long as there is time; one that fails is reported."""
    deadline = time.time() + 60 * options.minutes if options.minutes else float("inf")
    waiting, running, longest = list(tasks), dict[Future, Task](), 0.0
    pool = ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), initializer=_worker_starts)
    with pool:
        while waiting or running:
            while waiting and len(running) < options.jobs and time.time() + _MARGIN * longest < deadline:
                task = waiting.pop(0)
                running[pool.submit(_train, task, options.checkpoints, options.keep, deadline)] = task
            if not running:
                return
            future = next(as_completed(running))
            method, seed, _ = running.pop(future)
            try:
                row = future.result()
            except Exception as error:  # of one training; the others go on
                tqdm.write(f"{method.name} seed {seed} failed: {error!r}", file=sys.stderr)
                continue
            if row is not None:
                longest = max(longest, row["seconds"])
                yield row


def _command(row: dict[str, Any]) -> str:
    """What gives the row, wherever it is written."""
    settings = row["settings"]
    names = ("epochs", "rate", "batch_size", "train_images", "test_images", "device")
    values = (f"--{name.replace('_', '-')} {settings[name]}" for name in names)
    held_out = ["--held-out"] if settings["held_out"] else []
    return " ".join(["python -m sim.finetune.a2q run", *values, *held_out])


def _run(options: argparse.Namespace) -> int:
    results = _read(options.output)
    done = {row["key"] for row in results["rows"]}
    tasks = [task for task in _tasks(options) if key(*task) not in done]
    if tasks:  # once, before many processes do
        find_backend(tasks[0][2].backend)
        cifar10(test=False), cifar10(test=True)
    count = 0
    with tqdm(total=len(tasks), desc="trainings", disable=None) as bar:
        for row in _finished(tasks, options):
            results = _read(options.output)
            results["rows"].append(row | {"command": _command(row)})
            _write(options.output, results)
            count += 1
            bar.update()
            tqdm.write(
                f"{row['method']:13} seed {row['seed']}: {100 * row['value']:.2f} % of {row['n']}, "
                f"{row['seconds']:.0f} s",
                file=sys.stderr,
            )
    if count < len(tasks):
        print(
            f"{len(tasks) - count} of {len(tasks)} trainings are not finished; the same command goes on",
            file=sys.stderr,
        )
        return 1
    return 0


def _merge(options: argparse.Namespace) -> int:
    results = _read(options.output)
    done = {row["key"] for row in results["rows"]}
    for path in options.files:
        if not path.is_file():
            raise ConfigError(f"there is no {path}; name a results file that run wrote")
        fresh = [row for row in _read(path)["rows"] if row["key"] not in done]
        results["rows"] += fresh
        done |= {row["key"] for row in fresh}
    _write(options.output, results)
    return 0


def _area(options: argparse.Namespace) -> int:
    """By the flow's own command line, which has the tools that training machines lack."""
    results = _read(options.output)
    configs = dict.fromkeys(each.config for each in METHODS.values() if each.config)
    configs |= dict.fromkeys([EXACT_INTEGER, FLOAT32])
    areas = []
    for hardwired in (False, True):
        names = [name for name in configs if MacConfig.parse(name).always_hardwired is not hardwired]
        command = ["-m", "hw.cost.synth", *(["--hardwired"] if hardwired else []), "--json", *names]
        done = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE, text=True)
        areas += [row | {"command": "python " + " ".join(command)} for row in json.loads(done.stdout)["macs"]]
    results["areas"] = areas
    _write(options.output, results)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status.

    2, with a sentence on stderr, if it cannot be done; 1 if trainings are left for the same command.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return {"run": _run, "area": _area, "merge": _merge}[options.command](options)
    except (ConfigError, DataError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
