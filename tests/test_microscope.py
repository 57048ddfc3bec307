"""The microscope on networks: what it counts, restores and finds, and the command."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from golden.catalog import find
from golden.config import ConfigError
from sim.inject import accumulate
from sim.microscope import DEFAULTS, profile, profile_workload
from sim.microscope.__main__ import main
from sim.microscope.events import KINDS
from sim.microscope.locate import locate
from sim.microscope.page import html_page
from sim.microscope.plots import figures
from sim.microscope.restore import rank_layers
from sim.microscope.results import add_summary, section
from sim.microscope.runner import Runner, angle_error, first_inputs
from sim.mixed.patterns import LayerPatterns
from sim.mixed.plan import layers_of, plan_from
from sim.workload import example_workload


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 36, 12),
        nn.ReLU(),
        nn.Linear(12, 3),
    ).eval()


def images(count, seed=1):
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def runner_of(model, inputs, config):
    layers = layers_of(model, inputs, seed=0)
    plan = plan_from(layers, LayerPatterns.of({"*": config}), calibrated=False)
    return Runner(model=model, plan=plan, names=layers.names, seed=0)


def test_looking_on_changes_nothing_and_counts_what_accumulate_counts():
    model, inputs = network(), images(7)
    runner = runner_of(model, inputs, "float8")
    outputs, recorder = runner.run([inputs], count=True, keep=True)
    with torch.no_grad(), accumulate(runner.plan, count_events=True) as counted:
        assert torch.equal(outputs[0], model(inputs))
    assert list(recorder.events) == runner.layers == ["0", "3", "5"]
    for layer, wanted in zip(recorder.events.values(), counted.events, strict=True):
        assert layer.steps * layer.channels == wanted.inner.steps
        assert layer.chunks * layer.channels == wanted.outer.steps
        totals = {kind: int(sum(layer.counts[row] for row in rows).sum()) for kind, rows in KINDS.items()}
        assert totals == {
            "overflow": wanted.product.overflow + wanted.inner.overflow,
            "underflow": wanted.product.underflow + wanted.inner.underflow,
            "swamping": wanted.inner.swamped,
            "chunk overflow": wanted.outer.overflow,
            "chunk underflow": wanted.outer.underflow,
            "chunk swamping": wanted.outer.swamped,
        }
    assert [layer.channels for layer in recorder.events.values()] == [4, 12, 3]
    assert recorder.kept["3"][0].shape == (7, 12)


def test_events_are_found_in_the_channel_they_happen_in():
    model = nn.Sequential(nn.Linear(8, 3, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.5], [3.0], [0.25]]).expand(3, 8))
    inputs = torch.full((5, 8), 3.0)  # 72 in channel 1, and float12 ends at 63.75
    _, recorder = runner_of(model, inputs, "float12").run([inputs], count=True)
    layer = recorder.events["0"]
    assert layer.share("overflow").tolist() == [0, 1 / 8, 0]
    assert layer.reach.tolist() == [12 / 63.75, 1, 6 / 63.75]


def test_columns_that_vary_in_number_count_as_one_channel():
    class Attention(nn.Module):
        def forward(self, x):
            return x @ x.transpose(-1, -2)

    model, inputs = Attention().eval(), [torch.randn(2, n, 8) for n in (3, 5)]
    runner = runner_of(model, inputs[0], "float8")
    _, recorder = runner.run(inputs, count=True)
    (layer,) = recorder.events.values()
    assert (layer.channels, layer.steps) == (1, 8 * 2 * (3 * 3 + 5 * 5))
    with torch.no_grad(), accumulate(runner.plan, count_events=True) as counted:
        for each in inputs:
            model(each)
    assert int(layer.counts[4]) == sum(each.inner.swamped for each in counted.events) > 0


def test_exact_layers_add_up_exactly_and_patched_results_are_replaced():
    model, inputs = network(), images(5)
    runner = runner_of(model, inputs, "float8")
    exact, recorder = runner.run([inputs], exact=runner.layers, keep=True)
    wide = runner_of(model, inputs, "float32-px").run([inputs])[0]
    assert torch.allclose(exact[0], wide[0], atol=1e-5)
    assert not torch.allclose(exact[0], runner.run([inputs])[0][0], atol=1e-3)
    assert [len(kept) for kept in recorder.kept.values()] == [1, 1, 1]
    places, values = torch.tensor([4]), torch.tensor([100.0])
    patched, _ = runner.run([inputs], patched={"5": (places, values)})
    assert patched[0][1, 1] == 100 + model[5].bias[1]
    assert int((patched[0] != runner.run([inputs])[0][0]).sum()) == 1


def test_the_error_of_outputs_is_their_angle():
    wanted = torch.randn(6, 4)
    assert angle_error([3 * wanted + 5], [wanted]) == pytest.approx(0, abs=1e-12)
    a, b = torch.tensor([[1.0, -1, 0, 0]]), torch.tensor([[0.0, 0, 1, -1]])
    assert angle_error([a], [b]) == 1
    assert angle_error([torch.zeros(1, 4)], [b]) == 1
    assert angle_error([-b], [b]) == 2


def test_first_inputs_are_cut_from_all_arguments():
    batches = [(torch.arange(4), torch.arange(4), "all"), (torch.arange(4, 8), torch.arange(4), "all")]
    (a, b, c), (d, e, _) = first_inputs(batches, 6)
    assert (a.tolist(), b.tolist(), c) == ([0, 1, 2, 3], [0, 1, 2, 3], "all")
    assert (d.tolist(), e.tolist()) == ([4, 5], [0, 1])
    assert len(first_inputs(batches, 3)) == 1


def broken():
    """Right in float32; hidden unit 1 is 288, saturates at 63.75 from k = 7 on, and class 0 loses by it."""
    model = nn.Sequential(nn.Linear(32, 3, bias=False), nn.Linear(3, 2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.0], [3.0], [0.25]]).expand(3, 32))
        model[1].weight.copy_(torch.tensor([[0.0, 0.125, 0], [0, 0, 1]]))
    return model, torch.full((1, 32), 3.0)


def test_a_wrong_answer_is_followed_to_the_product_that_overflows():
    model, inputs = broken()
    with torch.no_grad():
        assert model(inputs).tolist() == [[36, 24]]
    found = locate(runner_of(model, inputs, "float12"), (inputs,), 0)
    assert (found.layer, found.number, found.layers, found.got) == ("0", 0, 2, 1)
    assert (found.dot.place, found.step.k, found.step.kind) == ((0, 1), 7, "overflow")
    assert found.by_gradient
    assert found.enough == 1
    assert found.margins["float32"] == 12
    assert found.margins["exact from this layer on"] == found.margins["this output exact, too"] == 12
    assert found.margins["exact after this layer"] < 0
    assert found.events["overflow"]["first_k"] == 7
    content = found.to_json()
    assert (content["exact"], content["k"], content["place"]) == (288, 7, {"row": 0, "channel": 1})


def test_what_no_accumulator_is_to_blame_for_is_not_followed():
    model, inputs = broken()
    assert locate(runner_of(model, inputs, "float12"), (inputs,), 1) is None  # wrong with exact sums as well
    assert locate(runner_of(model, inputs, "float32"), (inputs,), 0) is None  # right


def test_a_product_that_is_no_modules_result_is_found_by_its_error():
    class Functional(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.first, self.second = (model[i].weight.detach().t().contiguous() for i in (0, 1))

        def forward(self, x):
            return x @ self.first @ self.second

    model, inputs = broken()
    found = locate(runner_of(Functional(model), inputs, "float12"), (inputs,), 0)
    assert not found.by_gradient
    assert (found.dot.place, found.step.k, found.step.kind) == ((0, 1), 7, "overflow")


def test_the_layer_that_costs_most_comes_first():
    model, inputs = broken()
    inputs = torch.cat([inputs, -inputs, inputs / 2, inputs / 8])
    labels = torch.tensor([0, 1, 0, 0])
    runner = runner_of(model, inputs, "float12")
    workload = example_workload(model, inputs, labels, name="broken")
    float32, ours = runner.float32(workload.batches), runner.run(workload.batches)[0]
    seen = []
    first, second = rank_layers(runner, workload, ours=ours, float32=float32, done=seen.append)
    assert (first.layer, second.layer, seen) == ("0", "1", ["0", "1"])
    assert workload.score(ours) == 25  # the last one, whose sums end at 36
    assert first.gain == first.value - 25 > second.gain
    assert first.interval[0] < first.gain < first.interval[1]


def test_a_model_of_ones_own_is_profiled_in_one_line(tmp_path):
    model, inputs = broken()
    found = profile(model, torch.cat([inputs, inputs / 8]), "float12")
    assert found.scores == {"float32": 100, "exact sums": 100, "accumulators": 50}
    assert found.wrong == [0] == [found.looked_into]
    page = found.write(tmp_path).read_text()
    content = json.loads((tmp_path / "profile.json").read_text())
    assert page == html_page(content, figures(content))
    assert (tmp_path / "events.svg").read_text() in page
    assert page.count("<svg") == 4
    assert not re.search(r"""(src|href)=["']https?:""", page)
    assert "overflows first at k = 7" in page
    assert content["layers"][0]["share_by_channel"]["overflow"][1] > 0


def test_patterns_of_layers_are_profiled_too():
    model, inputs = network(), images(9)
    found = profile(model, inputs, LayerPatterns.of({"*": "float8", "5": "float16"}))
    assert [layer.config.accumulator.format.silicon_name for layer in found.plan] == ["e4m3", "e4m3", "e5m10"]
    with pytest.raises(ConfigError, match="matches no layer"):
        profile(model, inputs, LayerPatterns.of({"*": "float8", "6": "float16"}))


def test_an_input_that_is_not_wrong_cannot_be_looked_into():
    model, inputs = broken()
    workload = example_workload(model, torch.cat([inputs, inputs / 8]), name="broken")
    with pytest.raises(ConfigError, match=r"input 1 is not one .*; these are: 0"):
        profile_workload(workload, "float12", settings=replace(DEFAULTS, input=1))


MODULE = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 4))
    return model, torch.randn(40, 24)
"""


def test_the_command_writes_a_page_and_adds_to_results(tmp_path, capsys):
    source = tmp_path / "net.py"
    source.write_text(MODULE)
    results = tmp_path / "microscope.json"
    arguments = [f"{source}:make", "--no-waves", "--results", str(results)]
    assert main([*arguments, "--config", "e5m4", "-o", str(tmp_path)]) == 0
    assert str(tmp_path / "index.html") in capsys.readouterr().out
    content = json.loads(results.read_text())
    (first,) = content["profiles"].values()
    assert (first["config"], first["n"]) == ("e5m4", 40)
    assert first["command"].startswith("python -m sim.microscope ")
    text = section(content)
    assert text.count("| net, `e5m4` |") == 1
    assert f"`{first['ranking'][0]['layer']}`" in text
    whole = json.loads((tmp_path / "profile.json").read_text())
    add_summary(whole, results)
    assert section(json.loads(results.read_text())) == text  # in the place of the same one
    add_summary(whole | {"config": "float8"}, results)
    assert section(json.loads(results.read_text())).count("| net, ") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digits", "--config", "float99"], "there is no configuration called 'float99'"),
        (["nonsense", "--config", "float12"], "there is no model called 'nonsense'"),
        (["digits", "--config", "float12", "--count", "0"], "--count must be from 1 to 10000, not 0"),
        (["digits", "--config", "none.toml"], "none.toml cannot be read"),
        (["digits"], "required: --config"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_catalogue_and_short_names_reach_the_microscope():
    model, inputs = network(), images(4)
    for name in ("e4m3", find("float8").name):
        plan = runner_of(model, inputs, name).plan
        assert plan[0].config.accumulator == find("float8").accumulator
