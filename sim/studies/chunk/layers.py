"""The laws on the operands of real layers: correlated products, uneven places, positive sums."""

from __future__ import annotations

from collections.abc import Callable

from golden.catalog import FP8
from golden.config import MAX_OPERAND_FIXED_BITS
from sim.backends import find_backend
from sim.calibrate import LayerSample, sample_layers
from sim.calibration.law import place_losses, walk_gain
from sim.calibration.walk import Products, step_law
from sim.data import DataError, digits_folds
from sim.models import mlp, trained
from sim.operands import fit_operands, quantize_operand
from sim.studies.chunk.operands import accumulator, as_rows, judged
from sim.zero_shot.benchmarks import BENCHMARKS

__all__ = ["LAYER_COLUMNS", "measure_layers"]

SEED = 0

LAYER_COLUMNS = (
    *("layer", "K", "zeros", "correlation", "M", "c", "gain", "noise"),
    *("first", "place", "step", "noise_by_step"),
)

#: Rows of a layer that are multiplied: enough, since a layer has tens of columns and more.
_ROWS = 64

#: Products of MiniLM that are looked at: the first and the last of its six blocks.
_MINILM_PRODUCTS = (*range(8), *range(40, 48))


def measure_layers(quick: bool, report: Callable[[str], None]) -> dict:
    """Gain and noise of each layer of some networks, by chunk and mantissa bits, measured and by the laws."""
    networks, missing = {}, {}
    for name, samples_of in _NETWORKS.items():
        if quick and name != "digits":
            continue
        try:
            samples = samples_of()
        except DataError as error:
            missing[name] = str(error)
            continue
        networks[name] = as_rows(LAYER_COLUMNS, _network_rows(samples, quick))
        report(f"{name}, {len(samples)} layers")
    return {"seed": SEED, "rows": _ROWS, "networks": networks, "missing": missing}


def _digits() -> dict[str, LayerSample]:
    fold = digits_folds()[0]
    samples = sample_layers(trained(mlp, fold, epochs=30, seed=SEED), fold.train_images[:256], seed=SEED)
    return {str(place): sample for place, sample in enumerate(samples)}


def _pretrained(name: str, places: tuple[int, ...] | None = None) -> dict[str, LayerSample]:
    samples = BENCHMARKS[name](2, 2, SEED).samples
    return {str(place): samples[place] for place in places or range(len(samples))}


_NETWORKS: dict[str, Callable[[], dict[str, LayerSample]]] = {
    "digits": _digits,
    "resnet20": lambda: _pretrained("resnet20"),
    "minilm": lambda: _pretrained("minilm", _MINILM_PRODUCTS),
}


def _network_rows(samples: dict[str, LayerSample], quick: bool) -> list[tuple]:
    man_bits, chunks = ((5, 7), (4, 16)) if quick else ((4, 5, 7, 10), (4, 16, 64, 256, 1024))
    return [row for name, sample in samples.items() for row in _layer_rows(name, sample, man_bits, chunks)]


def _layer_rows(
    name: str, sample: LayerSample, man_bits: tuple[int, ...], chunks: tuple[int, ...]
) -> list[tuple]:
    config = accumulator(7, 16, "rz", FP8, FP8)
    extents = (sample.x_largest, sample.w_largest)
    fitted = fit_operands(config, *extents, int_bits=MAX_OPERAND_FIXED_BITS, length=None).config
    x = quantize_operand(sample.x[..., :_ROWS, :], fitted.x, 1.0).double()
    w = quantize_operand(sample.w, fitted.w, 1.0).double()
    exact, products = x @ w, Products.of(x, w, seed=SEED)
    magnitudes = products.outputs[products.outputs != 0].abs()
    ratio = float(magnitudes.mean() / magnitudes.square().mean().sqrt())
    active = ((x != 0).double().mean(-2) * (w != 0).double().mean(-1)).reshape(-1, x.shape[-1]).mean(0)
    squares = x.square().flatten(0, -2).mean(0) * w.square().mean(-1).reshape(-1, x.shape[-1]).mean(0)
    zeros = 1 - float(active.mean())
    rows = []
    for m in man_bits:
        for c in [c for c in chunks if c < 2 * sample.length]:
            config = accumulator(m, c, "rz", fitted.x, fitted.w)
            found = judged(find_backend("cpu").matmul(x, w, config), exact)
            place = place_losses(config, sample.length, active=active, energy=squares, product_ratio=ratio)
            step = step_law(config, products, seed=SEED)
            rows.append(
                (
                    *(name, sample.length, zeros, products.correlation, m, c),
                    *(found.gain, found.noise, walk_gain(m, c, sample.length, zeros), place.gain, step.gain),
                    step.noise,
                )
            )
    return rows
