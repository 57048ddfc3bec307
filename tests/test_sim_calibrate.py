"""What calibration sets, that it keeps the silicon, and that it finds the least error."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from golden.catalog import find
from golden.config import ConfigError, MacConfig, Silicon
from golden.datapath import exact_accumulator
from sim.calibrate import at_offset, calibrate, fold_batch_norm, sample_layers, shared_setting
from sim.inject import accumulate


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    ).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def samples(network, images):
    return sample_layers(network, images, seed=0)


def squared_error(network, images, layers):
    with torch.no_grad():
        wanted = network(images)
        with accumulate(layers):
            return float((network(images) - wanted).square().sum())


def test_samples_are_rows_of_the_real_products(network, images, samples):
    assert [sample.length for sample in samples] == [9, 256, 16]
    with torch.no_grad():
        hidden = network[:3](images).double()
    assert all((hidden == row).all(1).any() for row in samples[1].x)
    assert torch.equal(samples[1].w, network[3].weight.detach().double().t())
    assert samples[1].x_largest == float(hidden.max())


@pytest.mark.parametrize(
    "name", ["float12", "float8-rne", "float12-g0", "float12-px", "fixed14", "fixed14-wrap"]
)
@pytest.mark.parametrize("wired", [False, True])
def test_layers_stay_on_their_silicon(samples, name, wired):
    config = find(name)
    shared = shared_setting(samples, config) if wired else None
    layers = [layer.config for layer in calibrate(samples, config, shared=shared)]
    silicon = Silicon(config=at_offset(config, shared) if wired else config, hardwired=wired)
    assert {Silicon(config=layer, hardwired=wired) for layer in layers} == {silicon}
    if wired:
        assert {layer.offsets.product for layer in layers} == {shared}


@pytest.mark.parametrize("name", ["float10", "fixed12", "int12"])
def test_calibrated_beats_uncalibrated(network, images, samples, name):
    config = find(name)
    calibrated = squared_error(network, images, calibrate(samples, config, shared=None))
    assert calibrated < squared_error(network, images, config)


@pytest.mark.parametrize("name", ["float6", "fixed10"])
def test_the_shared_setting_has_the_least_error_of_its_neighbours(samples, name):
    from sim.calibrate import _error

    config = find(name)
    best = shared_setting(samples, config)

    def cost(shared: int) -> float:
        layers = calibrate(samples, config, shared=shared)
        return sum(_error(sample, layer) for sample, layer in zip(samples, layers, strict=True))

    assert all(cost(best) <= 1.01 * cost(best + step) for step in (-2, -1, 1, 2))


def test_exact_accumulators_are_as_wide_as_each_layer_needs(network, images, samples):
    layers = calibrate(samples, find("exact"), shared=None)
    for sample, layer in zip(samples, layers, strict=True):
        config = layer.config
        assert config.accumulator == exact_accumulator(config.x, config.w, sample.length)
    with torch.no_grad(), accumulate(layers, count_events=True) as mode:
        network(images)
    assert all(e.inner.overflow == e.inner.underflow == 0 for e in mode.events)


@pytest.mark.parametrize("name", ["float32", "float20-rne", "int32"])
def test_what_has_headroom_never_overflows(network, images, samples, name):
    layers = calibrate(samples, find(name), shared=None)
    with torch.no_grad(), accumulate(layers, count_events=True) as mode:
        network(images)
    assert sum(e.product.overflow + e.inner.overflow + e.outer.overflow for e in mode.events) == 0


def test_product_and_accumulator_biases_keep_the_paper_s_distance():
    config = at_offset(find("float12"), 5)
    assert config.offsets.product == 5
    assert config.product.format.bias - config.accumulator.format.bias == 2


def test_batch_norm_is_folded():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU())
    model(torch.randn(20, 1, 6, 6) + 1)  # moves the running statistics
    model.eval()
    folded = fold_batch_norm(model)
    images = torch.randn(4, 1, 6, 6)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded)
    torch.testing.assert_close(folded(images), model(images))


def test_backends_agree_on_a_calibrated_network(network, images, samples):
    for name in ("float12", "fixed12-wrap", "int12"):
        layers = calibrate(samples, find(name), shared=None)
        with torch.no_grad():
            with accumulate(layers, backend="cpu", count_events=True) as fast:
                got = network(images[:4])
            with accumulate(layers, backend="golden", count_events=True) as slow:
                wanted = network(images[:4])
        assert torch.equal(got, wanted)
        assert fast.events == slow.events


@pytest.mark.parametrize("operands", ["e3m4_int8", "int8_e3m4", "uint8_int8"])
def test_operands_of_two_kinds(network, images, samples, operands):
    config = MacConfig.parse(f"{operands}_p_exact_a_int20_rz_sat_c16")
    with torch.no_grad():
        energy = float(network(images).square().sum())
    for shared in (None, shared_setting(samples, config)):
        layers = calibrate(samples, config, shared=shared)
        assert squared_error(network, images, layers) < 0.01 * energy


def test_an_outer_accumulator_of_its_own_is_kept(samples):
    config = replace(find("float12"), outer=MacConfig.parse("e3m4_e3m4_p_exact_a_e8m23_rz_c16").accumulator)
    layers = calibrate(samples, config, shared=None)
    assert {layer.config.outer for layer in layers} == {config.outer}


def test_an_empty_batch_is_refused(network, images):
    with pytest.raises(ConfigError, match="no images"):
        sample_layers(network, images[:0], seed=0)


def test_groups_of_a_convolution_are_sampled_like_the_convolution_they_are():
    torch.manual_seed(0)
    depthwise = nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False)
    depthwise.weight.data[:2] = 0  # the first channel says nothing of the others
    images = torch.randn(6, 4, 5, 5)
    (sample,) = sample_layers(depthwise, images, seed=0)
    assert sample.x.shape == (4, 128, 9)
    outputs = depthwise(images).detach().double()
    for group in sample.product:  # rows of one group's patches by that group's weights
        of_groups = outputs.transpose(0, 1).unflatten(0, (4, 2)).flatten(2)
        nearest = (of_groups[:, :, None] - group.t()[None, :, :, None]).abs().amin(3).amax((1, 2))
        assert (nearest < 1e-5).sum() == 1
    (layer,) = calibrate([sample], MacConfig.parse("e3m4_e3m4_p_exact_a_int12ln5_rz_sat_c16"), shared=None)
    with torch.no_grad(), accumulate([layer]):
        assert (depthwise(images) - outputs).norm() < outputs.norm() / 10


@pytest.mark.parametrize(
    "model",
    [nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), nn.LSTM(16, 8)],
    ids=lambda model: type(model).__name__,
)
def test_what_accumulate_takes_apart_is_sampled_in_the_same_parts(model):
    inputs = torch.randn(3, 5, 16)
    samples = sample_layers(model.eval(), inputs, seed=0)
    with torch.no_grad(), accumulate(calibrate(samples, find("float12"), shared=None)) as mode:
        model(inputs)
    assert mode.calls == len(samples) > 1
