"""Calibration without training, step by step on a network, and its command."""

import doctest
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from zero_shot_toy import use_toy

from golden.catalog import find
from golden.config import ConfigError
from sim.calibrate import sample_layers
from sim.calibration import figures, section
from sim.calibration.__main__ import main
from sim.calibration.compensation import compensate, scale_by_law, taper
from sim.calibration.rule import (
    rule,
)
from sim.calibration.steps import Calibration, config_of
from sim.inject import accumulate
from sim.operands import weight_scale
from sim.straight_through import quantized


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return (
        nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 10),
        )
        .eval()
        .requires_grad_(False)
    )


@pytest.fixture(scope="module")
def images():
    return torch.rand(48, 2, 8, 8, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def samples(network, images):
    return sample_layers(network, images, seed=0)


def wrong(network, images, done):
    """Energy share of the output's error."""
    wanted = network(images)
    with accumulate(done.layers):
        got = done.model(images)
    return float((got - wanted).square().sum() / wanted.square().sum())


def test_each_step_makes_the_output_better(network, images, samples):
    plan = rule(samples, config_of("e4m4", "rz"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = compensate(network, plan, [images], reference=network, gain=None, bias=False, backend="cpu")
    scaled = scale_by_law(network, plan, images, samples=samples)
    tapered = taper(network, plan, images, samples=samples)
    options = dict(reference=network, backend="cpu")
    gains = {
        gain: compensate(network, plan, [images], gain=gain, bias=False, **options)
        for gain in ("layer", "channel")
    }
    everything = compensate(
        tapered.model, tapered.layers, [images[:16], images[16:]], gain="channel", bias=True, **options
    )
    errors = [wrong(network, images, done) for done in (plain, scaled, tapered, everything)]
    assert errors[0] > 4 * errors[1] > 4 * errors[3]
    assert errors[0] > 4 * errors[2]
    assert all(wrong(network, images, done) < errors[0] / 4 for done in gains.values())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(float(gain.mean()) < 1 for gain in plain.gains)
    for done in gains.values():  # a measured gain multiplies results: the codes of weights stay
        for name, layer, old in ((0, done.layers[0], plan[0]), (2, done.layers[1], plan[1])):
            scale = weight_scale(layer, convolution=True)
            codes = quantized(done.model[name].weight, layer.config.w, scale)
            assert torch.equal(codes, quantized(network[name].weight, old.config.w, 1.0))
    assert [layer.config.accumulator for layer in everything.layers] == [
        each.config.accumulator for each in plan
    ]


def test_bias_correction_makes_means_those_of_the_float_network(network, images, samples):
    plan = rule(samples, config_of("e4m4", "rz"))
    done = compensate(network, plan, [images], reference=network, gain=None, bias=True, backend="cpu")
    wanted = network(images).mean(0)
    with accumulate(plan):
        without = network(images).mean(0)
    with accumulate(done.layers):
        got = done.model(images).mean(0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    assert float((without - wanted).abs().max()) > 0.01
    assert done.model[2].bias is not None  # where there was none


class Attention(nn.Module):
    """Products of activations beside two that have weights."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(32, 32)
        self.outer = nn.Linear(32, 8)

    def forward(self, x):
        x = self.inner(x)
        return self.outer((x @ x.transpose(-1, -2)).softmax(-1) @ x)


def test_products_without_weights_are_left_and_listed():
    torch.manual_seed(0)
    model, batch = Attention().eval().requires_grad_(False), torch.randn(4, 12, 32)
    plan = rule(sample_layers(model, batch, seed=0), find("float10"))
    inputs = [batch, batch[:, :7]]  # of another length, so that products of activations have other columns
    done = compensate(model, plan, inputs, reference=model, gain="channel", bias=True, backend="cpu")
    assert done.left == [1, 2]
    assert done.gains[1] is None
    assert wrong(model, batch, done) < wrong(model, batch, replace(done, model=model, layers=plan))


def test_a_plan_of_another_network_is_refused(network, images, samples):
    plan = rule(samples, find("float12"))
    with pytest.raises(ConfigError, match="asks for 3 products, and the plan has 2"):
        compensate(network, plan[:2], [images], reference=network, gain=None, bias=True, backend="cpu")
    with pytest.raises(ConfigError, match="by layer or channel, not by 'pixel'"):
        compensate(network, plan, [images], reference=network, gain="pixel", bias=True, backend="cpu")
    with pytest.raises(ConfigError, match=r"use sim\.calibrate\.calibrate"):
        rule(samples, find("fixed12"))


def test_chunks_of_the_network_and_of_layers(samples):
    config = config_of("e4m7", "rz")
    assert {layer.config.chunk_size for layer in rule(samples, config)} == {16}
    assert len({layer.config.chunk_size for layer in rule(samples, config, chunk="network")}) == 1
    assert len({layer.config.chunk_size for layer in rule(samples, config, chunk="layer")}) > 1
    assert {layer.config.chunk_size for layer in rule(samples, config, chunk=64)} == {64}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rules", "does not begin with where biases come from"),
        ("rule+tapir", "no step called 'tapir'"),
        ("rule+gain+layer-gain", "both layer-gain and gain"),
        ("named+chunk", "begin with rule"),
    ],
)
def test_a_calibration_that_is_none(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Calibration.parse(text)


def test_steps_are_sorted():
    assert Calibration.parse("rule+bias+gain+taper").name == "rule+taper+gain+bias"


def test_the_example_of_the_page_runs():
    page = Path(__file__).resolve().parent.parent / "docs" / "calibration.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 10 and failed == 0


def test_the_command_measures_once(monkeypatch, tmp_path, capsys):
    use_toy(monkeypatch)
    path = tmp_path / "results.json"
    arguments = ["run", "--networks", "resnet20", "--accumulators", "e4m5", "-o", str(path)]
    assert main([*arguments, "--calibrations", "rule,rule+taper+gain+bias"]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["calibration"] for row in rows] == ["rule", "rule+taper+gain+bias", "rule"]
    assert [row["rounding"] for row in rows] == ["rz", "rz", "rne"]
    assert all(row["n"] == 60 and len(row["layers"]) == 2 for row in rows)
    assert "--accumulators e4m5 --calibrations rule+taper+gain+bias" in rows[1]["command"]
    capsys.readouterr()
    assert main([*arguments, "--calibrations", "rule"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["layers", "--networks", "resnet20", "--accumulators", "e4m5", "-o", str(path)]) == 0
    layers = [row for row in json.loads(path.read_text())["rows"] if row["kind"] == "layers"]
    assert [row["accumulator"] for row in layers] == ["e4m5", "e3m7", "e3m5"]
    for row in layers:
        assert all(each["biases"]["best_error"] <= each["biases"]["rule_error"] for each in row["layers"])

    results = json.loads(path.read_text())
    text = section(results)
    assert text.startswith("## Calibration without training\n")
    for row in results["rows"]:
        assert f"`{row['command']}`" in text
    assert text.count("| `e4m5`, nearest even | rule | 16 | 60 |") == 1
    (name, svg), (_, again) = *figures(results).items(), *figures(results).items()
    assert name == "calibration.svg" and svg == again and svg.startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--networks", "resnet21"], "no network called 'resnet21'"),
        (["run", "--accumulators", "m7"], "'m7' is not an accumulator"),
        (["run", "--calibrations", "gain"], "does not begin with"),
        (["run", "--images", "0"], "--images must be from 1 to 10000, not 0"),
    ],
)
def test_errors_of_the_command(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err
