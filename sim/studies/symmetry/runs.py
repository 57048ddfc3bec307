"""One training run of the study: a network, a dataflow, an accumulator; and several of them side by side."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from golden.config import MacConfig
from sim.data import digits_folds
from sim.inject import accumulate
from sim.orders import Orders, ascending
from sim.studies.symmetry.backends import ByColumn, SharedWords
from sim.studies.symmetry.dataflows import DATAFLOWS
from sim.studies.symmetry.networks import ConstNet, LeakyNet, filters
from sim.studies.symmetry.training import distinct, train

__all__ = ["ACCUMULATORS", "CHANNELS", "CLASSES", "PRODUCTS", "Accumulator", "Run", "in_parallel", "perform"]

CHANNELS, CLASSES = 8, 10
STRIDES = (2, 1)  #: Of ConstNet's blocks, and of LeakyNet's pairs.
RHO = 0.5
DROPOUT = 0.1
_RATES = {"ConstNet": 0.1, "LeakyNet": 0.02}
_BACKENDS = {"by-column": ByColumn(), "shared-words": SharedWords()}

#: The products of a step, and those of one kind of layer.
PRODUCTS = ("forward", "of_w", "of_x", "of_x of convolutions")

#: Steps whose correlation and count are kept.
_SHOWN = sorted({*range(1, 21), *range(20, 10_000, 10)})


@dataclass(frozen=True, kw_only=True)
class Accumulator:
    """The arithmetic of a run's sums, but for their chunks."""

    forward: str  #: The canonical name of a configuration without its chunks.
    backward: str

    def configs(self, chunk: int) -> tuple[MacConfig, MacConfig]:
        """Of the forward products and of the backward ones."""
        return MacConfig.parse(f"{self.forward}_c{chunk}"), MacConfig.parse(f"{self.backward}_c{chunk}")


def _float(man_bits: int, rounding: str, operands: tuple[str, str] = ("e5m10", "e5m10")) -> Accumulator:
    """Of 8 exponent bits, so that only the mantissa is short; operands forward and backward."""
    tail = f"p_e8m{man_bits}_{rounding}_a_e8m{man_bits}_{rounding}"
    forward, backward = operands
    return Accumulator(forward=f"{forward}_{forward}_{tail}", backward=f"{backward}_{backward}_{tail}")


def _fixed(bits: int, lsb: int, backward_lsb: int, overflow: str) -> Accumulator:
    """Toward zero. Gradients are small, so their sums have an lsb of their own."""
    names = [f"e5m10_e5m10_p_exact_a_int{bits}ln{-each}_rz_{overflow}" for each in (lsb, backward_lsb)]
    return Accumulator(forward=names[0], backward=names[1])


#: Name -> arithmetic, as the tables have it. Operands are of half precision, so that only sums are narrow.
ACCUMULATORS = {
    **{f"e8m{bits}": _float(bits, "rz") for bits in (4, 7, 10, 23)},
    "fixed20": _fixed(20, -12, -24, "sat"),
    "fixed24": _fixed(24, -12, -24, "sat"),
    "fixed24 wrap": _fixed(24, -12, -24, "wrap"),
    "e8m7 rne": _float(7, "rne"),
    "e8m7 sr8": _float(7, "sr8"),
    "e8m7 of FP8": _float(7, "rz", ("e3m4", "e5m2")),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run does."""

    network: str = "ConstNet"
    dataflow: str = "chunked"
    accumulator: str = "e8m7"  #: Of :data:`ACCUMULATORS`; or ``float32``, torch's own products.
    backward: str | None = None  #: Another accumulator for the backward products.
    backend: str = "by-column"
    only: str | None = None  #: The product that has the dataflow's order, of :data:`PRODUCTS`; None: all.
    dropout: str | None = None  #: ``elements``, or ``pixels``: of all channels at once.
    start: str = "alike"  #: ``random``: weights as torch draws them.
    steps: int
    batch: int = 64
    seed: int = 0


class _PixelDropout(nn.Module):
    """Drops pixels of all channels together."""

    def forward(self, x: Tensor) -> Tensor:
        return x * nn.functional.dropout(torch.ones_like(x[:, :1]), DROPOUT, self.training)


_DROPOUTS = {None: nn.Identity, "elements": lambda: nn.Dropout(DROPOUT), "pixels": _PixelDropout}


def _network(run: Run) -> nn.Module:
    torch.manual_seed(run.seed)
    sizes = dict(channels=CHANNELS, classes=CLASSES, strides=STRIDES)
    if run.network == "ConstNet":
        model = ConstNet(**sizes, dropout=_DROPOUTS[run.dropout]())
    else:
        model = LeakyNet(**sizes, rho=RHO)
    if run.start == "random":
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.reset_parameters()
    return model


def _orders(run: Run) -> Orders:
    order = DATAFLOWS[run.dataflow].order()
    if run.only is None:
        return Orders.of(order)
    ways = dict.fromkeys(("forward", "of_x", "of_w"), ascending)
    if run.only == "of_x of convolutions":
        # The classifier's gradients of its inputs are sums over the classes, a convolution's over filters.
        ways["of_x"] = lambda k, n: None if k == CLASSES else order(k, n)
    else:
        ways[run.only] = order
    return Orders(**ways)


def _arithmetic(run: Run) -> Callable[[int], AbstractContextManager]:
    if run.accumulator == "float32":
        return lambda step: nullcontext()
    chunk = DATAFLOWS[run.dataflow].chunk
    forward, backward = ACCUMULATORS[run.accumulator].configs(chunk)
    if run.backward is not None:
        _, backward = ACCUMULATORS[run.backward].configs(chunk)
    orders = _orders(run)
    return lambda step: accumulate(
        forward,
        gradient="identity",
        backward=backward,
        order=orders,
        backend=_BACKENDS[run.backend],
        seed=step,
    )


def perform(run: Run) -> dict:
    """Train, and say what became of the filters; JSON."""
    model = _network(run)
    rate = _RATES[run.network]
    data = digits_folds()[0]
    history = train(
        *(model, data, _arithmetic(run)), steps=run.steps, batch=run.batch, rate=rate, seed=run.seed
    )
    shown = [step for step in _SHOWN if step <= run.steps]
    return {
        **asdict(run),
        "rate": rate,
        "first_difference": history.first_difference,
        "distinct": history.distinct[-1],
        "most_distinct": max(history.distinct),
        "of_layers": {name: distinct(rows) for name, rows in filters(model).items()},
        "accuracy": history.accuracy,
        "images": len(history.correct),
        "correct": "".join("01"[each] for each in history.correct),
        "loss": sum(history.losses[-20:]) / len(history.losses[-20:]),
        "shown": {
            "steps": shown,
            "distinct": [history.distinct[step - 1] for step in shown],
            "correlation": [round(history.correlation[step - 1], 4) for step in shown],
        },
    }


def in_parallel(runs: Sequence[Run]) -> Iterator[dict]:
    """:func:`perform` of each, in their order, two at a time where there are two cores."""
    workers = min(2, os.cpu_count() or 1, len(runs))
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        yield from pool.map(perform, runs)
