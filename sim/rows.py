"""The rows of the report: which configurations, how well their networks do, how large their MACs are."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from tqdm import tqdm

from golden.catalog import BASELINE, find
from golden.config import FixedAccumulator, Silicon
from hw.cost.area import area
from hw.cost.cells import Library
from hw.cost.synth import golden_vectors
from hw.files import write_files
from sim.calibrate import at_offset, has_offsets, is_exact
from sim.data import BUILD
from sim.denoising import DenoisingTask, evaluate_denoising
from sim.evaluate import Task, digits_task, evaluate_all, fashion_task

__all__ = [
    "REFERENCE",
    "WIRED_BASELINE",
    "accuracies",
    "add_areas",
    "denoisings",
    "describe",
    "load_tasks",
    "rows_of",
]

ROOT = Path(__file__).resolve().parent.parent


def _names(template: str, *widths: int) -> list[str]:
    return [template.format(width) for width in widths]


#: Catalogue names of the report's rows, by kind and policy.
ROWS = [
    *_names("float{}", 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32),
    *_names("float{}-rne", 6, 8, 10, 12, 14, 16, 32),
    *_names("float{}-g0", 8, 10, 12, 14, 16),
    *_names("float{}-px", 8, 10, 12, 16, 32),
    "float12-g2",
    "float12-rne-g0",
    *_names("fixed{}", 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 24),
    *_names("fixed{}-rne", 8, 10, 12, 14, 16),
    *_names("fixed{}-wrap", 8, 10, 12, 14, 16, 20, 24),
    "exact",
    *_names("int{}", 6, 8, 10, 12, 14, 16, 18, 20, 24, 32),
    *_names("int{}-wrap", 8, 10, 12, 14, 16, 20, 24, 32),
]

#: Those that are also built with their offsets wired in.
WIRED_ROWS = [
    *_names("float{}", 6, 7, 8, 9, 10, 11, 12, 14, 16, 32),
    *_names("float{}-rne", 8, 10, 12, 16),
    *_names("float{}-px", 12, 32),
    "float12-g0",
    *_names("fixed{}", 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24),
    *_names("fixed{}-rne", 8, 10, 12),
    *_names("fixed{}-wrap", 10, 12, 16),
]

#: The row whose area is the budget in the report's first paragraph.
REFERENCE = "float12"
WIRED_BASELINE = f"{BASELINE} wired"


def rows_of(names: Sequence[str] | None) -> list[tuple[str, bool]]:
    """The rows of the report as (name, wired): all, or these and what they are compared with.

    A named configuration that has offsets gets a row with registers and one with them wired in.
    """
    if names is None:
        return [(name, False) for name in ROWS] + [(name, True) for name in WIRED_ROWS]
    wanted = [*names, REFERENCE, BASELINE]
    rows = [
        (name, wired) for wired in (False, True) for name in wanted if not wired or has_offsets(find(name))
    ]
    return list(dict.fromkeys(rows))


_tasks: list[Task] = []  # of a worker process


def load_tasks(fashion: int, train: int, seed: int) -> list[Task]:
    """Train, or find trained; Fashion-MNIST only if ``fashion`` images are asked for."""
    tasks = [digits_task(seed=seed)]
    if fashion:
        tasks.append(fashion_task(train=train, test=fashion, seed=seed))
    return tasks


def _start_worker(*arguments) -> None:
    torch.set_num_threads(1)  # a process a core instead
    _tasks[:] = load_tasks(*arguments)


def _kept_accuracy(name: str, wired: bool, path: Path) -> dict:
    """A row's accuracy, once: what a run that was interrupted had finished is not done again."""
    if not path.is_file():
        write_files({path.name: json.dumps(evaluate_all(_tasks, find(name), wired=wired))}, path.parent)
    return json.loads(path.read_text())


def accuracies(rows: Sequence[tuple[str, bool]], jobs: int, arguments: tuple) -> dict[tuple[str, bool], dict]:
    """Accuracy of every row (name, wired), on ``jobs`` processes; ``arguments`` as of :func:`load_tasks`."""
    code = _fingerprint(repr(arguments))
    paths = {row: BUILD / "report" / f"{_fingerprint(f'{code} {row}')}.json" for row in rows}
    with ProcessPoolExecutor(jobs, initializer=_start_worker, initargs=arguments) as pool:
        return _gathered({pool.submit(_kept_accuracy, *row, paths[row]): row for row in rows}, "accuracy")


def _gathered(futures: Mapping[Future, tuple[str, bool]], what: str) -> dict[tuple[str, bool], dict]:
    """What each row's work gave, shown as it comes."""
    done = progress(as_completed(futures), what, len(futures))
    return {futures[future]: future.result() for future in done}


_denoising: list[DenoisingTask] = []  # of a worker process


def _start_denoising(task: DenoisingTask) -> None:
    torch.set_num_threads(1)
    _denoising[:] = [task]


def _denoise(name: str, offset: int | None) -> dict:
    return evaluate_denoising(_denoising[0], find(name), shared=offset)


def denoisings(
    offsets: Mapping[tuple[str, bool], int | None], jobs: int, task: DenoisingTask
) -> dict[tuple[str, bool], dict]:
    """How well every row (name, wired) denoises, on ``jobs`` processes.

    ``offsets``: the product offset that is wired in, which one chip has for classifiers and denoisers alike,
    or None. Nothing is kept: a row takes a fraction of a second.
    """
    with ProcessPoolExecutor(jobs, initializer=_start_denoising, initargs=(task,)) as pool:
        futures = {pool.submit(_denoise, row[0], offset): row for row, offset in offsets.items()}
        return _gathered(futures, "denoising")


_ACCURACY_MODULES = (
    "backends",
    "calibrate",
    "data",
    "evaluate",
    "inject",
    "models",
    "operands",
    "statistics",
)


@cache
def _code() -> str:
    """The sources that accuracy depends on."""
    files = sorted((*ROOT.glob("golden/*.py"), *ROOT.glob("sim/kernels/*.py")))
    files += [ROOT / "sim" / f"{name}.py" for name in _ACCURACY_MODULES]
    return "".join(path.read_text() for path in files)


def _fingerprint(text: str) -> str:
    return hashlib.sha256(f"{_code()} {torch.__version__} {text}".encode()).hexdigest()[:24]


def silicon_of(name: str, offset: int | None) -> Silicon:
    """What is built for a row: offsets in registers, or wired in at a product offset."""
    config = find(name)
    return config.silicon if offset is None else at_offset(config, offset).hardwired


def describe(name: str, wired: bool) -> dict:
    """A row's configuration, field by field."""
    config = find(name)
    acc = config.accumulator
    fixed = isinstance(acc, FixedAccumulator)
    kind = "exact" if is_exact(config) else "int" if config.all_integer else "fixed" if fixed else "float"
    return {
        "label": f"{name} wired" if wired else name,
        "name": name,
        "config": config.name,
        "kind": kind,
        "operands": " x ".join(dict.fromkeys((config.x.silicon_name, config.w.silicon_name))),
        "bits": acc.format.code_bits,
        "rounding": acc.rounding.value,
        "overflow": acc.overflow.value if fixed else "sat",
        "alignment_bits": None if fixed else acc.alignment_bits,
        "product": "exact" if config.product is None else config.product.name,
        "offsets": "none" if not has_offsets(config) else "wired" if wired else "registers",
    }


def add_areas(rows: Sequence[dict], library: Library) -> None:
    """Give every row the area of its MAC, and that relative to the smallest float32-accumulator MAC."""
    silicons = {row["label"]: silicon_of(row["name"], row["offset"]) for row in rows}
    distinct = list(dict.fromkeys(silicons.values()))
    measured = area(
        distinct,
        library=library,
        stages=0,
        vectors=golden_vectors,
        progress=_status,
    )
    by_silicon = dict(zip(distinct, measured, strict=True))
    baseline = by_silicon[silicons[WIRED_BASELINE]].um2
    for row in rows:
        found = by_silicon[silicons[row["label"]]]
        row["area"] = asdict(found) | {"relative": found.um2 / baseline}


def _status(line: str) -> None:
    """Show where the work is: on one line of a terminal, line by line elsewhere."""
    before, after = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{before}area: {line}"[:120], end=after, file=sys.stderr, flush=True)


def progress(steps: Iterable, what: str, count: int) -> Iterator:
    """The steps, with a bar on a terminal and a line for each tenth elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(steps, desc=what, total=count)
        return
    for i, step in enumerate(steps, 1):
        yield step
        if i == count or i * 10 // count > (i - 1) * 10 // count:
            print(f"{what}: {i} of {count}", file=sys.stderr, flush=True)
