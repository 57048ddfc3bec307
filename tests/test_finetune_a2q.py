"""Integer operands with learned scales, exact bounds of sums, and brevitas' weights that keep to them."""

import itertools
import json
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from golden.config import ConfigError, MacConfig
from golden.gradients import GradientRule
from sim.backends import Conv2dGeometry, find_backend
from sim.finetune import a2q
from sim.finetune.a2q_bounds import least_bits, reach
from sim.finetune.a2q_methods import METHODS, find_method
from sim.finetune.a2q_page import EXACT_INTEGER, headline, section
from sim.finetune.integer import (
    ActivationQuantizer,
    IntegerConv2d,
    IntegerResNet,
    Quantized,
    WeightQuantizer,
    integers,
)
from sim.finetune.integer_sums import Counts, ExactSums, NarrowSums
from sim.networks.resnet import ResNet

GEOMETRY = Conv2dGeometry(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)

needs_brevitas = pytest.mark.skipif(find_spec("brevitas") is None, reason="brevitas is not installed")


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _narrow(name: str, rule: str = "identity", *, watched: bool = False) -> NarrowSums:
    return NarrowSums(
        MacConfig.parse(f"uint4_int4_p_exact_a_{name}_c16"),
        find_backend("cpu"),
        rule=GradientRule.parse(rule),
        watched=watched,
    )


def _integers(*shape: int, low: int, high: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, shape, generator=generator).float()


@pytest.fixture
def float_model() -> ResNet:
    torch.manual_seed(0)
    return ResNet(20).eval()


def test_weights_are_integers_of_the_format_times_a_scale_for_each_channel():
    weight = _random(5, 3, 3, 3)
    quantized = WeightQuantizer(weight, bits=4)()
    units = quantized.values / quantized.scale
    assert quantized.scale.shape == (5, 1, 1, 1)
    assert torch.equal(integers(quantized), units.round())
    assert torch.allclose(units, units.round(), atol=1e-5)
    assert units.abs().max().round() == 7


def test_a_scale_that_clips_is_taken_where_it_loses_less():
    weight = torch.cat([_random(1, 399), torch.tensor([[30.0]])], dim=1)
    widest = weight.abs().max() / 7
    quantizer = WeightQuantizer(weight, bits=4)
    assert quantizer.scale < widest
    values = quantizer().values
    by_widest = (weight / widest).round() * widest
    assert (values - weight).square().sum() < (by_widest - weight).square().sum()


def test_activations_are_unsigned_and_negative_ones_are_zero():
    quantizer = ActivationQuantizer(bits=4)
    quantizer.scale.data.fill_(0.5)
    got = quantizer(torch.tensor([-3.0, 0.2, 0.3, 1.0, 100.0]))
    assert got.values.tolist() == [0.0, 0.0, 0.5, 1.0, 7.5]


def test_gradients_of_values_and_scale_are_those_of_learned_step_sizes():
    scale = torch.tensor(0.5, requires_grad=True)
    quantizer = ActivationQuantizer(bits=4)
    quantizer.scale = nn.Parameter(scale.detach())
    values = torch.tensor([-1.0, 0.6, 100.0], requires_grad=True)
    quantizer(values).values.sum().backward()
    assert values.grad.tolist() == [0.0, 1.0, 0.0]
    # 0 below, round(1.2) - 1.2 inside, 15 above; over the root of 3 elements times 15.
    assert quantizer.scale.grad.item() == pytest.approx((0 + (1 - 1.2) + 15) / 45**0.5)


@pytest.mark.parametrize("name", ["int12_floor_sat", "int10_floor_sat", "int8_floor_wrap", "e4m7b1_rz"])
def test_narrow_sums_are_those_of_the_golden_model(name):
    images = _integers(2, 8, 5, 5, low=0, high=15, seed=1)
    weight = _integers(3, 8, 3, 3, low=-7, high=7, seed=2)
    sums = _narrow(name)
    wanted = find_backend("golden").conv2d(images, weight, sums.config, GEOMETRY)
    assert torch.equal(sums(images, weight, GEOMETRY).double(), wanted)
    sums.counts = Counts()
    with torch.no_grad():
        assert torch.equal(sums(images, weight, GEOMETRY).double(), wanted)
    exact = ExactSums()(images, weight, GEOMETRY)
    assert (sums.counts.outputs, sums.counts.changed) == (wanted.numel(), int((wanted != exact).sum()))
    assert name.startswith("int12") or sums.counts.changed > 0


def test_a_wide_accumulator_has_the_gradients_of_exact_sums_by_every_rule():
    gradients = []
    for sums in (ExactSums(), _narrow("int32_floor_wrap"), _narrow("int32_floor_sat", "recursive/of")):
        images = _integers(2, 4, 5, 5, low=0, high=15, seed=1).requires_grad_()
        weight = _integers(3, 4, 3, 3, low=-7, high=7, seed=2).requires_grad_()
        (sums(images, weight, GEOMETRY) * _random(2, 3, 5, 5)).sum().backward()
        gradients.append((images.grad, weight.grad))
    for of_images, of_weight in gradients[1:]:
        torch.testing.assert_close(of_images, gradients[0][0])
        torch.testing.assert_close(of_weight, gradients[0][1])


def _convolution(name: str, *, watched: bool) -> tuple[IntegerConv2d, Quantized]:
    """A layer whose second channel has sums far out of 8 bits, and its input."""
    weight = _random(2, 4, 3, 3) * torch.tensor([0.01, 1.0]).reshape(2, 1, 1, 1)
    weight[1].abs_()
    layer = IntegerConv2d(WeightQuantizer(weight, bits=4), _narrow(name, watched=watched), stride=1)
    layer.weights.scale.data[0] = 1.0  # all integers of the first channel are 0
    return layer, Quantized(_integers(2, 4, 6, 6, low=0, high=15, seed=3), torch.tensor(1.0))


def test_sums_that_leave_the_range_in_training_make_their_channels_weights_coarser():
    layer, x = _convolution("int8_floor_wrap", watched=True)
    first = layer.weights.scale.detach().clone()
    for _ in range(3):
        layer(x)
    growth = (layer.weights.scale / first).flatten().tolist()
    assert growth == pytest.approx([1.0, 1.02**2])  # from the second step on
    assert layer.sums.out_of_range[0] == 0 and layer.sums.out_of_range[1] > 0.5
    layer.eval()(x)
    assert (layer.weights.scale / first).flatten().tolist() == growth


def test_sums_that_are_not_watched_leave_the_scales_alone():
    layer, x = _convolution("int8_floor_wrap", watched=False)
    first = layer.weights.scale.detach().clone()
    for _ in range(3):
        layer(x)
    assert torch.equal(layer.weights.scale, first)


def test_calibration_brings_sums_into_the_range_of_the_accumulator():
    layer, x = _convolution("int8_floor_sat", watched=False)
    layer.calibrating = True
    layer(x)
    sums = ExactSums()(x.values, integers(layer.weights()), GEOMETRY)
    assert 60 < sums.abs().max() < 150
    assert layer.weights.scale[0] == 1.0


def test_a_convolution_is_the_exact_one_times_both_scales():
    weights = WeightQuantizer(_random(4, 3, 3, 3), bits=4)
    x = Quantized(0.25 * _integers(2, 3, 6, 6, low=0, high=15, seed=3), torch.tensor(0.25))
    got = IntegerConv2d(weights, ExactSums(), stride=2)(x)
    wanted = torch.conv2d(x.values, weights().values, stride=2, padding=1)
    torch.testing.assert_close(got, wanted)


def test_the_bounds_are_reached_and_never_exceeded():
    weight = _integers(6, 4, low=-7, high=7, seed=5)
    for channel, (low, high) in zip(weight.tolist(), reach(weight, 3), strict=True):
        seen = [
            sum(x * w for x, w in zip(xs, channel, strict=True))
            for xs in itertools.product(range(4), repeat=4)
        ]
        assert (min(*seen, 0), max(*seen, 0)) == (low, high)


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-128, 127, 8), (-129, 0, 9), (0, 128, 9), (-2048, 2047, 12)],
)
def test_least_bits(low, high, bits):
    assert least_bits(low, high) == bits


@needs_brevitas
@pytest.mark.parametrize("zero_centered", [True, False], ids=["a2q+", "a2q"])
@pytest.mark.parametrize("bits", [10, 11])
def test_no_sum_of_brevitas_weights_leaves_its_accumulator(bits, zero_centered):
    from sim.finetune.a2q_weights import AccumulatorAwareWeights

    weight = _random(8, 8, 3, 3)
    plain = integers(WeightQuantizer(weight, bits=4)())
    assert max(least_bits(*each) for each in reach(plain, 15)) > 11
    weights = AccumulatorAwareWeights(weight, bits=bits, zero_centered=zero_centered)
    optimizer = torch.optim.Adam(weights.parameters(), lr=0.05)
    for _ in range(4):
        found = integers(weights())
        assert 0 < found.abs().max() <= 7
        assert max(least_bits(*each) for each in reach(found, 15)) <= bits
        optimizer.zero_grad()
        (weights().values - _random(8, 8, 3, 3, seed=1)).square().sum().backward()
        optimizer.step()


@needs_brevitas
def test_brevitas_parameters_are_the_same_ones_after_a_checkpoint_was_loaded():
    from sim.finetune.a2q_weights import AccumulatorAwareWeights

    ours, other = (
        AccumulatorAwareWeights(_random(4, 4, 3, 3, seed=seed), bits=12, zero_centered=True)
        for seed in (0, 1)
    )
    parameters = list(ours.parameters())
    ours.load_state_dict(other.state_dict())
    assert all(mine is same for mine, same in zip(ours.parameters(), parameters, strict=True))
    assert torch.equal(ours().values, other().values)


@needs_brevitas
def test_brevitas_regularizer_is_zero_exactly_where_norms_keep_to_their_bounds():
    from sim.finetune.a2q_weights import AccumulatorAwareWeights

    weight = _random(8, 32, 3, 3)
    assert AccumulatorAwareWeights(weight, bits=8, zero_centered=True).excess() > 0
    assert AccumulatorAwareWeights(weight, bits=24, zero_centered=True).excess() == 0


@needs_brevitas
def test_the_projection_brings_weights_into_the_ball_of_their_accumulator(float_model):
    from sim.finetune.a2q_weights import AccumulatorAwareWeights, apply_projection

    images = _random(2, 3, 32, 32)
    network = IntegerResNet(
        float_model,
        weights=lambda weight: AccumulatorAwareWeights(weight, bits=10, zero_centered=True),
        sums=ExactSums,
        images=images,
    )
    aware = [each for each in network.modules() if isinstance(each, AccumulatorAwareWeights)]
    before = [each.conv.weight.abs().sum() for each in aware]
    assert len(aware) == 18 and sum(each.excess() for each in aware) > 0
    apply_projection(network, images)
    assert all(each.excess().item() == pytest.approx(0, abs=1e-4) for each in aware)
    assert all(each.conv.weight.abs().sum() < norm for each, norm in zip(aware, before, strict=True))


def test_the_network_is_the_float_one_but_for_its_roundings(float_model):
    images = _random(4, 3, 32, 32)
    with torch.no_grad():
        wanted = float_model(images)
        network = IntegerResNet(
            float_model, weights=lambda w: WeightQuantizer(w, 12), sums=ExactSums, images=images
        )
        for each in network.modules():
            if isinstance(each, ActivationQuantizer):
                each.high = 4095
        network.calibrate(images)
        got = network(images)
    assert len(network.hidden) == 18
    assert (got - wanted).abs().max() < 0.05 * wanted.abs().max()


@pytest.mark.parametrize("name", METHODS)
def test_methods_have_accumulators_of_the_bits_that_they_name(name):
    method = find_method(name)
    if method.config is None:
        return
    accumulator = MacConfig.parse(method.config).accumulator.format
    assert name.endswith(str(accumulator.code_bits))
    assert method.config == MacConfig.parse(method.config).name


def test_an_unknown_method_is_an_error_that_lists_those_there_are(capsys, tmp_path):
    with pytest.raises(ConfigError, match="saturating12"):
        find_method("saturating13")
    with pytest.raises(SystemExit) as stopped:
        a2q.main(["run", "--methods", "nothing", "-o", str(tmp_path / "a.json")])
    assert stopped.value.code == 2
    assert "'nothing' is not a method" in capsys.readouterr().err


def _row(name: str, seed: int, value: float) -> dict:
    layer = {"guaranteed_bits": 12, "outputs": 1000, "changed": 0}
    return {
        "key": f"{name}, seed {seed}",
        "method": name,
        "seed": seed,
        "value": value,
        "n": 10000,
        "start_value": 0.1,
        "start_n": 500,
        "settings": {
            "epochs": 20,
            "train_images": 15000,
            "batch_size": 250,
            "rate": 0.001,
            "held_out": False,
        },
        "layers": [layer],
        "made_by": {"brevitas": "0.13.4", "gpu": "a card", "torch": "2.11.0", "pillow": "12.3.0"},
        "command": "python -m sim.finetune.a2q run",
    }


def test_the_page_names_the_winner_its_margin_and_its_area():
    values = {"a2q+12": (0.80, 0.81), "saturating12": (0.84, 0.85)}
    rows = [_row(name, seed, v) for name, both in values.items() for seed, v in enumerate(both)]
    areas = [
        {"config": METHODS["saturating12"].config, "um2": 1062.0, "vectors": 9, "library": "sky130"},
        {"config": EXACT_INTEGER, "um2": 1327.5, "vectors": 9, "library": "sky130"},
    ]
    page = section(json.loads(json.dumps({"rows": rows, "areas": areas})))
    assert "**12 bits:** int12, saturating is the most accurate (1062 µm²)" in page
    assert "int12, A2Q+ (brevitas) -4.00 ± 0.71 points (standard error)." in page
    assert (
        "| int12, saturating (`saturating12`) | 0.001 | 10 | 84.50 ± 0.71 | 2 | 12 | 0 | 1062 | -20% |"
        in page
    )
    assert "a card (torch 2.11.0, pillow 12.3.0): a2q+12, saturating12" in page
    assert "| int12, A2Q+ | 90.6 | arXiv 2401.10432 |" in page


def test_rows_of_held_out_images_are_not_on_the_page():
    row = _row("a2q+12", 0, 0.8)
    row["settings"]["held_out"] = True
    assert "No training is finished" in section({"rows": [row], "areas": []})


def test_merged_rows_are_there_once_and_the_areas_stay(tmp_path):
    here, there = tmp_path / "here.json", tmp_path / "there.json"
    areas = [{"config": EXACT_INTEGER, "um2": 1327.5, "library": "sky130"}]
    here.write_text(json.dumps({"rows": [_row("a2q+12", 0, 0.8)], "areas": areas}))
    there.write_text(json.dumps({"rows": [_row("a2q+12", 0, 0.8), _row("a2q+12", 1, 0.7)], "areas": []}))
    assert a2q.main(["merge", str(there), "-o", str(here)]) == 0
    merged = json.loads(here.read_text())
    assert [row["seed"] for row in merged["rows"]] == [0, 1]
    assert merged["areas"] == areas
    with pytest.raises(SystemExit) as stopped:
        a2q.main(["merge", str(tmp_path / "no.json"), "-o", str(here)])
    assert stopped.value.code == 2


def test_a_difference_within_the_spread_of_seeds_is_called_chance():
    values = {"a2q+12": (0.80, 0.84), "saturating12": (0.81, 0.84), "wrapping12": (0.82,)}
    rows = [_row(name, seed, v) for name, each in values.items() for seed, v in enumerate(each)]
    page = section({"rows": rows, "areas": []})
    assert "A2Q+ (brevitas) -0.50 ± 2.50 points (standard error), which is not more than chance" in page
    assert "int12, wrapping -0.50 points, of too few seeds to tell" in page


def test_the_headline_says_what_is_promised_and_what_was_seen():
    values = {"a2q+12": (0.80, 0.81), "saturating12": (0.84, 0.85), "wrapping12": (0.83, 0.84)}
    rows = [_row(name, seed, v) for name, both in values.items() for seed, v in enumerate(both)]
    for row in rows:
        row["layers"] = [{"guaranteed_bits": 15, "outputs": 4000, "changed": int(row["seed"] == 0)}]
    areas = [{"config": METHODS["saturating12"].config, "um2": 1062.0, "library": "sky130"}]
    said = headline({"rows": rows, "areas": areas})
    assert "84.50 ± 0.71 % of 10000 images (2 seeds) with a saturating accumulator (1062 µm²)" in said
    assert "80.50 ± 0.71 % with brevitas' A2Q+." in said
    assert "need 15 bits for that, and of its sums on these images one in 8 000 was not exact." in said
    assert headline({"rows": rows[:2], "areas": areas}) == ""
