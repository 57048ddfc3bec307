"""Zero-shot rows: what they are, that they are measured once, and that the command is kind to its users."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from golden.catalog import find
from golden.config import ConfigError, FixedAccumulator, MacConfig, Overflow, Rounding
from golden.datapath import exact_accumulator
from sim.calibrate import calibrate, sample_layers
from sim.inject import accumulate
from sim.operands import quantize_operand
from sim.zero_shot import __main__ as command
from sim.zero_shot.rows import ROWS, find_rows
from tests.zero_shot_toy import Toy, run, use_toy

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def toy(monkeypatch):
    use_toy(monkeypatch)


def test_the_rows_that_are_asked_of_the_tables():
    for exp_bits, man_bits in (*((5, m) for m in range(10, 3, -1)), (4, 7)):
        for twin, rounding in (("", Rounding.TOWARD_ZERO), ("-rne", Rounding.NEAREST_EVEN)):
            config = ROWS[f"f32-e{exp_bits}m{man_bits}{twin}"].config
            assert config.x.name == config.w.name == "e8m23ieee" and config.chunk_size == 16
            assert config.product.format.silicon_name == config.accumulator.format.silicon_name
            assert config.accumulator.format.silicon_name == f"e{exp_bits}m{man_bits}"
            assert config.product.rounding is config.accumulator.rounding is rounding
            assert config.product.format.bias - config.accumulator.format.bias == 2
    assert (ROWS["float12"].config.product.format.bias, ROWS["float12"].config.accumulator.format.bias) == (
        12,
        10,
    )
    for bits in (8, 10, 12, 14, 16, 18, 20):
        for suffix, overflow in (("", Overflow.SATURATE), ("-wrap", Overflow.WRAP)):
            config = ROWS[f"int{bits}{suffix}"].config
            assert isinstance(config.accumulator, FixedAccumulator)
            assert config.accumulator.overflow is overflow and config.accumulator.format.bits == bits
    assert {"exact", *(f"fixed{bits}-calibrated" for bits in (10, 12, 16, 20))} <= set(ROWS)
    assert {row.group for row in ROWS.values()} == {"float32", "fp8", "fixed", "int8"}


def test_rows_by_group_label_and_configuration():
    assert find_rows(None) == list(ROWS.values())
    assert [row.label for row in find_rows(["fp8", "int8", "int12"])].count("int12") == 1
    canonical = "e4m3fn_e4m3fn_p_exact_a_e5m10_rne_c16"
    named, calibrated = find_rows([canonical, "float9-calibrated"])
    assert named.config == MacConfig.parse(canonical) and not named.calibrated
    assert calibrated.config == find("float9") and calibrated.calibrated


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flaot12", "there is no row called 'flaot12'; did you mean float12"),
        ("e3m4_e3m4", "is not a configuration"),
        ("e8m23ieee_e8m23ieee_p_exact_a_e5m10_rne_c16-calibrated", "its operands are e8m23ieee"),
    ],
)
def test_rows_that_are_not(name, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        find_rows([name])


def test_float32_operands_are_left_alone():
    (row,) = find_rows(["f32-e5m7"])
    for layer in Toy(20).plan(row, "cpu"):
        assert (layer.config, layer.x_scale, layer.w_scale) == (row.config, 1.0, 1.0)


def test_operands_are_fitted_to_calibration_inputs_and_paper_biases_are_kept():
    benchmark = Toy(20)
    (row,) = find_rows(["float12"])
    for layer, sample in zip(benchmark.plan(row, "cpu"), benchmark.samples, strict=True):
        assert (
            layer.config.accumulator == row.config.accumulator and layer.config.product == row.config.product
        )
        assert layer.config.x.max_value >= sample.x_largest > layer.config.x.max_value / 2


def test_sums_of_varying_length_get_a_plan_for_the_longest():
    benchmark = Toy(20)
    benchmark.longest = [500, None]
    first, second = benchmark.plan(find_rows(["exact"])[0], "cpu")
    assert first.length is None and second.length == 16
    assert first.config.accumulator == exact_accumulator(first.config.x, first.config.w, 500)


def test_a_row_has_what_the_tables_need(toy, tmp_path):
    (row,) = run(tmp_path / "out.json", "--rows", "int12-calibrated", "--images", "40")["rows"]
    assert (row["network"], row["label"], row["n"], row["seed"]) == ("resnet20", "int12-calibrated", 40, 0)
    assert MacConfig.parse(row["config"]) == find("int12")
    assert len(row["layers"]) == len(row["scales"]) == 2
    right = np.unpackbits(np.frombuffer(bytes.fromhex(row["correct"]), np.uint8))[:40]
    assert right.mean() == row["value"]
    low, high = row["interval"]
    assert low <= row["difference"] == row["value"] - row["float32_value"] <= high
    assert row["seconds"] > 0 and row["ratio"] > 0
    assert {"torch", "numpy", "threads", "processor", "backend"} <= set(row["made_by"])


def test_values_are_those_of_the_network_under_its_plan(toy, tmp_path):
    rows = run(tmp_path / "out.json", "--rows", "float12,float8-calibrated,exact,f32-e5m6")["rows"]
    benchmark = Toy(None)
    images = torch.cat(benchmark.batches)
    for row in rows:
        with torch.no_grad(), accumulate(benchmark.plan(find_rows([row["label"]])[0], "cpu")):
            guesses = benchmark.model(images).argmax(1)
        assert row["value"] == float((guesses == benchmark.labels).double().mean())


def test_backends_give_the_same_rows(toy, tmp_path):
    arguments = ("--rows", "float12,int12-wrap,f32-e5m6-rne", "--images", "16")
    fast = run(tmp_path / "cpu.json", *arguments)["rows"]
    slow = run(tmp_path / "golden.json", "--backend", "golden", *arguments)["rows"]
    assert [row["correct"] for row in fast] == [row["correct"] for row in slow]


def test_finished_rows_are_not_measured_again(toy, tmp_path, monkeypatch, capsys):
    path = tmp_path / "out.json"
    first = run(path, "--rows", "int12")
    assert "resnet20 int12 (1 of 1): accuracy" in capsys.readouterr().err
    both = run(path, "--rows", "int12,int16")
    assert both["rows"][0] == first["rows"][0]
    assert "(1 of 1)" in capsys.readouterr().err
    again = run(path, "--rows", "int12,int16")
    assert again == both and capsys.readouterr().err == ""
    other = run(path, "--rows", "int12", "--seed", "1")
    assert len(other["rows"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "resnet18"], "there is no network called 'resnet18'; use resnet20, resnet56, minilm"),
        (["--rows", "flaot12"], "there is no row called 'flaot12'"),
        (["--images", "0"], "--images must be from 1 to 10000, not 0"),
        (["--pairs", "1"], "--pairs must be from 2 to 1379, not 1"),
        (["--threads", "0"], "--threads must be from 1 to 256, not 0"),
        (["--seed", "-1"], "--seed must be from 0"),
        (["--backend", "gpu"], "there is no backend called 'gpu'"),
        (["--net", "resnet20"], "unrecognized arguments"),
    ],
)
def test_errors_are_one_sentence_and_status_2(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([*arguments, "-o", str(tmp_path / "out.json")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("python -m sim.zero_shot: error: ") and message in error and error.count("\n") == 1
    )
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"rows": [{}]}'])
def test_another_file_is_not_overwritten(toy, tmp_path, capsys, content):
    path = tmp_path / "out.json"
    path.write_text(content)
    with pytest.raises(SystemExit):
        command.main(["--networks", "resnet20", "--rows", "int12", "-o", str(path)])
    assert "is not a results file of this command" in capsys.readouterr().err
    assert path.read_text() == content


def test_without_data_the_command_says_how_to_get_them(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sim.zero_shot", "--networks", "resnet20", "-o", str(tmp_path / "out.json")],
        cwd=ROOT,
        env={"FMAQ_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "that has no resnet20-cifar10.safetensors; set FMAQ_DATA_DIR" in done.stderr


def test_a_weight_is_quantized_once_and_again_when_it_changes(monkeypatch):
    from sim import accumulate_mode

    quantized = []

    def counting(tensor, *arguments):
        quantized.append(tuple(tensor.shape))
        return quantize_operand(tensor, *arguments)

    monkeypatch.setattr(accumulate_mode, "quantized", counting)
    benchmark = Toy(24)
    plan = benchmark.plan(find_rows(["float12"])[0], "cpu")
    layers = benchmark.model
    with torch.no_grad(), accumulate(plan):
        first = layers(benchmark.batches[0])
        again = layers(benchmark.batches[0])
        assert torch.equal(first, again) and quantized.count((12, 16)) == 1
        layers[0].weight.mul_(0.5)  # in place: the same memory
        halved = layers(benchmark.batches[0])
        layers[0].weight = nn.Parameter(layers[0].weight * 2, requires_grad=False)
        restored = layers(benchmark.batches[0])
    assert quantized.count((12, 16)) == 3
    assert not torch.equal(halved, first) and torch.equal(restored, first)


def test_products_of_a_batch_are_sampled_with_their_own_operands():
    class Attention(nn.Module):
        def forward(self, x):
            return x @ x.transpose(-1, -2)

    x = torch.randn(20, 5, 4)
    (sample,) = sample_layers(Attention(), x, seed=0)
    assert sample.length == 4 and sample.x.shape == (8, 5, 4) and sample.w.shape == (8, 4, 5)
    assert all(any(torch.equal(each, member.double()) for member in x) for each in sample.x)
    assert torch.equal(sample.w, sample.x.transpose(-1, -2))
    (layer,) = calibrate([sample], find("float12"), shared=None)
    assert layer.config.silicon == find("float12").silicon
