"""Whole models: what products are called, configurations by name, converted modules, other devices."""

import copy
import doctest
import io
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from golden.catalog import find
from golden.codes import quantize_values
from golden.config import ConfigError, FixedFormat, Rounding, parse_format
from sim.inject import accumulate, convert, named_config
from sim.straight_through import _by_torch, quantized, straight_through


def tensor(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.inner(x)
        return self.attention(x, x, x)[0] @ x.mT


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(3, 8, 1)
        self.blocks = nn.Sequential(Block(), nn.Linear(4, 4))

    def forward(self, x):
        return functional.linear(self.blocks(self.first(x).mT), torch.eye(4))


NAMES = [
    *("first", "blocks.0.inner", "blocks.0.attention"),
    *(f"blocks.0.attention:{i}" for i in range(1, 6)),
    *("blocks.0", "blocks.1", "(root)"),
]


@pytest.mark.parametrize("options", [{}, {"gradient": "identity"}], ids=["inference", "training"])
def test_products_have_the_names_of_modules(options):
    model, x = Net(), tensor(2, 3, 4)
    with torch.set_grad_enabled(bool(options)), accumulate("e4m7", **options) as mode:
        model(x)
        model(x)
    passes = len(mode.seen) // 2
    assert mode.seen[:passes] == mode.seen[passes:]
    assert [name for name in mode.seen[:passes] if ":" not in name] == [n for n in NAMES if ":" not in n]
    asked = [name for name in mode.seen[:passes] if name.startswith("blocks.0.attention")]
    assert asked == ["blocks.0.attention", *(f"blocks.0.attention:{i}" for i in range(1, len(asked)))]
    assert len(asked) == 4


def test_names_are_relative_to_the_model_that_is_given():
    model = Net()
    with torch.no_grad():
        with accumulate("e4m7", model=model) as mode:
            model.blocks[0].inner(tensor(2, 8))
            _ = tensor(2, 8) @ tensor(8, 2)
        assert mode.seen == ["blocks.0.inner", "(outside)"]
        with accumulate("e4m7") as mode:
            model.blocks[0].inner(tensor(2, 8))
        assert mode.seen == ["(root)"]


def test_names_survive_an_exception():
    model = Net()
    with torch.no_grad(), accumulate("e4m7") as mode:
        with pytest.raises(ConfigError, match="conv2d takes"):
            model(tensor(2, 5, 4))  # wrong channels
        model(tensor(2, 3, 4))
    assert mode.seen[-1] == "(root)"


def test_a_compiled_model_is_caught_under_its_own_names():
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    x = tensor(3, 8)
    with torch.no_grad(), accumulate("e4m3"):
        wanted = model(x)
    with torch.no_grad(), accumulate("e4m3") as mode:
        assert torch.equal(torch.compile(model, backend="eager")(x), wanted)
    assert mode.seen == ["0", "2"]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_made_of_products(kind):
    net, x = kind(8, 5), tensor(3, 2, 8)
    for grad, options in ((False, {}), (True, {"gradient": "recursive/of"})):
        with torch.set_grad_enabled(grad), accumulate("e4m7", **options) as mode:
            net(x)
        assert mode.calls == 4 and not mode.unreplaced  # the inputs together, and the states one by one
    assert torch.backends.mkldnn.enabled


def test_autocast_is_rounded_before_the_operands_are():
    x, w = tensor(4, 32), tensor(32, 5, seed=1)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16), accumulate("e4m7"):
            got = x @ w
        with accumulate("e4m7"):
            assert torch.equal(got, x.bfloat16() @ w.bfloat16())
    assert got.dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("float12", "float12"),
        ("e5m10", "float16"),
        ("e4m7", "float12"),
        (find("int12").name, "int12"),
    ],
)
def test_configurations_by_name(name, canonical):
    assert named_config(name) == find(canonical)


def test_an_accumulator_of_its_own_bias_and_encoding():
    biased = named_config("e4m7b12")
    assert biased.accumulator.format.name == "e4m7b12"
    assert biased.product == find("float12").product
    subnormal = named_config("e4m7s")
    assert subnormal.accumulator.format.subnormals and subnormal.product.format.subnormals


def test_a_name_that_is_none():
    with pytest.raises(ConfigError, match="no configuration called 'e4'"):
        named_config("e4")


class ByName:
    """Configurations by name, as sim.mixed has them."""

    def __init__(self, **layers):
        self.layers = {name.replace("_", "."): find(config) for name, config in layers.items()}
        self.checked = None

    def config_of(self, name):
        return self.layers.get(name, find("float32"))

    def check(self, names):
        self.checked = list(names)


def test_configurations_by_the_names_of_layers():
    model = nn.Sequential(nn.Linear(40, 16), nn.Linear(16, 7))
    x, layers = tensor(5, 40), ByName(**{"1": "float8"})
    with torch.no_grad():
        with accumulate(layers):
            got = model(x)
        with accumulate("float32"):
            hidden = model[0](x)
        with accumulate("float8"):
            assert torch.equal(got, model[1](hidden))
    assert layers.checked == ["0", "1"]


def test_a_mapping_and_a_file_of_layers(tmp_path):
    model = nn.Sequential(nn.Linear(40, 16), nn.Linear(16, 7))
    x = tensor(5, 40)
    file = tmp_path / "layers.toml"
    file.write_text('"*" = "float32"\n"1" = "float8"\n')
    outputs = []
    with torch.no_grad():
        for layers in ({"*": "float32", "1": "float8"}, str(file), ByName(**{"1": "float8"})):
            with accumulate(layers):
                outputs.append(model(x))
    assert torch.equal(outputs[0], outputs[2]) and torch.equal(outputs[1], outputs[2])


def converted():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 5))
    return model, convert(model, "e4m7", gradient="recursive/of")


def test_a_converted_network_has_the_state_of_the_network():
    model, module = converted()
    assert list(module.state_dict()) == list(model.state_dict())
    other = convert(copy.deepcopy(model), "e4m7")
    with torch.no_grad():
        other.model[3].weight.zero_()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.model[3].weight, model[3].weight)
    outer, fresh = nn.Sequential(nn.Identity(), module), nn.Sequential(nn.Identity(), converted()[1])
    plain = nn.Sequential(nn.Identity(), model)
    assert list(outer.state_dict()) == list(plain.state_dict())
    fresh.load_state_dict(plain.state_dict())
    assert torch.equal(fresh[1].model[3].weight, model[3].weight)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        module.load_state_dict({**model.state_dict(), "more": torch.zeros(1)})


def test_a_converted_network_is_trained_copied_and_saved():
    model, module = converted()
    assert module.training
    images = tensor(4, 1, 8, 8)
    module(images).square().sum().backward()
    assert all(each.grad is not None for each in model.parameters())
    module.eval()
    assert not model.training
    with torch.no_grad():
        wanted = module(images)
        assert torch.equal(copy.deepcopy(module)(images), wanted)
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        assert torch.equal(torch.load(file, weights_only=False)(images), wanted)
        with accumulate("e4m7"):
            assert torch.equal(model(images), wanted)


def test_a_part_of_a_network_is_converted():
    model = nn.Sequential(nn.Linear(40, 16), nn.Linear(16, 7))
    x = tensor(5, 40)
    with torch.no_grad():
        hidden = model[0](x)
        with accumulate("e4m3"):
            wanted = model[1](hidden)
        model[1] = convert(model[1], "e4m3")
        assert torch.equal(model(x), wanted)


@pytest.mark.parametrize(
    "name",
    ["e3m4", "e4m3", "e5m10", "e2m0b1", "e3m2s", "e4m3fn", "e8m7", "e8m23b250", "int8", "uint4", "int6ln3"],
)
def test_operands_are_the_same_on_any_device(name):
    number = parse_format(name)
    top = number.max_integer * 2.0**number.lsb if isinstance(number, FixedFormat) else number.max_value
    spread = torch.linspace(-1.5, 1.5, 4001, dtype=torch.float64)
    tiny = torch.linspace(-1, 1, 4001, dtype=torch.float64) * 2.0 ** (number.lsb_exponent + 3)
    values = torch.cat([spread * min(top, 1e300), tiny])
    for scale in (1.0, 0.75):
        wanted = quantize_values(values / scale, number, Rounding.NEAREST_EVEN)
        for got in (_by_torch(values, number, scale), quantized(values, number, scale)):
            assert torch.equal(got.double().view(torch.int64), wanted.view(torch.int64))
    channels = torch.tensor([0.5, 1, 4], dtype=torch.float64)
    rows = values[:300].view(100, 3)
    assert torch.equal(
        quantized(rows, number, channels).double(),
        quantize_values(rows / channels, number, Rounding.NEAREST_EVEN),
    )


def test_nan_is_refused_on_any_device():
    with pytest.raises(ConfigError, match="NaN or infinity cannot be quantized to e3m4"):
        _by_torch(torch.tensor([1.0, float("inf")]), parse_format("e3m4"), 1.0)


def test_the_largest_number_of_a_format_does_not_saturate():
    number, scale = parse_format("e3m4"), 2.0
    ends = torch.tensor([number.max_value, -number.max_value]) * scale
    x = torch.cat([ends, torch.nextafter(ends, 2 * ends)]).requires_grad_()
    straight_through(x, number, scale).sum().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0.0, 0.0]


def test_gradients_pass_straight_through_except_where_the_format_saturates():
    x = torch.tensor([0.1, -3.0, 100.0, -100.0], requires_grad=True)
    number, scale = parse_format("e3m4"), 2.0
    straight_through(x, number, scale).backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [0.5, 1.0, 0.0, 0.0]
    x.grad = None
    straight_through(x, number, scale, saturates=False).backward(torch.ones(4))
    assert x.grad.tolist() == [0.5] * 4


def test_the_page_is_true():
    page = Path(__file__).resolve().parent.parent / "docs" / "models.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 0 and failed == 0
