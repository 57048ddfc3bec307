"""Certificates: written by a command, checked by scripts that share no code, and forged in vain."""

import ast
import copy
import hashlib
import json
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from golden.config import ConfigError, MacConfig
from sim.certify.__main__ import main
from sim.certify.certificate import certify, write
from sim.certify.measure import CERTIFICATES, RESULTS, read_results
from sim.certify.page import layer_rows, printed, section
from sim.workloads import example_workload
from tests.certify_cases import CHECKERS, CONFIGS, certified, check


@pytest.mark.parametrize("script", CHECKERS, ids=lambda path: path.stem)
def test_a_checker_is_short_and_shares_no_code(script):
    source = script.read_text()
    assert len(source.splitlines()) < 100
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else each.name).partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for each in node.names
    }
    assert imported <= sys.stdlib_module_names
    assert not {"importlib", "runpy"} & imported and "__import__" not in source and "exec(" not in source


@pytest.mark.parametrize("name", CONFIGS.values(), ids=CONFIGS)
def test_a_certificate_is_checked(tmp_path, name):
    path = certified(tmp_path, name)
    run = check(path)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == ["0: holds", "3: holds"]


def narrow(layer, claim):
    claim["widths"][0] -= 1


def below(layer, claim):
    claim["high"][-1] -= 1


def lossless(layer, claim):
    for key in ("fits", "chunk_fits", "outer_fits"):
        claim[key] = not claim[key]


def smaller_inputs(layer, claim):
    layer["x"]["high"] -= 1


def shorter(layer, claim):
    layer["length"] //= 2


def other_hash(layer, claim):
    layer["sha256"] = "0" * 64


def no_claims(layer, claim):
    layer["claims"] = {}


def tighter_error(layer, claim):
    claim["error"][0] = float(np.nextafter(claim["error"][0], -1))


def tighter_gamma(layer, claim):
    claim["gamma"] = float(np.nextafter(claim["gamma"], 0))


def nothing_possible(layer, claim):
    claim["possible"] = claim["possible"][1:]


def wider_accumulator(layer, claim):
    layer["inner"]["bits"] += 1


FORGERIES = [
    *(("integers", each) for each in (narrow, below, lossless, smaller_inputs, shorter, other_hash)),
    *(("fp8", each) for each in (below, tighter_error, no_claims)),
    *(
        ("float", each)
        for each in (tighter_error, tighter_gamma, nothing_possible, shorter, other_hash, no_claims)
    ),
    *(("guarded", each) for each in (tighter_error, smaller_inputs)),
]


@pytest.mark.parametrize(("kind", "forge"), FORGERIES)
def test_a_forged_certificate_fails(tmp_path, kind, forge):
    path = certified(tmp_path, CONFIGS[kind])
    certificate = json.loads(path.read_text())
    layer = certificate["layers"][1]
    forge(layer, layer["claims"]["format"])
    path.write_text(json.dumps(certificate))
    run = check(path)
    assert run.returncode == 1
    assert "3: holds" not in run.stdout
    if not run.stderr:  # else it does not even fit together
        assert run.stdout.splitlines()[1].startswith("3: does not hold: ")


@pytest.mark.parametrize("kind", ["integers", "float"])
@pytest.mark.parametrize("rehashed", [False, True])
def test_a_changed_weight_fails(tmp_path, kind, rehashed):
    """Also with its new hash in the certificate: the bounds are others."""
    path = certified(tmp_path, CONFIGS[kind])
    certificate = json.loads(path.read_text())
    weights = path.with_name(certificate["weights"])
    tensors = safetensors.numpy.load_file(weights)
    layer = certificate["layers"][0]
    changed = tensors[layer["tensor"]].copy()
    place = np.unravel_index(np.abs(changed).argmin(), changed.shape)
    changed[place] = changed.max()
    tensors[layer["tensor"]] = changed
    safetensors.numpy.save_file(tensors, weights)
    if rehashed:
        layer["sha256"] = hashlib.sha256(changed.tobytes()).hexdigest()
        path.write_text(json.dumps(certificate))
    run = check(path)
    assert run.returncode == 1
    assert run.stdout.splitlines()[0].startswith("0: does not hold: ")
    assert ("weights" in run.stdout) is not rehashed


def test_observed_sums_stay_within_the_claims(tmp_path):
    path = certified(tmp_path, CONFIGS["integers"])
    for layer in json.loads(path.read_text())["layers"]:
        claim, seen = layer["claims"]["format"], layer["observed"]
        assert min(claim["chunk_low"]) <= seen["chunk"][0] < 0 < seen["chunk"][1] <= max(claim["chunk_high"])
        assert min(claim["low"]) <= seen["outer"][0] and seen["outer"][1] <= max(claim["high"])
        assert seen["outer_width"] <= layer["summary"]["signs"]


def test_unsigned_activations_only_where_none_is_negative(tmp_path):
    layers = json.loads(certified(tmp_path, CONFIGS["unsigned"]).read_text())["layers"]
    assert [layer["x"]["format"] for layer in layers] == ["int8", "uint8"]


class Attention(nn.Module):
    """Both operands of both products are activations."""

    def forward(self, x):
        return (x @ x.transpose(-1, -2)).softmax(-1) @ x


@pytest.mark.parametrize("kind", ["integers", "float"])
def test_products_of_activations_are_bounded_by_formats(tmp_path, kind):
    inputs = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    workload = example_workload(Attention(), inputs, name="attention")
    config = MacConfig.parse(CONFIGS[kind])
    certificate, tensors = certify(
        workload, config, calibrated=False, observed=True, seed=0, command="", report=lambda *_: None
    )
    assert not tensors and [layer["length"] for layer in certificate["layers"]] == [8, 5]
    if kind == "integers":
        claim = certificate["layers"][0]["claims"]["format"]
        assert (claim["low"], claim["high"]) == ([-8 * 128 * 127], [8 * 128 * 128])
    path = tmp_path / "certificate.json"
    write(certificate, tensors, path)
    assert check(path).returncode == 0


def test_mixed_kinds_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="fixed-point accumulator into a fixed-point one"):
        certified(tmp_path, "int8_int8_p_exact_a_int16_floor_sat_c16_o_e8m23_rne")
    with pytest.raises(ConfigError, match=r"span .* bits"):
        certified(tmp_path, "e8m23ieee_e8m23ieee_p_exact_a_e8m23_rne_c16")


def test_the_command_writes_a_certificate_that_holds(tmp_path, capsys):
    net = tmp_path / "net.py"
    net.write_text(
        "import torch\nfrom torch import nn\n"
        "def make():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Linear(20, 3)), torch.randn(4, 20)\n"
    )
    path = tmp_path / "out" / "c.json"
    assert main([f"{net}:make", "--config", "int16", "-o", str(path)]) == 0
    told = capsys.readouterr().out
    assert "layer" in told and "check_fixed.py" in told
    assert check(path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "--config", "int16"], "there is no model called 'nothing'"),
        (["digits", "--config", "int1666"], "there is no configuration called"),
        (["digits", "--config", "int16", "--inputs", "-1"], "--inputs must be 0 or more"),
        (["digits", "--config", "int16", "-o", "a.safetensors"], "name the certificate .json"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_tables(tmp_path):
    rows = []
    for name in (CONFIGS["integers"], CONFIGS["float"]):
        certificate = json.loads(certified(tmp_path, name).read_text())
        lines = printed(certificate).splitlines()
        assert len(lines) == 3 and lines[1].startswith("0 ")
        checker = {"status": 0, "layers": 2, "holds": 2, "seconds": 1.0}
        rows.append({**certificate, "layers": layer_rows(certificate), "checker": checker})
    text = section({"rows": copy.deepcopy(rows), "tightness": [], "proofs": []})
    assert text.startswith("## Certificates") and text.count("2 of 2 hold") == 2
    assert all(line.count(" | ") == text.splitlines()[4].count(" | ") for line in text.splitlines()[4:7])


def test_the_results_are_of_certificates_that_held():
    results = read_results(RESULTS)
    assert {row["key"] for row in results["rows"]} == {
        f"{model} {config} {inputs} seed 0" for model, config, inputs in CERTIFICATES
    }
    for row in results["rows"]:
        assert row["checker"]["status"] == 0 and row["checker"]["holds"] == len(row["layers"])
        for layer in row["layers"]:
            if row["certificate"] == "fixed":
                assert layer["observed"] <= layer["signs"] <= layer["l1"] <= layer["types"]
            else:
                assert layer["largest_ratio"] is None or layer["largest_ratio"] <= 1
                assert set(layer["shown"]) <= set(layer["possible"])
    assert len(results["tightness"]) > 5
    assert all(0 < row["largest_ratio"] <= 1 for row in results["tightness"])
    assert any("golden agrees" in row["converse"] for row in results["proofs"])
    assert section(results).count("python -m sim.certify ") == len(results["rows"])
