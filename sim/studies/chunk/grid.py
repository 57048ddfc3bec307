"""The law against measurement over K, chunk and mantissa bits; and roundings against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from golden.accumulate import FIRST_WORDS
from golden.config import MacConfig
from sim.backends import find_backend
from sim.calibration.law import PlaceLosses, place_losses, walk_gain
from sim.calibration.walk import StepLaw, step_law
from sim.operands import quantize_operand
from sim.studies.chunk.operands import KINDS, Operands, accumulator, as_rows, judged, operands

__all__ = ["CHUNKS", "FORMATS", "GRID_COLUMNS", "chunks_of", "laws", "measure_law", "measure_roundings"]

SEED = 0

#: Short operands, whose products have few bits, and long ones.
FORMATS = ("e3m4", "e8m7")

LENGTHS = (16, 64, 256, 1024, 4096, 16384)
CHUNKS = tuple(2**n for n in range(2, 11))
MAN_BITS = tuple(range(4, 13))

#: K of the largest layers of ResNet-18, of which the first estimates were made.
ESTIMATED_LENGTH = 4608

GRID_COLUMNS = ("K", "M", "c", "gain", "noise", "deviation", "first", "place", "step", "noise_by_step")


def chunks_of(length: int) -> tuple[int, ...]:
    """Chunks that are looked at: none is longer than the sum."""
    return tuple(size for size in CHUNKS if size <= length)


def measure_law(quick: bool, report: Callable[[str], None]) -> dict:
    """Gain and noise of truncating accumulators, measured and by three laws."""
    lengths, man_bits = ((64, 256), (4, 7)) if quick else (LENGTHS, MAN_BITS)
    tables, zeros = {}, {}
    for kind in KINDS:
        for number in FORMATS if kind != "positive" else FORMATS[:1]:
            rows = []
            for length in lengths:
                data = operands(kind, number, length, SEED)
                zeros[kind] = data.products.zeros
                rows += [_grid_row(data, m, c) for m in man_bits for c in chunks_of(length)]
                report(f"{kind}, {number}, K = {length}")
            tables[f"{kind} {number}"] = as_rows(GRID_COLUMNS, rows)
    data = operands("normal", "e3m4", ESTIMATED_LENGTH, SEED)
    estimated = [_grid_row(data, 7, c) for c in ((16, 64, 128) if quick else CHUNKS)]
    return {
        "seed": SEED,
        "n": data.exact.numel(),
        "zeros": zeros,
        "grid": tables,
        "estimated": as_rows(GRID_COLUMNS, estimated),
    }


def _grid_row(data: Operands, man_bits: int, chunk: int) -> tuple:
    config = accumulator(man_bits, chunk, "rz", data.x_format, data.w_format)
    found = judged(find_backend("cpu").matmul(data.x, data.w, config), data.exact)
    first, place, step = laws(data, config)
    return (
        *(data.length, man_bits, chunk, found.gain, found.noise, found.deviation),
        *(first, place.gain, step.gain, step.noise),
    )


def laws(data: Operands, config: MacConfig) -> tuple[float, PlaceLosses, StepLaw]:
    """Gain in the first form, the law by place, and the law step by step."""
    known = data.products
    present = known.outputs[known.outputs != 0].abs()
    active = torch.full((data.length,), 1 - known.zeros)
    return (
        walk_gain(config.accumulator.format.man_bits, config.chunk_size, data.length, known.zeros),
        place_losses(
            config,
            data.length,
            active=active,
            product_ratio=float(present.mean() / present.square().mean().sqrt()),
        ),
        step_law(config, known, seed=SEED),
    )


ROUNDINGS = ("rz", "rne", "sr8", "sr2")

ROUNDING_COLUMNS = (
    *("K", "M", "c", "rounding", "gain", "noise", "error", "step", "noise_by_step"),
    *("tapered_gain", "tapered_noise"),
)


def measure_roundings(quick: bool, report: Callable[[str], None]) -> dict:
    """Gain and noise by rounding; toward zero also with weights over what is left of their places."""
    lengths, man_bits = ((256,), (4, 7)) if quick else ((256, 4096), (4, 5, 6, 7, 8, 10))
    tables = {}
    for kind in ("normal", "positive"):
        rows = []
        for length in lengths:
            data = operands(kind, "e8m7", length, SEED)
            rows += [row for m in man_bits for c in _some_chunks(length) for row in _by_rounding(data, m, c)]
            report(f"{kind}, K = {length}")
        tables[kind] = as_rows(ROUNDING_COLUMNS, rows)
    return {"seed": SEED, "n": data.exact.numel(), "format": "e8m7", "roundings": tables}


def _some_chunks(length: int) -> tuple[int, ...]:
    """The paper's, the root of the length, and no chunks at all."""
    return tuple(sorted({16, round(length**0.5), min(length, CHUNKS[-1])}))


def _by_rounding(data: Operands, man_bits: int, chunk: int) -> Iterator[tuple]:
    for rounding in ROUNDINGS:
        config = accumulator(man_bits, chunk, rounding, data.x_format, data.w_format)
        found = judged(find_backend("cpu").matmul(data.x, data.w, config, None, FIRST_WORDS), data.exact)
        law = step_law(config, data.products, seed=SEED)
        tapered = _tapered(data, config, law) if rounding == "rz" else ("-", "-")
        yield (
            *(data.length, man_bits, chunk, rounding, found.gain, found.noise, found.error),
            *(law.gain, law.noise, *tapered),
        )


def _tapered(data: Operands, config: MacConfig, law: StepLaw) -> tuple[float, float]:
    """Gain and noise with weights over the gains of their places, against the same weights times those."""
    gains = law.gains[:, None]
    w = quantize_operand((data.w / gains).float(), data.w_format, 1.0).double()
    got = find_backend("cpu").matmul(data.x, w, config)
    found = judged(got, data.x.double() @ (w * gains))
    return found.gain, found.noise
