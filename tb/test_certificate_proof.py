"""Bounds on the RTL's flags: what holds is proved, what does not is refuted, and golden agrees."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from golden import arith
from golden.codes import decode
from golden.config import MacConfig, parse_format
from sim.certify.certificate import certify, write
from sim.workloads import example_workload
from tb.certificate_circuit import Circuit, UndecidedError
from tb.certificate_proof import Channel, narrower
from tb.certificate_proof_run import main, prove_layer

WEIGHTS = (7, -8, 3, -1, 5)


def channel(name, weights=WEIGHTS, **ends):
    config = MacConfig.parse(name)
    ends = {"x_low": 8, "x_high": 7} | ends  # codes of int4
    return Channel(config=config, w_codes=tuple(w & 15 for w in weights), **ends)


def bits(code, width):
    return [code >> i & 1 for i in range(width)]


@pytest.mark.parametrize("name", ["int4", "uint3", "e2m1", "e2m2s"])
def test_within_compares_every_code(name):
    number = parse_format(name)
    codes = torch.arange(2**number.code_bits)
    values = decode(codes, number).tolist()
    ends = [i for i in codes.tolist() if not (values[i] == 0 and i)]  # zero without its sign bit
    for low in (i for i in ends if values[i] <= 0):
        for high in (i for i in ends if values[i] >= 0):
            found = [Circuit().within(bits(i, number.code_bits), number, low, high) for i in codes.tolist()]
            assert found == [int(values[low] <= value <= values[high]) for value in values]


def test_what_the_solver_finds_is_so():
    circuit = Circuit()
    code = circuit.free(8)
    five = circuit.both(circuit.at_most(code, 5), circuit.at_most(code, 4) ^ 1)
    model = circuit.solve(five, seconds=60, model=True)
    assert [model[bit] for bit in code] == [True, False, True, *[False] * 5]
    nothing = circuit.both(circuit.at_most(code, 3), circuit.at_most(code, 4) ^ 1)
    assert circuit.solve(nothing, seconds=60, model=False) is None
    assert circuit.solve(nothing, seconds=60, model=True) is None
    assert circuit.solve(five, seconds=60, model=False) is not None


@pytest.mark.parametrize("policy", ["floor_sat", "floor_wrap"])
def test_a_channel_is_proved_at_its_width_and_refuted_below(policy):
    """The sums of int4 inputs by these weights fill their width, and no less."""
    name = f"int4_int4_p_exact_a_int{{}}_{policy}_c2"
    high = sum(7 * w if w > 0 else -8 * w for w in WEIGHTS)
    low = sum(-8 * w if w > 0 else 7 * w for w in WEIGHTS)
    width = 1 + max(high.bit_length(), (-1 - low).bit_length())
    wide = channel(name.format(width))
    proof = wide.prove(seconds=60)
    assert (proof.steps, proof.high, proof.low - 2**width) == (5 + 3, high, low)
    narrow = channel(name.format(width - 1))
    assert narrow.config == narrower(wide.config)
    with pytest.raises(AssertionError, match="leaves its bounds"):
        narrow.prove(seconds=60)
    for found in (narrow.refute(wide.config, seconds=60), narrow.refute_at_once(seconds=60)):
        overflow, _ = arith.dot_events(found.x_codes, list(narrow.w_codes), narrow.config)
        assert overflow
    assert wide.refute(wide.config, seconds=60) is None
    assert wide.refute_at_once(seconds=60) is None


def test_a_smaller_range_of_inputs_takes_fewer_bits():
    narrow = channel("int4_int4_p_exact_a_int8_floor_sat_c2", x_low=0, x_high=3)
    assert narrow.prove(seconds=60).steps == 8
    with pytest.raises(AssertionError):
        channel(narrow.config.name).prove(seconds=60)


def test_float_bounds_are_proved_by_monotony():
    """FP4 operands: the sums of the largest products are the largest sums, also where they are rounded."""
    config = MacConfig.parse("e2m1_e2m1_p_e4m1b5_rz_a_e4m2b6_rz_c2")
    ends = {"x_low": 15, "x_high": 7}
    proof = Channel(config=config, w_codes=(7, 13, 2, 1), **ends).prove(seconds=60)
    highest = arith.dot([7, 15, 7, 7], [7, 13, 2, 1], config)
    assert proof.high == highest and proof.steps == 4 + 2
    with pytest.raises(AssertionError, match="leaves its bounds"):
        small = MacConfig.parse("e2m1_e2m1_p_e4m1b5_rz_a_e3m2b3_rz_c2")
        Channel(config=small, w_codes=(7, 7, 7, 7), **ends).prove(seconds=60)


def test_undecided_is_an_error():
    with pytest.raises(UndecidedError):
        channel("int4_int4_p_exact_a_int9_floor_sat_c2").refute_at_once(seconds=1e-4)


@pytest.fixture
def certificate(tmp_path):
    torch.manual_seed(0)
    workload = example_workload(nn.Sequential(nn.Linear(4, 2)), torch.randn(8, 4), name="tiny")
    config = MacConfig.parse("int4_int4_p_exact_a_int12_floor_sat_c2")
    made = certify(
        workload, config, calibrated=False, observed=False, seed=0, command="", report=lambda *_: None
    )
    path = tmp_path / "tiny.json"
    write(*made, path)
    return path


def test_the_command_proves_a_layer(certificate, tmp_path, capsys):
    output = tmp_path / "results.json"
    assert main([str(certificate), "-o", str(output)]) == 0
    (row,) = json.loads(output.read_text())["proofs"]
    assert row["steps"] == 2 * (4 + 2) and row["channels"] == 2
    assert "golden agrees" in row["converse"] and "golden agrees" in row["chunk_converse"]
    assert "proved in" in capsys.readouterr().out


def test_a_claim_that_the_rtl_does_not_reach_is_refused(certificate):
    import safetensors.numpy

    layer = json.loads(certificate.read_text())["layers"][0]
    weights = safetensors.numpy.load_file(certificate.with_suffix(".safetensors"))[layer["tensor"]]
    layer["claims"]["format"]["high"][0] += 1
    with pytest.raises(AssertionError, match="not what is claimed"):
        prove_layer(layer, weights.astype(np.int64), [0], seconds=60, show=False)
