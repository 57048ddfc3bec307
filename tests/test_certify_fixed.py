"""Bounds of fixed-point accumulators: reached, never passed, and the least width that holds them."""

from itertools import product

import numpy as np
import pytest
import torch

from golden import arith
from golden.accumulate import events, matmul
from golden.config import MacConfig
from sim.certify import fixed
from sim.certify.layers import integer_range
from sim.certify.tightness import values_of
from sim.certify.witness import events_by_stage
from tests.certify_cases import layer_of


@pytest.mark.parametrize("x_range", [None, (0, 3), (-2, 1)])
@pytest.mark.parametrize(
    "name", ["int3_int3_p_exact_a_int12_floor_sat_c2", "uint2_int3_p_exact_a_int12_rz_wrap_c3"]
)
def test_bounds_are_reached_and_never_passed(name, x_range):
    """Every input of every order of four products: the extremes of all sums are the bounds."""
    config = MacConfig.parse(name)
    low, high = integer_range(config.x)
    if x_range is not None:
        low, high = max(low, x_range[0]), min(high, x_range[1])
    rows = [[3, -4, 1, 0], [-1, -2, -3, -4], [2, 2, 2, 3]]
    claim = fixed.claim(layer_of(name, rows), (low, high))
    for n, row in enumerate(rows):
        sums = [
            sum(x * w for x, w in zip(xs, row, strict=True)) for xs in product(range(low, high + 1), repeat=4)
        ]
        assert (claim["low"][n], claim["high"][n]) == (min(sums), max(sums))
        chunks = [
            sum(x * w for x, w in zip(xs, row[start : start + config.chunk_size], strict=False))
            for start in range(0, 4, config.chunk_size)
            for xs in product(range(low, high + 1), repeat=config.chunk_size)
        ]
        assert (claim["chunk_low"][n], claim["chunk_high"][n]) == (min(*chunks, 0), max(*chunks, 0))


CUTS = [
    "int4_int4_p_exact_a_int9l2_rz_sat_c2",
    "int4_int4_p_exact_a_int9l2_rne_sat_c3",
    "int4_int4_p_exact_a_int8l3_floor_wrap_c2_o_int10l4_rne_sat",
    "e2m1_e2m1_p_exact_a_int9ln3_rz_sat_c2",
]


@pytest.mark.parametrize("name", CUTS)
def test_cut_sums_reach_their_bounds_in_golden(name):
    """Sums of cut products, in wide accumulators of the same last bit; their error stays within its bound."""
    config = MacConfig.parse(name)
    generator = np.random.default_rng(3)
    limit = min(config.w.max_magnitude, 7)
    if config.all_integer:
        rows = generator.integers(-limit, limit + 1, size=(4, 5)).tolist()
    else:
        rows = [[3, -4, 6, 8, -12], [12, 12, -12, 4, 3]]
    layer = layer_of(name, rows)
    claim = fixed.claim(layer, integer_range(config.x))
    wide = name.replace("int9l", "int40l").replace("int8l", "int40l").replace("int10l", "int40l")
    free = fixed.claim(layer_of(wide, rows), integer_range(config.x))
    parsed, lsb = MacConfig.parse(wide), config.x.lsb_exponent
    low, high = integer_range(config.x)
    inputs = torch.from_numpy(generator.integers(low, high + 1, size=(4000, 5)))
    if not config.all_integer:
        values = values_of(config.x)
        inputs = (
            values[torch.from_numpy(generator.integers(len(values), size=(4000, 5)))] * 2.0**-lsb
        ).long()
    for n, row in enumerate(rows):
        up = [high if w > 0 else low for w in row]
        down = [low if w > 0 else high for w in row]
        x = torch.cat([inputs, torch.tensor([up, down])]).double() * 2.0**lsb
        w = torch.tensor(row).double()[:, None] * 2.0**config.w.lsb_exponent
        result = matmul(x, w, parsed)[:, 0]
        unit = 2.0**parsed.outer_accumulator.format.lsb
        assert (result.min() / unit, result.max() / unit) == (free["outer_low"][n], free["outer_high"][n])
        assert float((result - (x @ w)[:, 0]).abs().max()) <= claim["error"][n]


@pytest.mark.parametrize("overflow", ["sat", "wrap"])
def test_the_least_lossless_width_is_the_least(overflow):
    """At the claimed width golden sees no overflow at the extremes; one bit below it does."""
    rows = np.random.default_rng(0).integers(-128, 128, size=(6, 40)).tolist()
    name = f"int8_int8_p_exact_a_int30_floor_{overflow}_c16"
    claim = fixed.claim(layer_of(name, rows), (-128, 127))
    for n, row in enumerate(rows):
        ends = [
            [high if (w > 0) is up else low for w in row]
            for up in (True, False)
            for low, high in [(-128, 127)]
        ]
        for bits, happens in ((claim["widths"][n], False), (claim["widths"][n] - 1, True)):
            config = MacConfig.parse(name.replace("int30", f"int{bits}"))
            counted = events(torch.tensor(ends).double(), torch.tensor(row).double()[:, None], config)
            assert (counted.inner.overflow + counted.outer.overflow > 0) is happens


def test_widths_are_ordered_by_what_bounds_know():
    rows = np.random.default_rng(1).integers(-128, 128, size=(8, 64)).tolist()
    layer = layer_of("uint8_int8_p_exact_a_int30_floor_sat_c16", rows, (0, 100))
    claims = {
        name: fixed.claim(layer, each) for name, each in (("format", (0, 255)), ("calibrated", (0, 100)))
    }
    found = fixed.summary(layer, claims)
    assert found["chunks"] <= found["signs"] < found["l1"] <= found["types"]
    assert found["chunks_calibrated"] <= found["calibrated"] <= found["signs"]


def test_golden_and_the_emulated_steps_agree_on_events():
    """dot_events of golden is what witnesses are found with, stage by stage."""
    config = MacConfig.parse("int4_int4_p_exact_a_int6_floor_sat_c2")
    generator = np.random.default_rng(5)
    for _ in range(50):
        x, w = (generator.integers(0, 16, size=5).tolist() for _ in range(2))
        staged = events_by_stage(x, w, config)
        overflow, underflow = arith.dot_events(x, w, config)
        assert bool(overflow) == any(bool(staged[key]) for key in staged if key.endswith("overflow"))
        assert bool(underflow) == any(bool(staged[key]) for key in staged if key.endswith("underflow"))


def test_a_width_is_the_narrowest_that_holds_both_ends():
    for bits in range(2, 10):
        limit = 2 ** (bits - 1)
        assert fixed.width(-limit, limit - 1) == bits
        assert fixed.width(0, limit) == fixed.width(-limit - 1, 0) == bits + 1
