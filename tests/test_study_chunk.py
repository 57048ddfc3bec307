"""Study chunk: the law step by step against the kernels, and its use on a network."""

import math

import pytest
import torch

from golden.config import ConfigError, MacConfig
from sim.backends import find_backend
from sim.calibrate import calibrate, sample_layers
from sim.calibration.layers import compared
from sim.calibration.walk import Products, step_law
from sim.data import digits_folds
from sim.inject import accumulate
from sim.models import mlp, trained
from sim.operands import quantize_operand
from sim.product_mode import caught
from sim.studies.chunk.findings import CLOSE
from sim.studies.chunk.grid import laws
from sim.studies.chunk.networks import _Laws, _Predicted
from sim.studies.chunk.operands import accumulator, as_rows, judged, of_rows, operands
from sim.studies.chunk.rtl import measure_rtl


def found(data, config):
    return judged(find_backend("cpu").matmul(data.x, data.w, config), data.exact)


def config_of(data, man_bits, chunk, rounding="rz"):
    return accumulator(man_bits, chunk, rounding, data.x_format, data.w_format)


@pytest.mark.parametrize("kind", ["normal", "relu"])
@pytest.mark.parametrize("number", ["e3m4", "e8m7"])
def test_the_law_by_step_is_close_where_the_first_form_is_far_off(kind, number):
    """Within 0.02 of gains from 0.2 to 1, and noise within a half, which the page states more sharply."""
    data = operands(kind, number, 256, 1)
    first_off = []
    for man_bits, chunk in ((4, 4), (4, 16), (4, 128), (5, 256), (7, 16), (10, 64)):
        config = config_of(data, man_bits, chunk)
        measured = found(data, config)
        first, _, step = laws(data, config)
        assert abs(step.gain - measured.gain) < CLOSE
        assert 0.6 < measured.noise / step.noise < 1.5
        first_off.append(abs(first - measured.gain))
    assert max(first_off) > 2 * CLOSE


def test_positive_sums_lose_less_than_walks_at_last_and_the_law_knows():
    data = operands("positive", "e3m4", 1024, 1)
    measured = found(data, config_of(data, 7, 1024))
    first, place, step = laws(data, config_of(data, 7, 1024))
    assert abs(step.gain - measured.gain) < 2 * CLOSE  # where sums are alike the law is not so near
    assert measured.gain - first > 0.1
    assert measured.gain - place.gain > 0.05


@pytest.mark.parametrize("rounding", ["rne", "sr8"])
def test_other_roundings_have_noise_and_no_gain(rounding):
    data = operands("normal", "e8m7", 256, 1)
    config = config_of(data, 6, 16, rounding)
    measured, law = found(data, config), step_law(config, data.products)
    zero = found(data, config_of(data, 6, 16))
    assert measured.gain == pytest.approx(1, abs=0.01)
    assert law.gain == pytest.approx(1, abs=0.01)
    assert 0.7 < measured.noise / law.noise < 1.4
    assert zero.error > 20 * measured.error
    assert zero.noise < zero.error / 3  # most of it a scale repairs


def test_few_random_bits_are_a_truncation_at_that_many_bits_more():
    data = operands("normal", "e8m7", 256, 1)
    measured = found(data, config_of(data, 4, 16, "sr2"))
    law = step_law(config_of(data, 4, 16, "sr2"), data.products)
    assert measured.gain < 0.97
    assert abs(law.gain - measured.gain) < CLOSE
    whole = found(data, config_of(data, 4, 16)).gain
    assert 0 < -math.log(measured.gain) < -math.log(whole) / 4  # at most: fewer sums have bits down there


def test_the_best_chunk_is_the_root_of_the_length():
    data = operands("normal", "e3m4", 1024, 1)
    gains = {chunk: found(data, config_of(data, 6, chunk)).gain for chunk in (4, 8, 16, 32, 64, 128, 256)}
    assert max(gains, key=gains.get) in (16, 32, 64)
    assert gains[32] > gains[4] + 0.2
    assert gains[32] > gains[256] + 0.2


def test_products_of_equal_terms():
    products = Products.of(torch.ones(3, 8), torch.full((8, 2), -0.5), seed=0)
    assert products.length == 8
    assert products.zeros == 0
    assert products.correlation == pytest.approx(8)
    assert products.share.tolist() == pytest.approx([1 / 8] * 8)
    assert (products.outputs == 1).all()  # a power of two apart, in the direction of the sum


def test_products_with_zeros_and_none():
    x = torch.tensor([[1.0, 0.0, 2.0, 0.0]])
    products = Products.of(x, torch.ones(4, 1), seed=0)
    assert products.zeros == 0.5
    assert products.share.tolist() == pytest.approx([1 / 3, 0, 2 / 3, 0])
    with pytest.raises(ConfigError, match=r"all 0 have no gain.*; give operands with a product that is not"):
        Products.of(torch.zeros(1, 4), torch.ones(4, 1), seed=0)


def test_a_law_without_roundings_changes_nothing():
    products = Products.of(torch.ones(3, 8), torch.ones(8, 2), seed=0)
    law = step_law(MacConfig.parse("e3m4_e3m4_p_e8m12_rz_a_e8m12_rz_c4"), products)
    assert law.gain == pytest.approx(1, abs=1e-3)
    assert law.noise == pytest.approx(0, abs=1e-6)
    with pytest.raises(ConfigError, match=r"not of e3m4.*int16ln8.*; compute its sums with sim\.inject"):
        step_law(MacConfig.parse("e3m4_e3m4_p_exact_a_int16ln8_rz_sat_c16"), products)


def test_sums_that_cancel_have_a_law():
    """Products of opposite signs in turn: such a sum does not grow, and its correlation is negative."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 64, generator=generator) + 1
    w = torch.ones(64, 1)
    w[1::2] = -1
    config = accumulator(4, 64, "rz", *(MacConfig.parse("e8m7_e8m7_p_exact_a_e8m7_rz_c1").x,) * 2)
    x = quantize_operand(x, config.x, 1.0)
    products = Products.of(x, w, seed=0)
    assert products.correlation < 1
    got = judged(find_backend("cpu").matmul(x, w, config), (x.double() @ w.double()))
    assert step_law(config, products).gain == pytest.approx(got.gain, abs=0.05)


def test_judging_takes_results_apart_into_gain_and_noise():
    exact = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    got = 0.5 * exact + torch.tensor([[0.4, -0.3]], dtype=torch.float64)
    measured = judged(got, exact)
    assert measured.gain == pytest.approx(0.5)
    assert measured.noise == pytest.approx(0.25 / (0.25 * 25))
    assert measured.error == pytest.approx(float((got - exact).square().sum()) / 25)


def test_tables_are_read_back():
    rows = [(16, "rz", 0.25), (64, "-", 1e-7)]
    assert of_rows(as_rows(("K", "how", "gain"), rows)) == [
        {"K": 16, "how": "rz", "gain": 0.25},
        {"K": 64, "how": "-", "gain": 1e-7},
    ]


def test_a_network_that_is_given_the_law_s_gains_answers_as_on_the_accumulator():
    fold = digits_folds()[0]
    model, images = trained(mlp, fold, epochs=30, seed=0), fold.test_images[:300]
    samples = sample_layers(model, fold.train_images[:256], seed=0)
    plan = calibrate(samples, MacConfig.parse("e3m4_e3m4_p_e4m4b12_rz_a_e4m4b10_rz_c64"), shared=None)
    with torch.no_grad():
        exact, law = model(images).double(), _Laws(plan, samples)
        with accumulate(plan):
            got = model(images).double()
        predicted = {}
        for way in ("operands", "gain", "noise", "both", "places"):
            with caught(_Predicted(plan, law, way)):
                predicted[way] = model(images).double()
    gain, error = compared(got, exact)
    assert gain < 0.7  # three layers of it
    assert compared(predicted["operands"], exact)[0] == pytest.approx(1, abs=0.02)
    assert compared(predicted["noise"], exact)[0] == pytest.approx(1, abs=0.03)
    for way in ("gain", "both", "places"):
        assert compared(predicted[way], exact)[0] == pytest.approx(gain, abs=0.04)
    assert 0.4 < compared(predicted["places"], exact)[1] / error < 2.5


def test_rtl_gives_the_kernels_bits():
    rows = of_rows(measure_rtl(True, lambda _: None)["runs"])
    assert rows
    for row in rows:
        assert row["words"] == 256
        assert row["differ"] == 0
        assert row["gain"] == row["kernel_gain"]
        assert abs(row["gain"] - row["step"]) < CLOSE
