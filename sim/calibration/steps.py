"""What is done to a network before it is judged, as text: ``rule+chunk+taper+gain+bias``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torch import Tensor, nn

from golden.catalog import CHUNK, FP8, float_accumulator
from golden.config import ConfigError, MacConfig, Rounding, parse_format
from sim.calibration.compensation import Compensated, compensate, scale_by_law, taper
from sim.calibration.rule import rule
from sim.operands import LayerConfig
from sim.zero_shot.benchmarks import Benchmark
from sim.zero_shot.rows import Row

__all__ = ["BIASES", "STEPS", "Calibration", "config_of"]

#: Where the biases of products and sums come from.
BIASES = {
    "named": "those that the configuration starts from, of which the paper's are e4's: 12 and 10",
    "search": "offsets tried layer by layer, b_acc = b_prod - log2(chunk) / 2",
    "rule": "of least error by the law, for each layer",
}

#: What follows, in this order.
STEPS = {
    "chunk": "one chunk for the network, by the law",
    "chunks": "each layer has a chunk of its own, by the law",
    "law-gain": "weights of a layer over its gain by the law",
    "taper": "weights of a place over what the law says is left of it",
    "layer-gain": "weights of a layer over its measured gain",
    "gain": "weights of an output channel over its measured gain",
    "bias": "mean of an output channel made that of the float network, by its bias",
}

_ROUNDINGS = {"rz": Rounding.TOWARD_ZERO, "rne": Rounding.NEAREST_EVEN}

_ALONE = (("chunk", "chunks"), ("law-gain", "taper"), ("layer-gain", "gain"))


def config_of(accumulator: str, rounding: str) -> MacConfig:
    """FP8 operands; products and sums in this format, ``e4m7``; chunks of 16, biases of the catalog."""
    if not re.fullmatch(r"e\d+m\d+", accumulator):
        raise ConfigError(
            f"{accumulator!r} is not an accumulator; write exponent and mantissa bits, as in e4m7"
        )
    number = parse_format(accumulator)
    product, acc = float_accumulator(number.exp_bits, number.man_bits, _ROUNDINGS[rounding], None)
    return MacConfig(x=FP8, w=FP8, product=product, accumulator=acc, chunk_size=CHUNK, outer=None)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Biases, and the steps that follow."""

    biases: str
    steps: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Calibration:
        """Of ``rule+chunk+gain``; steps are sorted."""
        biases, *steps = text.split("+")
        if biases not in BIASES:
            raise ConfigError(f"{text!r} does not begin with where biases come from: {', '.join(BIASES)}")
        for step in steps:
            if step not in STEPS:
                raise ConfigError(f"there is no step called {step!r}; use {', '.join(STEPS)}")
        for pair in _ALONE:
            if set(pair) <= set(steps):
                raise ConfigError(
                    f"{text!r} has both {pair[0]} and {pair[1]}, which do the same thing; use one"
                )
        if biases != "rule" and {"chunk", "chunks"} & set(steps):
            raise ConfigError(f"{text!r} takes the law's chunk without its biases; begin with rule")
        return cls(biases=biases, steps=tuple(step for step in STEPS if step in steps))

    @property
    def name(self) -> str:
        """As it is parsed."""
        return "+".join((self.biases, *self.steps))

    def plan(self, benchmark: Benchmark, config: MacConfig, backend: str) -> list[LayerConfig]:
        """Operand formats, biases and chunks."""
        if self.biases == "rule":
            chunk = next(
                ({"chunk": "network", "chunks": "layer"}[s] for s in self.steps if "chunk" in s), None
            )
            return rule(benchmark.samples, config, chunk=chunk, even="taper" in self.steps)
        row = Row(label="", group="named", config=config, calibrated=self.biases == "search")
        # Operands of a product whose length varies with the input are fitted like the others.
        return [replace(layer, length=None) for layer in benchmark.plan(row, backend)]

    def apply(self, benchmark: Benchmark, config: MacConfig, backend: str) -> Compensated:
        """The network and its plan."""
        model: nn.Module = benchmark.model
        inputs: list[Tensor] = benchmark.calibration_batches
        done = Compensated(
            model=model,
            layers=self.plan(benchmark, config, backend),
            gains=[None] * len(benchmark.samples),
            left=[],
        )
        for step, change in (("law-gain", scale_by_law), ("taper", taper)):
            if step in self.steps:
                done = change(done.model, done.layers, inputs[0], samples=benchmark.samples)
        gain = {"layer-gain": "layer", "gain": "channel"}
        measured = next((gain[step] for step in self.steps if step in gain), None)
        bias = "bias" in self.steps
        if measured is None and not bias:
            return done
        return compensate(
            done.model, done.layers, inputs, reference=model, gain=measured, bias=bias, backend=backend
        )
