"""Mixed widths: patterns of layers, plans made of them, the search, and the command."""

import itertools
import json

import pytest
import torch
from torch import nn

from golden.catalog import CATALOG, find
from golden.config import ConfigError, FixedAccumulator
from sim.inject import accumulate
from sim.microscope.runner import Runner, angle_error
from sim.mixed.__main__ import main
from sim.mixed.areas import REPORTED, Candidate, candidates_of
from sim.mixed.patterns import LayerPatterns, toml_text
from sim.mixed.plan import layers_of, load_plan, plan_from
from sim.mixed.products import products_of
from sim.mixed.results import section
from sim.mixed.search import area_of, best_assignments, front, undominated
from sim.mixed.sensitivity import fitted, sensitivities


def write(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return path


def test_the_last_pattern_that_matches_decides(tmp_path):
    path = write(
        tmp_path, '"*" = "float8"\n"layer3.*" = "fixed12"\n"layer3.1.conv?" = "e5m10"\n"[cx]onv1" = "int16"\n'
    )
    patterns = LayerPatterns.read(path)
    assert patterns.config_of("layer2.0.conv1") == find("float8")
    assert patterns.config_of("layer3.0.conv1") == find("fixed12")
    assert patterns.config_of("layer3.1.conv2") == find("float16")
    assert patterns.config_of("conv1") == find("int16")
    patterns.check(["conv1", "linear", "layer3.0.conv1", "layer3.1.conv1"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"*" = "float99"', "no configuration called 'float99'"),
        (
            "layer3.conv1 = 'float8'",
            'layer3 is a table; put the whole name into quotes, as in "layer3.conv1"',
        ),
        ('"*" = 8', "has 8, which names no configuration"),
        ("", "there is no pattern"),
        ('"*" = "float8"\n"*" = "float9"', "is not TOML"),
        ("no toml at all", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_is_named_with_the_reason(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        LayerPatterns.read(path)
    assert said in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_patterns_and_layers_that_have_no_counterpart_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"'layer3\.\*' matches no layer .* did you mean layer2\.0 or layer1\.0"
    ):
        LayerPatterns.of({"*": "float8", "layer3.*": "float9"}).check(["layer1.0", "layer2.0"])
    with pytest.raises(ConfigError, match="no pattern matches the layer 'linear'"):
        LayerPatterns.of({"conv*": "float8"}).check(["conv1", "linear"])
    with pytest.raises(ConfigError, match="cannot be read"):
        LayerPatterns.read(tmp_path / "none.toml")


def test_what_is_written_is_read_back(tmp_path):
    configs = {"conv1": "float8", "blocks[0].fc": "e5m10", "what?": find("fixed12").name}
    path = write(tmp_path, toml_text(configs, "found\nby a search"))
    patterns = LayerPatterns.read(path)
    patterns.check(configs)
    assert patterns.config_of("blocks[0].fc") == find("float16")
    with pytest.raises(ConfigError):
        patterns.config_of("blocks0.fc")


class Net(nn.Module):
    """A convolution, a layer, and a product of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
        self.last = torch.randn(3, 3)

    def forward(self, x):
        return self.head(self.conv(x).relu().flatten(1)) @ self.last


NAMES = ["conv", "head.0", "head.2", "(root)"]


def net():
    return Net().eval().requires_grad_(False)


def images(count=6):
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def test_products_are_known_by_name_and_size():
    shapes = products_of(net(), images(2))
    assert [shape.name for shape in shapes] == NAMES
    assert [shape.length for shape in shapes] == [9, 64, 8, 3]
    assert [shape.macs for shape in shapes] == [2 * 4 * 16 * 9, 2 * 8 * 64, 2 * 3 * 8, 2 * 3 * 3]


def test_a_plan_has_each_layers_configuration_in_order(tmp_path):
    path = write(tmp_path, '"*" = "float8"\n"head.*" = "fixed10"\n"head.2" = "exact"\n')
    model, inputs = net(), images()
    plan = load_plan(path, model, inputs, calibrated=False, seed=0)
    silicons = [layer.config.silicon for layer in plan]
    assert silicons[0] == silicons[3] == find("float8").silicon
    assert silicons[1] == find("fixed10").silicon
    exact = plan[2].config.accumulator
    assert isinstance(exact, FixedAccumulator)
    assert exact.format.bits > 20
    calibrated = load_plan(path, model, inputs, calibrated=True, seed=0)
    assert [layer.config.silicon for layer in calibrated[:2]] == silicons[:2]
    with torch.no_grad(), accumulate(plan):
        ours = model(inputs)
    with torch.no_grad(), accumulate(path.as_posix()):  # fitted to the same tensors, product by product
        by_name = model(inputs)
    assert angle_error([by_name], [ours]) < 0.05
    with pytest.raises(ConfigError, match="matches no layer"):
        load_plan(
            write(tmp_path, '"*" = "float8"\n"tail" = "float9"'), model, inputs, calibrated=False, seed=0
        )


def test_several_batches_are_calibrated_on_together():
    class Attention(nn.Module):
        def forward(self, x):
            return x @ x.transpose(-1, -2) @ x

    batches = [torch.ones(2, 3, 8), 5 * torch.ones(2, 7, 8), (torch.ones(1, 4, 8),)]
    layers = layers_of(Attention(), batches, seed=0)
    assert layers.names == ["(root)", "(root):1"]
    assert layers.macs == [2 * 9 * 8 + 2 * 49 * 8 + 16 * 8] * 2
    assert [sample.length for sample in layers.samples] == [8, 7]  # of the largest batch
    assert layers.samples[0].x_largest == 5
    exact = plan_from(layers, LayerPatterns.of({"*": "exact"}), calibrated=True)
    bits = [layer.config.accumulator.format.bits for layer in exact]
    assert bits[1] > bits[0]  # whose sums may be longer than any that was seen

    class Fickle(nn.Module):
        def forward(self, x):
            return x @ x if len(x) == 2 else x

    with pytest.raises(ConfigError, match="other products with other inputs"):
        layers_of(Fickle(), [torch.ones(2, 2), torch.ones(3, 3)], seed=0)


def test_a_mapping_is_a_plan_by_name_for_accumulate():
    model, inputs = net(), images()
    with torch.no_grad(), accumulate({"*": "float32-px", "head.0": "float6"}):
        ours = model(inputs)
    with torch.no_grad(), accumulate("float32-px"):
        wide = model(inputs)
    assert not torch.equal(ours, wide)
    wrong = {"*": "float32-px", "head.7": "float6"}
    with pytest.raises(ConfigError, match="matches no layer"), torch.no_grad(), accumulate(wrong):
        model(inputs)


AREAS = [1.0, 2.0, 3.5, 2.5]
MACS = [5, 1, 3, 3]
ERRORS = [[0.9, 0.1, 0.5, 0.4], [0.4, 0.09, 0.1, 0.2], [0.1, 0.01, 0.05, 0.1], [0.5, 0.2, 0.3, 0.3]]


def brute(budget, picked, kinds):
    """The least predicted error of all assignments within the budget."""
    best = None
    for choice in itertools.product(picked, repeat=len(MACS)):
        if len(set(choice)) > kinds or area_of(choice, AREAS, MACS, "shares") > budget:
            continue
        error = sum(ERRORS[c][layer] for layer, c in enumerate(choice))
        best = error if best is None else min(best, error)
    return best


def test_the_search_finds_what_trying_everything_finds():
    assert undominated(AREAS, ERRORS) == [0, 1, 2]
    for budget in (1.0, 1.3, 1.7, 2.0, 2.4, 3.0, 3.5):
        within = [each for each in front(AREAS, MACS, ERRORS, [0, 1, 2]) if each.area <= budget]
        assert min(each.error for each in within) == pytest.approx(brute(budget, range(4), 4))
        for arrays in (1, 2, 3):
            found = best_assignments(AREAS, MACS, ERRORS, budget=budget, cost="shares", arrays=arrays)
            assert found[-1].error == pytest.approx(brute(budget, range(4), arrays))
            assert found[-1].kinds <= arrays
            for each in found:
                assert each.area == pytest.approx(area_of(each.choice, AREAS, MACS, "shares"))
                assert each.area <= budget
    areas = [each.area for each in front(AREAS, MACS, ERRORS, [0, 1, 2])]
    assert areas == sorted(areas)
    assert best_assignments(AREAS, MACS, ERRORS, budget=0.9, cost="shares", arrays=2) == []


def test_of_one_array_the_widest_layer_pays():
    (found,) = best_assignments(AREAS, MACS, ERRORS, budget=2.6, cost="widest", arrays=3)
    assert (found.choice, found.area) == ((1, 1, 1, 1), 2.0)
    assert area_of((0, 1, 2, 0), AREAS, MACS, "widest") == 3.5
    assert best_assignments(AREAS, MACS, ERRORS, budget=0.5, cost="widest", arrays=3) == []


def test_sensitivities_are_errors_of_one_layer_at_a_time():
    model, inputs = net(), images(20)
    layers = layers_of(model, inputs, seed=0)
    plans = {
        name: fitted(layers, Candidate(name=name, config=find(name), um2=1.0))
        for name in ("float32-px", "fixed6")
    }
    errors = {
        name: sensitivities(model, [inputs], plan, backend="cpu", done=lambda: None)
        for name, plan in plans.items()
    }
    assert all(
        narrow > wide for narrow, wide in zip(*(errors[n] for n in ("fixed6", "float32-px")), strict=True)
    )
    only = plan_from(layers, LayerPatterns.of({"*": "float32-px", "head.0": "fixed6"}), calibrated=True)
    runner = Runner(model=model, plan=only, names=layers.names, seed=0)
    with torch.no_grad():
        wanted = model(inputs)
    both = angle_error(runner.run([inputs])[0], [wanted])
    predicted = errors["fixed6"][1] + sum(errors["float32-px"]) - errors["float32-px"][1]
    assert both == pytest.approx(predicted, rel=0.5)


def test_areas_are_those_of_the_report(tmp_path):
    rows = {row["label"]: row for row in json.loads(REPORTED.read_text())["rows"]}
    found = candidates_of(["fixed12", "float12", "int8-wrap"], progress=print)
    assert [each.name for each in found] == ["int8-wrap", "fixed12", "float12"]
    assert [each.um2 for each in found] == [rows[each.name]["area"]["um2"] for each in found]
    assert found[2].config == CATALOG["float12"]


MODULE = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
    inputs = torch.randn(60, 24)
    return model, inputs, model(inputs).argmax(1)
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(MODULE)
    return f"{path}:make"


def test_the_command_searches_once_and_leaves_a_file_that_it_can_judge(model, tmp_path, capsys):
    output = tmp_path / "mixed.json"
    arguments = [model, "--budget", "fixed8,1800", "--candidates", "fixed6,fixed8,fixed12", "--arrays", "2"]
    assert main([*arguments, "-o", str(output)]) == 0
    content = json.loads(output.read_text())
    eight, between = content["rows"].values()
    assert eight["uniform"]["configs"] == ["fixed8"]
    assert between["uniform"]["configs"] == ["fixed6"]
    assert between["mixed"]["area_um2"] <= 1800
    assert between["mixed"]["calibration_error"] < between["uniform"]["calibration_error"]
    assert eight["as_good"]["predicted_error"] <= eight["uniform"]["predicted_error"]
    assert eight["as_good"]["area_um2"] <= eight["uniform"]["area_um2"]
    capsys.readouterr()

    first = next(iter(content["rows"]))
    content["rows"][first]["uniform"]["value"] = 12.25  # a row that is there is not computed again
    output.write_text(json.dumps(content))
    assert main([*arguments, "-o", str(output)]) == 0
    assert "12.25" in capsys.readouterr().out
    text = section(content)
    assert text.count("| net | 60 inputs |") == 2
    assert between["command"] in text

    assert main([model, "--plan", str(tmp_path / "net-1800-shares.toml"), "--calibrated"]) == 0
    assert f"accuracy {between['mixed']['value']:.2f} %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "float99"], "neither an area in um2 nor among the candidates: fixed6"),
        (["--budget", "10"], "no candidate's MAC is as small as 10 um2; use 1683 (fixed6) or more"),
        (["--budget", "fixed6", "--arrays", "0"], "--arrays must be from 1 to 4, not 0"),
        (["--plan", "none.toml"], "none.toml cannot be read"),
        ([], "one of the arguments --budget --plan is required"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(model, tmp_path, arguments, said, capsys):
    options = ["--candidates", "fixed6", "-o", str(tmp_path / "mixed.json")]
    with pytest.raises(SystemExit) as stopped:
        main([model, *options, *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
