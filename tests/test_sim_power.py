"""Stimuli are what a MAC in a column sees, and the command says what it measured with them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.catalog import find
from golden.config import MacConfig
from sim.activity import _column, _Layer, stimulus
from sim.operands import LayerConfig
from sim.power import main
from sim.power_page import section, table


def test_a_real_stimulus_is_a_layer_as_a_column_sees_it():
    config = find("float12")
    found = stimulus("digits", config, hardwired=False, count=4096)
    assert len(found) == 4096 and found.config.silicon == config.silicon
    weights = found.w.reshape(-1, 64)
    assert (weights == weights[:, :1]).all() and len(np.unique(weights[:, 0])) > 8  # held for a tile's depth
    assert np.mean(found.x == 0) > 0.1  # behind a ReLU
    # Where a chunk begins the sum is 0 for all of a block; elsewhere nearly never.
    zero = (found.acc.reshape(-1, 64) == 0).mean(1)
    assert 0 < np.count_nonzero(zero == 1) < len(zero) / 4
    again = stimulus("digits", config, hardwired=False, count=4096)
    other = stimulus("digits", config, hardwired=False, count=4096, seed=1)
    assert np.array_equal(found.acc, again.acc) and not np.array_equal(found.acc, other.acc)
    wired = stimulus("digits", found.config, hardwired=True, count=64)
    assert wired.config.offsets == found.config.offsets


def test_incoming_sums_are_goldens_of_the_products_before():
    # Five equal activations a row, and weights of one, in chunks of three.
    ones = _Layer(x=torch.arange(1, 65)[:, None].expand(64, 5).double(), w=torch.ones(5, 1).double())
    config = replace(find("int20"), chunk_size=3)
    fitted = LayerConfig(config=config, x_scale=1.0, w_scale=1.0, length=5)
    found = _column("ones", "", ones, fitted, np.random.default_rng(0), 5 * 64)
    place = found.acc // found.x  # of k in its chunk of three: as many equal products came before
    assert np.array_equal(found.acc, place * found.x)
    assert sorted(place.reshape(5, 64)[:, 0].tolist()) == [0, 0, 1, 1, 2]
    assert np.array_equal(found.result, (place + 1) * found.x)


def test_uniform_codes_are_finite_and_cover_the_format():
    config = find("float12")
    found = stimulus("uniform", config, hardwired=False, count=20_000)
    for codes, number in ((found.x, config.x), (found.acc, config.accumulator.format)):
        magnitude = codes & (2 ** (number.code_bits - 1) - 1)
        assert magnitude.max() == number.max_magnitude_code
        assert abs(np.mean(codes >> (number.code_bits - 1)) - 0.5) < 0.02
    stochastic = MacConfig.parse("e3m4_e3m4_p_exact_a_e4m7_sr8_c16")
    words = stimulus("uniform", stochastic, hardwired=False, count=1000)
    assert words.product_word is None and words.acc_word.max() < 2**8


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing is asked for"),
        (["--results", "float12"], "--results has rows of its own"),
        (["float99"], "there is no configuration called 'float99'"),
        (["float8", "--clock", "0"], "--clock 0 is no period"),
        (["float8", "--stimulus", "gaussian", "gaussian"], "names one twice"),
        (["float8", "--stimulus", "uniform", "--wired"], "calibrate no offset to be wired"),
        (["float8", "--stimulus", "gaussian", "--tech", "builtin"], "has no timing"),
        (["float8", "--jobs", "0"], "--jobs must be at least 1"),
    ],
)
def test_the_command_says_what_cannot_be_asked(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_the_command_prints_what_it_measured(capsys):
    file = Path(__file__).resolve().parents[2] / "shared" / "data" / "liberty" / "sky130hd_tt.lib.gz"
    if not file.is_file():
        pytest.skip(f"no data set: there is no {file}")
    arguments = ["float6", "--clock", "50", "--stimulus", "gaussian", "uniform", "--jobs", "1"]
    assert main([*arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    (row,) = content["rows"]
    first = row["stimuli"]["gaussian"]
    assert first["energy_pj"] == pytest.approx(sum(row["parts"].values()), rel=1e-4)
    assert first["energy_pj"] == pytest.approx(sum(first["kinds"].values()), rel=1e-4)
    assert row["stimuli"]["uniform"]["energy_pj"] > first["energy_pj"]  # weights are not held
    assert first["glitch_ratio"] > 1 and first["cycles"] > 4096 and row["delay_ns"] < 50
    text = section(content)
    assert (
        text.startswith("## Energy at real activity\n") and "`float6`" in text and "uniform activity" in text
    )
    assert f"{first['energy_pj']:.3f}" in table(content["rows"])
