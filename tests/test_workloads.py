"""What commands take as a model, and the list of its products."""

import json
from importlib import import_module

import pytest
import torch
from torch import nn

from golden.config import ConfigError
from sim import products
from sim.data import DataError
from sim.inject import accumulate
from sim.products import list_products, table
from sim.workload import Classification, Likeness, example_workload, first_tensor
from sim.workloads import find_workload


def tensor(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def digits():
    return find_workload("digits", count=100)


def test_a_built_in_network(digits):
    outputs = digits.outputs()
    assert digits.n == 100 and sum(map(len, outputs)) == 100 and not digits.model.training
    assert digits.score(outputs) == 100 * digits.right(outputs).mean() > 90
    assert digits.calibration_score() > 90
    with accumulate("float6"):
        narrow = digits.outputs()
    compared = digits.compared(narrow, outputs)
    assert compared["difference"] == compared["value"] - compared["float32_value"] < 0
    low, high = compared["interval"]
    assert low < compared["difference"] < high


def test_calibration_inputs_are_not_tested(digits):
    tested = {tuple(each.flatten().tolist()) for (batch,) in digits.batches for each in batch}
    assert not any(
        tuple(each.flatten().tolist()) in tested for (batch,) in digits.calibration for each in batch
    )


@pytest.mark.parametrize("name", ["fashion-mnist", "resnet20", "minilm"])
def test_built_in_networks_where_their_data_are(name):
    try:
        workload = find_workload(name, count=3)
    except ConfigError as error:
        assert isinstance(error.__cause__, DataError), "anything else is wrong"
        pytest.skip(f"no data set: {error}")
    outputs = workload.outputs()
    assert workload.n == 3 and sum(map(len, outputs)) == (6 if name == "minilm" else 3)
    assert -1 <= workload.score(outputs) <= 100
    assert workload.compared(outputs, outputs)["difference"] == 0


FILE = """
import torch
from torch import nn
from sim.workload import example_workload

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 3))

def plain(): return model(), torch.ones(5, 8)
def several(): return model(), [(torch.ones(5, 8),), torch.zeros(2, 8)]
def labelled(): return model(), torch.ones(5, 8), torch.tensor([0, 1, 2, 0, 1])
def made(): return example_workload(model(), torch.ones(4, 8), name="mine")
def wrong(): return model()
def short(): return model(), torch.ones(5, 8), torch.tensor([0])
def empty(): return model(), []
def fails(): raise RuntimeError("no weights")
number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(("function", "n"), [("plain", 5), ("several", 7), ("labelled", 5), ("made", 4)])
def test_models_of_a_file(file, function, n):
    workload = find_workload(f"{file}:{function}")
    assert workload.n == n == sum(map(len, workload.outputs()))
    assert not workload.model.training
    if function == "labelled":
        assert isinstance(workload, Classification)
        assert workload.score(workload.outputs()) == 100 * workload.right(workload.outputs()).mean()
    else:
        assert isinstance(workload, Likeness) and workload.score(workload.outputs()) == 100
        assert workload.calibration_score() == 100


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("resnet", "no model called 'resnet'; use digits, "),
        ("{folder}/net.py", "add the function that makes it"),
        ("{folder}/other.py:plain", "there is no file"),
        ("{folder}/net.py:nothing", "has no function 'nothing'"),
        ("{folder}/net.py:number", "has no function 'number'"),
        ("{folder}/net.py:fails", "RuntimeError: no weights"),
        ("{folder}/net.py:wrong", "gave Sequential; return"),
        ("{folder}/net.py:short", "5 inputs and 1 labels"),
        ("{folder}/net.py:empty", "and not empty"),
        ("{folder}/broken.py:plain", "cannot be run .SyntaxError"),
    ],
)
def test_references_that_name_nothing(file, reference, message):
    (file.parent / "broken.py").write_text("def plain(:")
    with pytest.raises(ConfigError, match=message):
        find_workload(reference.format(folder=file.parent))


def test_no_inputs_make_no_score():
    with pytest.raises(ConfigError, match="at least one input"):
        find_workload("digits", count=0)


def test_outputs_that_are_no_classes_are_correlated():
    workload = example_workload(nn.Linear(8, 1), tensor(50, 8), name="regression")
    assert workload.metric == "correlation with float32" and workload.score_unit == ""
    assert workload.score(workload.outputs()) == pytest.approx(1)
    with accumulate("float6"):
        assert 0.3 < workload.score(workload.outputs()) < 1


def test_the_first_tensor_of_the_outputs():
    assert first_tensor({"logits": (tensor(2), None)}).shape == (2,)
    with pytest.raises(ConfigError, match="gave NoneType"):
        first_tensor((None,))


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, groups=1)
        self.deep = nn.Conv3d(1, 2, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        y = self.conv(x)
        y = self.deep(y[:, None]).mean((1, 2)).flatten(1)
        return self.head(y) @ torch.ones(3, 2)


def test_every_product_is_listed():
    listed = list_products(Mixed(), tensor(2, 1, 6, 6), layers="e4m7")
    assert [(each.layer, each.operator, each.replaced) for each in listed] == [
        ("conv", "convolution", True),
        ("deep", "convolution", False),
        ("head", "addmm", True),
        ("(root)", "mm", True),
    ]
    conv, deep, head, _ = listed
    assert (conv.x, conv.w, conv.length, conv.macs) == ([2, 1, 6, 6], [4, 1, 3, 3], 9, 2 * 4 * 16 * 9)
    assert (head.length, head.macs) == (16, 2 * 16 * 3)
    assert conv.x_format.startswith("e3m4") and "a_e4m7" in conv.config
    assert "one and two dimensions" in deep.reason and deep.macs is None
    assert table(listed).splitlines()[-1].startswith("4 products, 3 replaced")


def test_the_listed_formats_are_those_that_are_computed_with():
    from sim.backends import CpuBackend

    class Recorder(CpuBackend):
        def matmul(self, a, b, config, *options, **named):
            configs.append(config.name)
            return super().matmul(a, b, config, *options, **named)

    model, x, configs = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)), tensor(5, 8), []
    with torch.no_grad(), accumulate("float32", backend=Recorder()):
        model(x)
    assert [each.config for each in list_products(model, x, layers="float32")] == configs


def test_the_command(file, capsys, tmp_path):
    products.main([f"{file}:plain", "--config", "e5m10", "--json", str(tmp_path / "list.json")])
    assert "2 products, 2 replaced, 880 MACs" in capsys.readouterr().out
    listed = json.loads((tmp_path / "list.json").read_text())
    assert [each["layer"] for each in listed] == ["0", "2"]


def test_the_command_ends_with_an_error_where_a_product_stays_in_float(tmp_path, capsys):
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\ndef make(): return torch.nn.Bilinear(3, 4, 5), (torch.ones(2, 3), torch.ones(2, 4))\n"
    )
    with pytest.raises(SystemExit) as ended:
        products.main([f"{file}:make"])
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert "1 of 1 products would stay in float, first _trilinear in (root)" in captured.err
    assert "no: this operator is not made of matmul" in captured.out
    products.main([f"{file}:make", "--allow-unreplaced"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no model called 'nothing'"),
        (["digits", "--config", "e4"], "no configuration called 'e4'"),
    ],
)
def test_what_the_command_cannot_do(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        products.main(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err


UNFIT = """
import torch
from torch import nn

def model(): return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
def transposed(): return nn.ConvTranspose2d(1, 2, 3), torch.ones(4, 1, 3, 3)
def empty(): return model(), torch.ones(0, 8)
def shape(): return model(), torch.ones(5, 7), torch.tensor([0, 1, 2, 0, 1])
def number(): return nn.Identity(), torch.tensor(1.0)
def weights():
    net = model()
    net[2].weight.data[0, 0] = float("nan")
    return net, torch.ones(5, 8)
def inputs(): return model(), torch.full((5, 8), float("inf")), torch.tensor([0, 1, 2, 0, 1])
"""


@pytest.mark.parametrize("command", ["products", "certify", "microscope", "mixed"])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("transposed", "convolution"),
        ("empty", "net: a batch of shape [0, 8] has no inputs"),
        ("shape", "net: the model cannot be run on its inputs (RuntimeError: mat1 and mat2 shapes"),
        ("number", "net: inputs are rows of a batch"),
        ("weights", "NaN or infinity cannot be quantized: the right operand of layer 2"),
        ("inputs", "NaN or infinity cannot be quantized: the left operand of layer 0"),
    ],
)
def test_a_model_that_cannot_be_is_answered_in_one_sentence(command, function, message, tmp_path, capsys):
    (tmp_path / "net.py").write_text(UNFIT)
    (tmp_path / "plan.toml").write_text('"*" = "float12"')
    options = {
        "products": ["--config", "e4m7"],
        "certify": ["--config", "int16", "-o", str(tmp_path / "certificate.json")],
        "microscope": ["--config", "float12", "-o", str(tmp_path / "profile")],
        "mixed": ["--plan", str(tmp_path / "plan.toml")],
    }
    main = products.main if command == "products" else import_module(f"sim.{command}.__main__").main
    with pytest.raises(SystemExit) as ended:
        main([f"{tmp_path}/net.py:{function}", *options[command]])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and len(said.splitlines()) == 1
