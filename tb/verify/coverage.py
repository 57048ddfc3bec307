"""Method ``coverage``: which of the things that can happen do happen in what the testbenches run."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np

from golden.arith import add, addend_of, chunks, fmaq, multiply, word_of
from golden.catalog import find
from golden.config import ArrayConfig, MacConfig, Offsets
from golden.datapath import with_offsets
from golden.random_words import Stage
from golden.rounding import Unpacked
from golden.stimulus import MacVectors, mac_vectors
from hw.array import SystolicArray
from tb import test_array, test_mac
from tb.array_jobs import Job, Shape, random_job
from tb.verify.aig import Aig
from tb.verify.benches import ArrayBench, array_benches, mac_benches, rtlil_of
from tb.verify.machine import Machine
from tb.verify.outer_vectors import OuterVectors, outer_events, outer_vectors
from tb.verify.outer_vectors import difference as rtl_difference
from tb.verify.policy_events import EVENTS, Exact, add_events, quantize_events
from tb.verify.port_events import PORT_EVENTS, PortWatch
from tb.verify.rows import ARITHMETIC, Outcome, Row, Task, python_versions, sources

__all__ = ["METHODS", "mac_counts", "outer_counts", "rows"]

METHODS = {
    "coverage": "What can happen in a step, and how often it does in the stimuli of the testbenches. For "
    "each configuration of tb/test_mac.py its vectors are followed through the product "
    "quantizer and the addition, for each of tb/test_array.py its jobs through the addition "
    "of chunk sums, on Python integers; for that addition there are directed vectors besides,"
    " on which its RTL is compared with golden. Every event that more vectors or jobs of "
    "other seeds find has to be there. On small arrays the ports are watched in every cycle. "
    "The list: "
    + "; ".join(f"*{name}*, {meaning}" for name, meaning in {**EVENTS, **PORT_EVENTS}.items())
    + ".",
}

_VERSION = "1"  # of the method
_SEARCH = 1 << 13  # vectors that say what can happen
_SEARCH_SEED = 99
_DIRECTED = 1 << 12  # vectors for the adder of chunk sums


def _settings(config: MacConfig, vectors: MacVectors) -> Iterator[tuple[MacConfig, slice]]:
    """The configuration at each setting of the offsets in turn, and its vectors."""
    acc_offset = np.zeros_like(vectors.x) if vectors.acc_offset is None else vectors.acc_offset
    change = (np.diff(vectors.product_offset) != 0) | (np.diff(acc_offset) != 0)
    for start, stop in pairwise([0, *(np.flatnonzero(change) + 1).tolist(), len(vectors)]):
        acc = None if config.product is None else int(acc_offset[start])
        offsets = Offsets(product=int(vectors.product_offset[start]), acc=acc, outer=0)
        yield with_offsets(config, offsets), slice(start, stop)


def _numbers(number: Unpacked, count: int) -> list[Exact]:
    columns = (np.broadcast_to(np.asarray(field), count).tolist() for field in number)
    return [Exact.of(Unpacked(*fields)) for fields in zip(*columns, strict=True)]


def mac_counts(config: MacConfig, vectors: MacVectors) -> Counter[str]:
    """How many of the vectors have each event, of product and of sum."""
    counts: Counter[str] = Counter()
    for setting, part in _settings(config, vectors):
        x, w, acc, result = (getattr(vectors, name)[part] for name in ("x", "w", "acc", "result"))
        words = [
            np.zeros_like(x) if (word := getattr(vectors, name)) is None else word[part]
            for name in ("product_word", "acc_word")
        ]
        addend = addend_of(x, w, setting, words[0])
        alone = add(np.zeros_like(acc), addend, setting.accumulator, words[1])
        columns = [acc.tolist(), words[1].tolist(), result.tolist(), alone.tolist()]
        for exact, *rest in zip(_numbers(addend, len(x)), *columns, strict=True):
            before, word, after, without = rest
            found = set(add_events(before, exact, setting.accumulator, word, after, without))
            counts.update(f"inner {name}" for name in found)
        if setting.product is not None:
            products = _numbers(multiply(x, w, setting), len(x))
            for exact, word in zip(products, words[0].tolist(), strict=True):
                found = set(quantize_events(exact, setting.product, word))
                counts.update(f"product {name}" for name in found)
    return counts


def outer_counts(jobs: list[Job]) -> Counter[str]:
    """How many additions of chunk sums have each event, and what kinds of jobs there are."""
    counts: Counter[str] = Counter()
    for job in jobs:
        config, (x, w, _, words) = job.config, job.steps
        shape, out = (len(job.x), job.w.shape[1]), np.zeros((len(job.x), job.w.shape[1]), dtype=np.int64)
        k, rows = job.x.shape[1], job.shape.rows
        for chunk, indices in enumerate(chunks(k, config.chunk_size)):
            acc = np.zeros(shape, dtype=np.int64)
            for i in indices:
                product_word = word_of(words, Stage.PRODUCT, config.product, i)
                acc_word = word_of(words, Stage.INNER, config.accumulator, i)
                acc = fmaq(acc, x[i], w[i], config, product_word, acc_word)  # [m, n]
            word = word_of(words, Stage.OUTER, config.outer_accumulator, chunk)
            if word is not None:
                word = np.broadcast_to(np.asarray(word), shape).ravel()
            vectors = OuterVectors(config, out.ravel(), acc.ravel(), word)
            counts += outer_events(vectors)
            out = vectors.result.reshape(shape)
        counts["job of one chunk" if k <= config.chunk_size else "job of several chunks"] += 1
        counts["short last chunk"] += k % config.chunk_size > 0
        counts["short last pass"] += k % rows > 0
        counts["job of one row" if shape[0] == 1 else "job of several rows"] += 1
        counts["job of all rows"] += shape[0] == job.shape.depth
    return +counts


@dataclass(frozen=True)
class _Vectors:
    """The lanes of tb/test_mac.py of one configuration."""

    config: MacConfig
    hardwired: bool
    seeds: tuple[int, ...]

    @property
    def subject(self) -> str:
        return self.config.name + (" wired" if self.hardwired else "")

    def _counts(self, count: int, seed: int) -> Counter[str]:
        return mac_counts(self.config, mac_vectors(self.config, count, seed, hardwired=self.hardwired))

    def run(self, task: Task) -> Outcome:
        hit: Counter[str] = Counter()
        for seed in self.seeds:
            hit += self._counts(test_mac.COUNT, seed)
        task.report(0.3)
        share = max(1 / 8, min(1.0, task.share))
        return _outcome(self.subject, hit, self._counts(int(_SEARCH * share), _SEARCH_SEED))


@dataclass(frozen=True)
class _Jobs:
    """An array of tb/test_array.py, and its jobs in `every_result_matches_golden`."""

    index: int

    @property
    def subject(self) -> str:
        name, hardwired, (rows, cols, stages, depth), events = test_array.ARRAYS[self.index]
        wired, ev = " wired" if hardwired else "", " events" if events else ""
        return f"{name}{wired} r{rows}x{cols} s{stages} d{depth}{ev}"

    def run(self, task: Task) -> Outcome:
        jobs = []
        for send in (0.0, 0.5):
            for take in (0.0, 0.6):
                rng = Random(f"{test_array.SEED} {send} {take}")
                lanes = [[random_job(s, rng) for _ in range(test_array.JOBS)] for s in _shapes()]
                jobs += lanes[self.index]
        hit = outer_counts(jobs)
        task.report(0.4)
        shape = _shape(self.index)
        silicon, config = shape.array.silicon, MacConfig.parse(shape.config)
        share = max(1 / 8, min(1.0, task.share))
        parts = [
            list(outer_vectors(config, int(share * count), seed, hardwired=silicon.hardwired))
            for count, seed in ((_DIRECTED, test_array.SEED), (_SEARCH, _SEARCH_SEED))
        ]
        directed, others = (sum(map(outer_events, each), Counter()) for each in parts)
        rng = Random(_SEARCH_SEED)
        others += outer_counts([random_job(shape, rng) for _ in range(int(share * len(jobs)))])
        task.report(0.8)
        if (difference := rtl_difference(silicon, parts[0])) is not None:
            return Outcome(compared=1, differences=1, details={"first_difference": difference})
        return _outcome(self.subject, hit + directed, others)


def _shapes() -> list[Shape]:
    return [_shape(i) for i in range(len(test_array.ARRAYS))]


def _shape(index: int) -> Shape:
    if index not in _known_shapes:
        name, hardwired, (rows, cols, stages, depth), events = test_array.ARRAYS[index]
        mac = find(name)
        silicon = mac.hardwired if hardwired else mac.silicon
        array = SystolicArray(
            ArrayConfig(silicon=silicon, rows=rows, cols=cols, stages=stages, depth=depth, events=events)
        )
        array._MustUse__silence = True  # it is not to be built, and Amaranth would warn of that
        _known_shapes[index] = test_array.describe(mac, array)
    return _known_shapes[index]


_known_shapes: dict[int, Shape] = {}


@dataclass(frozen=True)
class _Ports:
    """A small array under the testbench's stimuli, its ports watched."""

    bench: ArrayBench

    def run(self, task: Task) -> Outcome:
        design = rtlil_of(self.bench.build(importlib.import_module))
        task.report(0.3)
        machine = Machine(Aig.of(design, "top", language="rtlil", hidden=True))
        watch = PortWatch(self.bench)
        difference = self.bench.difference(machine, watch)
        outcome = _outcome(self.bench.config.name, watch.counts, dict.fromkeys(watch.possible, 1))
        if difference is None:
            return outcome
        return Outcome(compared=1, differences=1, details={"first_difference": difference})


def _outcome(subject: str, hit: Counter[str], possible: dict[str, int]) -> Outcome:
    missing = [name for name in possible if not hit[name]]
    details: dict = {"hit": dict(sorted(hit.items())), "missing": missing}
    if missing:
        details["first_difference"] = f"{subject}: the testbench never has: {', '.join(missing)}"
    return Outcome(compared=len(hit.keys() | possible.keys()), differences=len(missing), details=details)


_FILES = (
    *(f"tb/{name}.py" for name in ("test_mac", "test_array", "array_jobs")),
    *(
        f"tb/verify/{name}.py"
        for name in ("coverage", "policy_events", "port_events", "outer_vectors", "benches")
    ),
    *("golden/stimulus.py", "golden/datapath.py", *ARITHMETIC),
)


def rows() -> list[Row]:
    by_mac: dict[tuple[str, bool], list[int]] = {}
    for bench in mac_benches():
        by_mac.setdefault((bench.config, bench.silicon.hardwired), []).append(bench.seed)
    macs = [
        _Vectors(MacConfig.parse(name), hardwired, tuple(seeds))
        for (name, hardwired), seeds in by_mac.items()
    ]
    found = [_row(each.subject, "vectors of the MAC testbench", each.run) for each in macs]
    jobs = [_Jobs(i) for i in range(len(test_array.ARRAYS))]
    found += [_row(each.subject, "jobs of the array testbench", each.run) for each in jobs]
    ports = [(bench.config.name, _Ports(bench)) for bench in array_benches()]
    found += [_row(name, "cycles at the ports of a small array", each.run) for name, each in ports]
    return found


def _row(subject: str, what: str, run: Callable[[Task], Outcome]) -> Row:
    return Row(
        method="coverage",
        subject=subject,
        what=f"events of policies, in {what}",
        depends=lambda: _VERSION + sources(_FILES),
        run=run,
        versions=lambda: python_versions("numpy"),
        seconds=10,
        divides=True,
    )
