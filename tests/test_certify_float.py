"""Certificates of float accumulators: bounds and exclusions, on every input of small formats."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from golden.codes import encode
from golden.config import MacConfig
from sim.certify.floating import ErrorModel, claim
from sim.certify.layers import Layer
from sim.certify.tightness import climbed, exhaustive, one_channel, ratios, values_of
from sim.certify.witness import events_by_stage, witnesses
from sim.operands import LayerConfig

#: Every rounding, guard bits or none, subnormals, products rounded or exact, outer accumulators of their own.
SMALL = [
    "e2m1_e2m1_p_exact_a_e4m3b6_rz_c2",
    "e2m1_e2m1_p_exact_a_e4m3b6_rne_c2",
    "e2m1_e2m1_p_e4m2b6_rz_a_e4m2b6_rz_g1_c4",
    "e2m1_e2m1_p_e4m2b6_rne_a_e4m2b6_rne_g0_c2",
    "e2m1_e2m1_p_e3m2b3_rz_a_e4m1b6_rz_g0_c3_o_e4m3b6_rne",
    "e2m1s_e2m1s_p_e3m2sb2_rne_a_e4m3sb4_rne_c2",
    "e2m1_e2m1_p_exact_a_e4m1b6_rz_g0_c4",
    "e2m1_e2m1_p_exact_a_e4m1b6_rne_g2_c2",
    "e2m1s_e2m1_p_exact_a_e4m2sb5_rz_g1_c2",
    "e2m1_e2m1_p_exact_a_e3m2b1_rz_c2",
    "int3_int3_p_exact_a_e4m1b3_rne_c2",
    "uint2_e2m1_p_e4m2b4_rz_a_e4m2b4_rz_c2",
]


def all_values(number):
    if hasattr(number, "exp_bits"):
        return values_of(number)
    return torch.arange(number.min_integer, number.max_integer + 1).double()


def weights_of(config, length, seed):
    of_w = all_values(config.w)
    return of_w[torch.from_numpy(np.random.default_rng(seed).integers(len(of_w), size=length))]


@pytest.mark.parametrize("name", SMALL)
def test_no_error_is_above_its_bound(name):
    """Every input of sums of four: and some error comes near enough for the bound to say something."""
    config, largest = MacConfig.parse(name), 0.0
    x = torch.cartesian_prod(*[all_values(config.x)] * 4)
    for seed in range(4):
        largest = max(largest, float(ratios(config, x, weights_of(config, 4, seed)).max()))
    assert 0.04 < largest <= 1


@pytest.mark.parametrize(
    "family",
    [
        "e2m1_e2m1_p_exact_a_e3m2b{}_rz_c2",
        "e2m1_e2m1_p_e3m2b{}_rne_a_e3m2b{}_rne_g1_c3",
        "e2m1s_e2m1s_p_exact_a_e3m2sb{}_rne_c2",
        "e2m1_e2m1_p_exact_a_e4m1b{}_rz_g0_c2_o_e3m3b{}_rz",
        "int3_int3_p_exact_a_e3m1b{}_rz_c2",
    ],
)
def test_what_is_excluded_never_happens(family):
    """Over accumulators of many ranges, every input of three products; in another order where claimed."""
    excluded, seen_at_all = 0, 0
    for bias in range(0, 8):
        config = MacConfig.parse(family.format(bias - 3, bias - 3).replace("b-", "bn"))
        values = all_values(config.x)
        codes = [encode(column, config.x) for column in torch.cartesian_prod(*[values] * 3).t()]
        ends = tuple(int(values[i] * 2.0**-config.x.lsb_exponent) for i in (0, -1))
        for seed in range(2):
            weights = weights_of(config, 3, seed)
            possible = set(claim(one_channel(config, weights), ends)["possible"])
            seen = happening(codes, weights, config, [0, 1, 2])
            assert seen <= possible
            excluded += len({"inner overflow", "outer overflow", "inner underflow"} - possible)
            seen_at_all += len(seen)
            if "any order" not in possible:
                assert not {"inner overflow", "outer overflow"} & happening(codes, weights, config, [2, 0, 1])
    assert excluded > 0 and seen_at_all > 0


def happening(codes, weights, config, order):
    """What happens for some input, the products taken in this order."""
    w = encode(weights, config.w).tolist()
    found = events_by_stage([codes[k] for k in order], [w[k] for k in order], config)
    return {event for event, hits in found.items() if np.any(np.asarray(hits))}


def test_underflow_is_excluded_where_all_sums_are_coarse():
    """Integers in a float accumulator whose smallest number is below 1 cannot underflow."""
    config = MacConfig.parse("int4_int4_p_exact_a_e5m4b10_rne_c4")
    layer = one_channel(config, torch.tensor([3.0, -5, 7, 1]))
    assert claim(layer, (-8, 7))["possible"] == []
    coarse = MacConfig.parse("int4_int4_p_exact_a_e5m4bn1_rne_c4")
    assert "inner underflow" in claim(layer_like(layer, coarse), (-8, 7))["possible"]


def layer_like(layer, config):
    return Layer(
        name="other",
        plan=LayerConfig(config=config, x_scale=1.0, w_scale=1.0, length=None),
        length=layer.length,
        weights=layer.weights,
        x_range=layer.x_range,
        is_conv=False,
    )


def test_the_error_model_counts_roundings():
    """Chunks of two: the first product meets an empty sum, which rounds nothing that already fits."""
    model = ErrorModel(MacConfig.parse("e2m1_e2m1_p_e4m3b6_rz_a_e4m3b6_rz_c2"), 5)
    assert model.additions == [(1, 2), (1, 2), (1, 2), (1, 2), (0, 1)]
    assert model.growth == 1
    u = Fraction(1, 8)
    assert model.gamma == Fraction(-(-(1 - (1 - u) ** 4) * 2**60 // 1), 2**60)
    nearest = ErrorModel(MacConfig.parse("e2m1_e2m1_p_exact_a_e4m1b6_rne_c2"), 5)
    assert nearest.additions == [(2, 2), (1, 2), (2, 2), (1, 2), (1, 1)]
    assert nearest.growth == (1 + Fraction(1, 4)) ** 4


def test_stochastic_rounding_is_bounded_too():
    config = MacConfig.parse("e2m1_e2m1_p_e4m2b6_sr4_a_e4m2b6_sr4_c2")
    x = torch.cartesian_prod(*[values_of(config.x)] * 3)
    largest = max(float(ratios_random(config, x, weights_of(config, 3, seed))) for seed in range(3))
    assert 0.1 < largest <= 1


def ratios_random(config, x, weights):
    """The backend's words, by row: ``ratios`` without its replay of overflow, of which there is none here."""
    assert not any(
        each.endswith("overflow") for each in claim(one_channel(config, weights), full(config))["possible"]
    )
    return ratios(config, x, weights).max()


def full(config):
    return -config.x.max_magnitude, config.x.max_magnitude


@pytest.mark.parametrize(
    "name",
    [
        "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16",
        "e3m4_e3m4_p_e4m7b8_rne_a_e4m7b6_rne_g1_c16",
        "e3m4_e3m4_p_exact_a_e4m7b6_rz_c8_o_e4m7b4_rz",
    ],
)
def test_witnesses_do_what_they_show(name):
    config = MacConfig.parse(name)
    values = values_of(config.w)
    picked = np.random.default_rng(0).integers(len(values), size=(3, 40))
    integers = (values[torch.from_numpy(picked)] * 2.0**-config.w.lsb_exponent).to(torch.int64).numpy()
    layer = layer_like(one_channel(config, values[:40]), config)
    layer = Layer(**{**{f: getattr(layer, f) for f in layer.__dataclass_fields__}, "weights": integers})
    possible = claim(layer, full(config))["possible"]
    found = witnesses(layer, possible)
    assert found and set(found) <= set(possible)
    for event, witness in found.items():
        x = torch.tensor(witness["x"]).double() * 2.0**config.x.lsb_exponent
        w = torch.from_numpy(integers[witness["channel"]]).double() * 2.0**config.w.lsb_exponent
        happened = events_by_stage(encode(x, config.x).tolist(), encode(w, config.w).tolist(), config)
        assert bool(happened[event])


def test_searches_stay_below_one():
    config = MacConfig.parse("e3m4_e3m4_p_e4m3b4_rz_a_e4m3b2_rz_c4")
    found = climbed(config, 8, sweeps=1, starts=1, seed=0)
    assert 0.2 < found["largest_ratio"] <= 1 and found["n"] == 8 * len(values_of(config.x))
    all_of_it = exhaustive(MacConfig.parse(SMALL[0]), 3, channels=3, seed=0)
    assert 0.3 < all_of_it["largest_ratio"] <= 1
