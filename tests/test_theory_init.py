"""Weights and slopes for an accumulator, by the order in which layers are registered."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from golden.config import ConfigError
from sim.inject import accumulate
from sim.studies.depth.arithmetic import config_of as wide
from sim.theory import EXACT, Levels, best_mean_field, init_, sums_by_law


def test_weights_are_drawn_for_the_accumulator():
    model = nn.Sequential(nn.Linear(512, 300), Levels(16), nn.Linear(300, 200))
    config = wide(4, "rz")
    drawn = init_(model, levels=16, config=config, generator=torch.Generator().manual_seed(0))
    best = best_mean_field(16)
    for name, fan_in in (("0", 512), ("2", 300)):
        layer, weights = drawn[name], model.get_submodule(name).weight.detach()
        assert layer.fan_in == fan_in
        assert layer.sigma_w * layer.sums.deviation == pytest.approx(best.sigma_w, rel=0.01)
        assert layer.sums.deviation == pytest.approx(sums_by_law(config, fan_in, 16).deviation, rel=0.03)
        assert float(weights.std()) * math.sqrt(fan_in) == pytest.approx(layer.sigma_w, rel=0.02)
        assert not model.get_submodule(name).bias.any()
    assert drawn["0"].sigma_w > drawn["2"].sigma_w > 1.2 * best.sigma_w
    slope = model[1].slope.item()
    assert slope * drawn["2"].sigma_w == pytest.approx(best.slope * best.sigma_w, rel=1e-6)


def test_exact_sums_need_no_factor_and_convolutions_count_their_own_products():
    model = nn.Sequential(nn.Conv2d(8, 400, 3, groups=2, bias=False), Levels(4), nn.Conv2d(400, 4, 1))
    drawn = init_(model, levels=4, generator=torch.Generator().manual_seed(0))
    best = best_mean_field(4)
    assert [(each.fan_in, each.sigma_w, each.sums) for each in drawn.values()] == [
        (36, best.sigma_w, EXACT),
        (400, best.sigma_w, EXACT),
    ]
    assert float(model[0].weight.detach().std()) * 6 == pytest.approx(best.sigma_w, rel=0.03)


def test_layers_may_have_accumulators_of_their_own():
    model = nn.Sequential(nn.Linear(512, 8), Levels(8), nn.Linear(512, 8))
    drawn = init_(model, levels=8, config={"0": wide(4, "rz"), "2": wide(10, "rne")})
    assert drawn["0"].sigma_w > 1.3 * drawn["2"].sigma_w


def test_fixed_point_and_stochastic_sums_are_measured():
    model = nn.Linear(256, 4)
    best = best_mean_field(16).sigma_w
    for name in ("fixed20", "e5m10_e5m10_p_e6m5_sr8_a_e6m5_sr8_c16"):
        (drawn,) = init_(model, levels=16, config=name).values()
        assert drawn.sigma_w == pytest.approx(best, rel=0.05)


class ActLast(nn.Module):
    """As classes are written: all layers, then one activation that follows each but the last."""

    def __init__(self, *sizes, levels=16):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(one, two) for one, two in pairwise(sizes))
        self.act = Levels(levels)

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


class ActFirst(ActLast):
    """The same, registered the other way round."""

    def __init__(self, *sizes, levels=16):
        super().__init__(*sizes, levels=levels)
        layers = self.layers
        del self.layers
        self.layers = layers


def slopes(model, config):
    """Of all activations, times sigma_w; and what layers were drawn with."""
    best = best_mean_field(16)
    drawn = init_(model, levels=16, config=config, generator=torch.Generator().manual_seed(0))
    found = [best.slope * best.sigma_w / m.slope.item() for m in model.modules() if isinstance(m, Levels)]
    return found, [each.sigma_w for each in drawn.values()]


def test_in_a_sequence_a_slope_is_for_the_next_layer():
    config, shared = wide(4, "rz"), Levels(16)
    sizes = [nn.Linear(64, 512), nn.Linear(512, 128), nn.Linear(128, 10)]
    first, second, third = sizes
    found, sigmas = slopes(nn.Sequential(first, Levels(16), second, Levels(16), third, Levels(16)), config)
    assert sigmas[1] > 1.1 * sigmas[2] > 1.1 * sigmas[0]
    assert found == pytest.approx([sigmas[1], sigmas[2], sigmas[2]], rel=1e-5)
    found, sigmas = slopes(nn.Sequential(Levels(16), first, Levels(16), second), config)
    assert found == pytest.approx(sigmas, rel=1e-5)
    found, sigmas = slopes(nn.Sequential(first, shared, second, shared, third), config)
    assert found == pytest.approx([math.sqrt(sigmas[1] * sigmas[2])], rel=1e-5)


@pytest.mark.parametrize("kind", [ActLast, ActFirst])
def test_an_activation_beside_the_layers_has_the_slope_of_all_that_follow_it(kind):
    config = wide(4, "rz")
    found, sigmas = slopes(kind(64, 512, 512, 10), config)
    assert sigmas[1] == sigmas[2] > 1.2 * sigmas[0]
    assert found == pytest.approx([sigmas[1]], rel=1e-5)
    found, sigmas = slopes(kind(64, 512, 128, 10), config)
    assert found == pytest.approx([math.sqrt(sigmas[1] * sigmas[2])], rel=1e-5)


def test_gradients_of_an_activation_registered_last_keep_their_size():
    model, generator = ActLast(64, *[256] * 16, 10), torch.Generator().manual_seed(0)
    init_(model, levels=16, config="e4m7", generator=generator)
    x = torch.randn(256, 64, generator=generator) * best_mean_field(16).second_moment ** 0.5

    def growth():
        model.zero_grad()
        with accumulate("e4m7", gradient="identity"):
            model(x).square().sum().backward()
        norms = [float(layer.bias.grad.norm()) for layer in model.layers]
        return norms[0] / norms[-2]

    kept = growth()
    model.act.slope.fill_(best_mean_field(16).slope)
    assert kept < 1.6
    assert growth() > 1.6 * kept


def test_what_cannot_be_drawn():
    with pytest.raises(ConfigError, match=r"two levels or more.*levels=1"):
        init_(nn.Linear(2, 2), levels=1)
    with pytest.raises(ConfigError, match=r"no linear or convolutional layer"):
        init_(nn.Sequential(Levels(4)), levels=4)
    model = nn.Sequential(nn.Linear(2, 2), Levels(8))
    before = model[0].weight.clone()
    with pytest.raises(ConfigError, match=r"1 \(Levels\) has 8 levels.*levels=16; use levels=8"):
        init_(model, levels=16)
    with pytest.raises(ConfigError, match=r"little to do with the exact ones.*wider"):
        init_(nn.Linear(512, 2), levels=16, config="int10-wrap")
    with pytest.raises(ConfigError, match=r"'e4m77x'.*; "):
        init_(model, levels=8, config="e4m77x")
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda: nn.Linear(0, 3), r"1 \(Linear\) has no weights.*at least"),
        (lambda: nn.Linear(3, 0), r"1 \(Linear\) has no weights"),
        (lambda: nn.LazyLinear(3), r"1 \(LazyLinear\) has no weights.*lazy one once before"),
        (lambda: nn.TransformerEncoderLayer(8, 2), r"1.self_attn \(MultiheadAttention\).*parts of the model"),
        (lambda: nn.LSTM(3, 3), r"1 \(LSTM\)"),
        (lambda: nn.ConvTranspose2d(3, 3, 1), r"1 \(ConvTranspose2d\)"),
    ],
)
# torch says of layers without weights that there is nothing to initialize.
@pytest.mark.filterwarnings("ignore:Initializing zero-element", "ignore:Lazy modules")
def test_layers_that_cannot_be_drawn_leave_the_others_as_they_are(part, message):
    model = nn.Sequential(nn.Linear(2, 2), part())
    before = model[0].weight.clone()
    with pytest.raises(ConfigError, match=message):
        init_(model, levels=16)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("model", [None, [nn.Linear(2, 2)]])
def test_only_models_are_drawn(model):
    with pytest.raises(ConfigError, match=r"drawn for a model.*nn\.Module"):
        init_(model, levels=16)


def test_levels_may_be_a_number_of_numpy():
    assert Levels(np.int64(4))(torch.tensor([0.2, 3.0])).tolist() == pytest.approx([1 / 3, 1])
    (drawn,) = init_(nn.Linear(8, 8), levels=np.int64(16)).values()
    assert drawn.sigma_w == best_mean_field(16).sigma_w
