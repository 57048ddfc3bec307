"""ONNX files become modules that compute the same, whose products are caught under the operators' names."""

import json

import numpy as np
import pytest
import torch

from golden.config import ConfigError
from sim import magika, onnx_results
from sim.inject import accumulate
from sim.products import list_products
from sim.workloads import find_workload

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'fmaq[onnx]'")
pytest.importorskip("onnx2fx", reason="onnx2fx is not installed: pip install 'fmaq[onnx]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 -- after the skip
from onnx.reference import ReferenceEvaluator  # noqa: E402

from sim.onnx_import import load_onnx  # noqa: E402


def weights(name, *shape, seed):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) / 4
    return numpy_helper.from_array(values, name)


def save(path, nodes, inputs, outputs, initializers):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def file(tmp_path):
    """A convolution, a linear layer, and products of activations, with names as exporters write them."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], "/features/features.0/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "/features/Relu"),
        helper.make_node("Flatten", ["r"], ["f"], "/Flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["g"], "/head/Gemm", transB=1),
        helper.make_node("MatMul", ["g", "w3"], ["y"], "/head"),
    ]
    initializers = [
        weights("w1", 4, 2, 3, 3, seed=1),
        weights("b1", 4, seed=2),
        weights("w2", 6, 100, seed=3),
        weights("b2", 6, seed=4),
        weights("w3", 6, 3, seed=5),
    ]
    return save(tmp_path / "net.onnx", nodes, {"x": ["n", 2, 5, 5]}, {"y": ["n", 3]}, initializers)


def test_a_converted_network_computes_the_same(file):
    x = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    model = load_onnx(file)
    (wanted,) = ReferenceEvaluator(str(file)).run(None, {"x": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_its_products_have_the_names_of_operators(file):
    listed = list_products(load_onnx(file), torch.ones(3, 2, 5, 5), layers="e4m7")
    assert [each.layer for each in listed] == ["features.features.0.Conv", "head.Gemm", "head"]
    assert all(each.replaced for each in listed)


def test_it_can_be_trained(file):
    model = load_onnx(file)
    assert {tuple(each.shape) for each in model.parameters()} == {(4, 2, 3, 3), (4,), (6, 100), (6,), (6, 3)}
    with accumulate("e4m7", gradient="recursive/of") as mode:
        model(torch.ones(3, 2, 5, 5)).square().sum().backward()
    assert mode.calls == 3 and all(each.grad.abs().sum() > 0 for each in model.parameters())


def test_a_recurrent_network(tmp_path):
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], "rnn/LSTM", hidden_size=4)]
    initializers = [weights("w", 1, 16, 3, seed=1), weights("r", 1, 16, 4, seed=2)]
    file = save(tmp_path / "rnn.onnx", nodes, {"x": [5, 2, 3]}, {"y": [5, 1, 2, 4]}, initializers)
    x = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    (wanted,) = ReferenceEvaluator(str(file)).run(None, {"x": x.numpy()})
    with torch.no_grad():
        got = load_onnx(file)(x)
        got = got if isinstance(got, torch.Tensor) else got[0]
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-4, atol=1e-5)
        with accumulate("e4m7") as mode:
            load_onnx(file)(x)
    assert mode.calls >= 10 and set(name.partition(":")[0] for name in mode.seen) == {"rnn.LSTM"}


def test_a_file_is_a_workload(file):
    workload = find_workload(str(file))
    assert workload.n == 8 and workload.metric == "agreement with float32"
    assert workload.score(workload.outputs()) == 100


def test_files_that_cannot_be_converted(file, tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        load_onnx(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ConfigError, match="cannot be read as ONNX"):
        load_onnx(tmp_path / "text.onnx")
    node = helper.make_node("Unheard", ["x"], ["y"], "u", domain="elsewhere")
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(tmp_path / "other.onnx"))
    with pytest.raises(ConfigError, match="Unheard"):
        load_onnx(tmp_path / "other.onnx")


def test_without_the_packages_it_is_refused(file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx2fx", None)
    with pytest.raises(ConfigError, match="needs the package onnx2fx, which is not installed"):
        load_onnx(file)


def test_tokens_are_the_ends_of_a_file_without_white_space():
    short = magika.tokens(b"  ab\n", b"  ab\n")
    assert short == [97, 98, 10, *[256] * 2041, 32, 32, 97, 98]
    long = magika.tokens(b"\n" + bytes(range(1, 200)) * 30, b"x" * 5000 + b"yz ")
    assert len(long) == 2048 and long[:3] == [1, 2, 3] and long[-3:] == [120, 121, 122]


needs_magika = pytest.mark.skipif(
    magika.find_magika() is None, reason="no data set: Magika's package is not on this machine"
)


@needs_magika
def test_magika_knows_what_a_file_is():
    model = load_onnx(magika.pretrained_magika())
    names = json.loads((magika.find_magika() / "config.min.json").read_bytes())["target_labels_space"]
    with open(json.__file__, "rb") as file:
        content = file.read()
    with torch.no_grad():
        (row,) = model(torch.tensor([magika.tokens(content, content)], dtype=torch.int32))
    assert names[int(row.argmax())] == "python"
    assert float(row.sum()) == pytest.approx(1, abs=1e-4)


@needs_magika
def test_another_network_is_refused(monkeypatch):
    monkeypatch.setitem(magika._SHA256, "model.onnx", "0" * 64)
    with pytest.raises(ConfigError, match="is not the published one"):
        magika.pretrained_magika()


def test_the_results_as_a_table():
    kept = onnx_results.ROOT / "docs" / "results" / "onnx.json"
    results = json.loads(kept.read_text())
    text = onnx_results.section(results)
    assert text.count("\n| `") == len(results["rows"]) > 0
    assert results["command"] in text
    with pytest.raises(ConfigError, match="no rows"):
        onnx_results.section({**results, "rows": []})


def test_what_the_command_cannot_do(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(magika, "find_magika", lambda: None)
    with pytest.raises(SystemExit) as ended:
        onnx_results.main(["-o", str(tmp_path / "onnx.json")])
    assert ended.value.code == 2 and "pip install --no-deps magika" in capsys.readouterr().err
