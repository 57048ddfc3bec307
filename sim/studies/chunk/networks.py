"""Accuracy predicted from the law alone, against what bit-accurate runs of the same network gave.

A network runs in float32 on the operands that the accumulator would get; each product's result is
multiplied by the gain and gets the noise that the law has for that layer. Nothing is summed in a narrow
accumulator. What was measured comes from the results of sim.calibration and sim.zero_shot, image by image
where they keep that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.config import MacConfig
from sim.calibrate import LayerSample
from sim.calibration.walk import Products, StepLaw, step_law
from sim.inject import Product, ProductMode
from sim.operands import LayerConfig, quantize_operand
from sim.product_mode import caught
from sim.zero_shot.benchmarks import BENCHMARKS

__all__ = ["WAYS", "measure_network", "network_part"]

SEED = 0
RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"

#: How results are changed -> in words.
WAYS = {
    "operands": "operands rounded, sums exact",
    "gain": "one gain a layer",
    "noise": "one noise a layer",
    "both": "one gain and one noise a layer",
    "places": "a gain for each place of the sum, and the random part of the noise",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row of a results file: a network on an accumulator, bit for bit."""

    file: str
    label: str
    n: int
    value: float
    layers: list[LayerConfig]  #: One for each product.
    correct: np.ndarray | None  #: bool [n], where images were kept one by one.


def network_part(name: str) -> Callable[[bool, Callable[[str], None]], dict]:
    """The part of the study that predicts this network."""
    return partial(measure_network, name)


#: Network -> inputs that are looked at, and which rows: calibrations, and those of float32 operands.
_LOOKED_AT: dict[str, tuple[int, Sequence[tuple[str, str, str]], Sequence[str]]] = {
    "resnet20": (
        500,
        (
            *(("e4m7", "rz", "named"), ("e4m6", "rz", "named"), ("e4m5", "rz", "named")),
            *(("e4m5", "rz", "rule+chunks"), ("e4m5", "rne", "rule")),
        ),
        ("f32-e5m7", "f32-e5m6"),
    ),
    "resnet56": (
        250,
        (("e4m7", "rz", "named"), ("e4m5", "rz", "named"), ("e4m5", "rz", "rule+chunks")),
        (),
    ),
    "minilm": (500, (("e4m7", "rz", "named"), ("e4m5", "rz", "named")), ()),
}


@torch.no_grad()
def measure_network(name: str, quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Predicted and measured values of the metric, row by row."""
    count, calibrations, exact_operands = _LOOKED_AT[name]
    count = 100 if quick and name != "minilm" else count
    benchmark = BENCHMARKS[name](count, count, SEED)
    rows = _calibration_rows(name, calibrations[:1] if quick else calibrations)
    rows += _zero_shot_rows(name, () if quick else exact_operands)
    float32 = benchmark.outputs(benchmark.batches)
    table = []
    for row in rows:
        laws = _Laws(row.layers, benchmark.samples)
        values: dict[str, Any] = {}
        for way in WAYS:
            mode = _Predicted(row.layers, laws, way)
            with caught(mode):
                outputs = benchmark.outputs(benchmark.batches)
            values[way] = benchmark.score(outputs)
            if way in ("both", "places"):
                values[f"{way}_interval"] = benchmark.compared(outputs, float32)["interval"]
        same = row.correct is not None
        measured = float(row.correct[: benchmark.n].mean()) if same else row.value
        table.append(
            {
                "file": row.file,
                "row": row.label,
                "measured_n": benchmark.n if same else row.n,
                "measured": measured,
                "predicted": values,
                "gains": laws.gains,
                "noises": laws.noises,
            }
        )
        report(f"{row.label}: measured {measured:.3f}, predicted {values['places']:.3f}")
    return {
        "seed": SEED,
        "network": name,
        "metric": benchmark.metric,
        "n": benchmark.n,
        "float32": benchmark.score(float32),
        "rows": table,
    }


def _read(name: str) -> list[dict]:
    return json.loads((RESULTS / name).read_text())["rows"]


def _correct(row: dict) -> np.ndarray | None:
    if "correct" not in row:
        return None
    return np.unpackbits(np.frombuffer(bytes.fromhex(row["correct"]), np.uint8))[: row["n"]].astype(bool)


def _calibration_rows(name: str, wanted: Sequence[tuple[str, str, str]]) -> list[Measured]:
    rows = []
    for row in _read("calibration.json"):
        known = row.get("network"), (row.get("accumulator"), row.get("rounding"), row.get("calibration"))
        if row["kind"] == "network" and known[0] == name and known[1] in wanted:
            plan = [_layer(MacConfig.parse(each)) for each in row["layers"]]
            label = f"{row['accumulator']} {row['rounding']}, {row['calibration']}"
            rows.append(
                Measured(
                    file="calibration.json",
                    label=label,
                    n=row["n"],
                    value=row["value"],
                    layers=plan,
                    correct=_correct(row),
                )
            )
    return sorted(rows, key=lambda row: (-row.n, row.label))


def _zero_shot_rows(name: str, wanted: Sequence[str]) -> list[Measured]:
    return [
        Measured(
            file="zero-shot.json",
            label=row["label"],
            n=row["n"],
            value=row["value"],
            layers=[_layer(MacConfig.parse(row["config"]))],
            correct=_correct(row),
        )
        for row in _read("zero-shot.json")
        if row["network"] == name and row["label"] in wanted
    ]


def _layer(config: MacConfig) -> LayerConfig:
    return LayerConfig(config=config, x_scale=1.0, w_scale=1.0, length=None)


class _Laws:
    """The law of each product of a forward pass, and of other lengths of it where those vary."""

    def __init__(self, plan: Sequence[LayerConfig], samples: Sequence[LayerSample]):
        self._plan = [plan[i % len(plan)] for i in range(len(samples))]
        self._samples, self._known = samples, {}
        own = [self.of(i, sample.length) for i, sample in enumerate(samples)]
        self.gains = [round(law.gain, 5) for law in own]
        self.noises = [float(f"{law.noise:.4g}") for law in own]

    def of(self, place: int, length: int) -> StepLaw:
        """Of the product with this number, summing so many terms."""
        if (place, length) not in self._known:
            config, sample = self._plan[place].config, self._samples[place]
            x, w = (
                quantize_operand(each, number, 1.0)
                for each, number in ((sample.x, config.x), (sample.w, config.w))
            )
            # A sum of another length is looked at as one that repeats, or leaves out, terms.
            terms = torch.arange(length) % sample.length
            products = Products.of(x[..., terms], w[..., terms, :], seed=SEED)
            self._known[place, length] = step_law(config, products, seed=SEED)
        return self._known[place, length]


class _Predicted(ProductMode):
    """Products in float of rounded operands, changed as the law has it."""

    def __init__(self, plan: Sequence[LayerConfig], laws: _Laws, way: str):
        super().__init__(strict=True)
        self.plan, self.laws, self.way = plan, laws, way
        self.count, self.products = 0, len(laws.gains)
        self.generator = torch.Generator().manual_seed(SEED)

    def compute(self, product: Product) -> Tensor:
        place = self.count % self.products
        self.count += 1
        config = self.plan[place % len(self.plan)].config
        law = self.laws.of(place, product.length)
        x = quantize_operand(product.x, config.x, 1.0).float()
        w = quantize_operand(product.w, config.w, 1.0).float()
        gain, noise = law.gain, {"noise": law.noise, "both": law.noise, "places": law.random}.get(self.way, 0)
        if self.way == "places":
            gains = law.gains.float()
            w = w * (gains[:, None] if product.geometry is None else gains.reshape(w.shape[1:]))
        elif self.way in ("gain", "both"):
            w = gain * w
        result = _product(x, w, product)
        return result + self._noise(x, w, product, noise * result.square().mean()) if noise else result

    def _noise(self, x: Tensor, w: Tensor, product: Product, total: Tensor) -> Tensor:
        """Normal, of this mean energy over outputs; an output's goes with the energy of its products."""
        energy = _product(x.square(), w.square(), product)
        scale = torch.sqrt(total * energy / energy.mean().clamp(min=1e-30))
        return scale * torch.randn(energy.shape, generator=self.generator)


def _product(x: Tensor, w: Tensor, product: Product) -> Tensor:
    geometry = product.geometry
    if geometry is None:
        return x @ w
    return torch.conv2d(x, w, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
