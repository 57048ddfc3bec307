"""The study of symmetry: its claims in short runs, and its tools exactly."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.backends import Conv2dGeometry, find_backend
from sim.orders import rotated, strided, tiled
from sim.studies.symmetry import STUDY, array_order
from sim.studies.symmetry.backends import ByColumn, SharedWords
from sim.studies.symmetry.dataflows import DATAFLOWS, LONGEST
from sim.studies.symmetry.leaky import differing
from sim.studies.symmetry.networks import ConstNet, LeakyNet, averaging, filters
from sim.studies.symmetry.probe import leaves, part_sizes, pattern, reference_sizes, tree
from sim.studies.symmetry.runs import ACCUMULATORS, CHANNELS, Run, perform
from sim.studies.symmetry.torch_order import REDUCTIONS, fused_differs, unequal
from sim.studies.symmetry.training import History, correlation, distinct

CPU = find_backend("cpu")
RESULTS = Path(__file__).parents[1] / "docs" / "results" / STUDY.file
SIZES = dict(channels=CHANNELS, classes=10, strides=(2, 1))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tensor(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def halves(*shape, seed=0):
    """Values of e5m10."""
    return tensor(*shape, seed=seed).half().float()


# The networks


def test_constnet_passes_the_image_to_all_channels():
    images = halves(3, 1, 8, 8)
    network = ConstNet(**SIZES, dropout=torch.nn.Identity())
    passed = network.blocks(network.first(images))
    assert torch.equal(passed, images[:, :, ::2, ::2].expand(-1, CHANNELS, -1, -1))
    assert not network(images).any()
    assert {name: distinct(rows) for name, rows in filters(network).items()} == dict.fromkeys(
        ["first", "blocks.0.conv", "blocks.0.skip", "blocks.1.conv"], 1
    )


def test_averaging_is_the_mean_of_the_inputs():
    images = halves(2, 4, 5, 5)
    conv = averaging(4, 3, size=3, stride=1, factor=-2)
    torch.testing.assert_close(conv(images), -2 * images.mean(1, keepdim=True).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("rho", [0.5, 0.125])
def test_leakynet_turns_the_sign_of_the_image_with_each_pair(rho):
    images = halves(3, 1, 8, 8)
    with torch.no_grad():
        once, twice = LeakyNet(**SIZES, rho=rho).after_pairs(images)
    assert torch.equal(once, -images[:, :, ::2, ::2].expand(-1, CHANNELS, -1, -1))
    assert torch.equal(twice, -once)


def test_filters_are_counted_by_their_bits():
    rows = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0 + 2**-22], [0.0, -0.0]])
    assert distinct(rows) == 3
    assert distinct(torch.tensor([[0.0], [-0.0]])) == 1


def test_correlation_by_hand():
    alike, opposite = torch.tensor([[1.0, 2.0, 3.0]] * 3), torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    assert correlation(alike) == correlation(torch.zeros(4, 3)) == pytest.approx(1)
    assert correlation(opposite) == pytest.approx(-1)
    assert correlation(torch.tensor([[0.0, 0.0], [1.0, 2.0]])) == 0
    assert correlation(torch.cat([alike, opposite])) == pytest.approx((6 + 4 * -1) / 10)


def test_the_first_difference_is_the_first_step_with_two_filters():
    assert History(distinct=[1, 1, 3, 1]).first_difference == 3
    assert History(distinct=[1, 1]).first_difference is None


# The claims


def short(**options):
    return perform(Run(**{"steps": 6, "batch": 32, **options}))


@pytest.mark.parametrize("accumulator", ["e8m4", "e8m7", "e8m10", "e8m23", "fixed20"])
def test_one_order_for_all_columns_keeps_one_filter_at_every_width(accumulator):
    result = short(accumulator=accumulator, steps=12)
    assert result["most_distinct"] == 1 and result["first_difference"] is None
    assert result["shown"]["correlation"] == [1.0] * len(result["shown"]["steps"])
    assert result["loss"] < 2.28, "filters that never move are alike, too"


@pytest.mark.parametrize("dataflow", [name for name, flow in DATAFLOWS.items() if flow.alike])
def test_whatever_that_order_is(dataflow):
    assert short(dataflow=dataflow, accumulator="e8m4", steps=5)["most_distinct"] == 1


@pytest.mark.parametrize("accumulator", ["e8m4", "e8m10", "e8m23"])
def test_a_rotated_order_makes_all_filters_differ_in_every_float(accumulator):
    result = short(dataflow="rotated", accumulator=accumulator, steps=4)
    assert result["first_difference"] == 2 and result["distinct"] == CHANNELS


def test_a_rotated_order_does_nothing_in_fixed_point_that_wraps():
    assert short(dataflow="rotated", accumulator="fixed24 wrap", steps=6)["most_distinct"] == 1


def test_saturation_is_what_makes_the_order_matter_in_fixed_point():
    a, b, order = 64 * halves(9, 40), halves(40, 8, seed=1), rotated(40, 8)
    for overflow, wide in (("sat", False), ("wrap", False), ("sat", True)):
        bits = 40 if wide else 16
        config = MacConfig.parse(f"e5m10_e5m10_p_exact_a_int{bits}ln6_rz_{overflow}_c8")
        same = torch.equal(CPU.matmul(a, b, config), CPU.matmul(a, b, config, order))
        assert CPU.events(a, b, config).inner.overflow > 0 or wide
        assert same == (overflow == "wrap" or wide)


@pytest.mark.parametrize("dataflow", ["tiled", "shuffled by column"])
def test_so_does_every_order_that_is_not_the_same_for_all_columns(dataflow):
    result = short(dataflow=dataflow, steps=3, batch=8)
    assert result["first_difference"] == 2 and result["distinct"] > 3


@pytest.mark.parametrize(
    ("only", "first"), [("forward", 3), ("of_w", 2), ("of_x", 2), ("of_x of convolutions", None)]
)
def test_in_which_product_the_order_matters(only, first):
    result = short(dataflow="rotated", only=only, steps=5)
    assert result["first_difference"] == first
    assert result["distinct"] == (1 if first is None else CHANNELS)


@pytest.mark.parametrize("accumulator", [name for name in ACCUMULATORS if "sr" not in name])
def test_equal_terms_have_one_sum_in_any_order(accumulator):
    """Why the order of a convolution's dx, a sum over filters that are the same, breaks no symmetry."""
    config, _ = ACCUMULATORS[accumulator].configs(4)
    a, b = (
        (torch.randint(-15, 16, (5, 1)) / 4).expand(-1, 12),
        (torch.randint(-15, 16, (1, 9)) / 4).expand(12, -1),
    )
    for order in (rotated, tiled(2), strided(5)):
        assert torch.equal(CPU.matmul(a, b, config), CPU.matmul(a, b, config, order(12, 9)))


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"accumulator": "e8m7 sr8"}, 2),
        ({"accumulator": "e8m7 sr8", "backward": "e8m7"}, 3),
        ({"backward": "e8m7 sr8"}, 2),
        ({"accumulator": "e8m7 sr8", "backward": "e8m7", "backend": "shared-words"}, None),
        ({"accumulator": "e8m7 sr8", "backend": "shared-words"}, 2),
        ({"dropout": "elements"}, 2),
        ({"dropout": "pixels"}, None),
    ],
    ids=str,
)
def test_random_numbers_that_channels_do_not_share(options, first):
    result = short(**options, batch=8, steps=3)
    assert result["first_difference"] == first
    if options.get("dropout") == "elements":  # alike inputs of the layer above have alike gradients
        assert result["of_layers"]["first"] == 1 < result["of_layers"]["blocks.1.conv"]


@pytest.mark.parametrize(("dataflow", "most"), [("chunked", 1), ("rotated", CHANNELS)])
def test_leakynet_has_the_same_symmetry(dataflow, most):
    assert short(network="LeakyNet", dataflow=dataflow, steps=5)["most_distinct"] == most


@pytest.mark.parametrize("accumulator", ["e8m4", "e8m7", "e8m23", "e8m7 rne"])
def test_pairs_of_leakynet_are_linear_in_every_float(accumulator):
    config, _ = ACCUMULATORS[accumulator].configs(16)
    assert differing(config, 0.5) == differing(config, 0.25) == 0
    assert differing(config, 0.3) > 0.3


def test_pairs_of_leakynet_are_not_linear_in_fixed_point():
    config, _ = ACCUMULATORS["fixed20"].configs(16)
    assert differing(config, 0.5) > 0.02


@pytest.mark.parametrize("name", REDUCTIONS)
def test_sums_outside_the_products_treat_channels_alike(name):
    assert unequal(REDUCTIONS[name], draws=8, seed=1) == 0


def test_the_check_of_reductions_sees_a_difference():
    def uneven(x, _):
        return [x * torch.tensor([1.0] * 7 + [1 + 2**-22])[:, None, None]]

    assert unequal(uneven, draws=3, seed=0) == 3


@pytest.mark.parametrize("taps", [9, 72, 64])
def test_the_optimizer_moves_equal_weights_alike(taps):
    assert fused_differs(fused=False, taps=taps, draws=20, seed=0) == 0


# The tools


@pytest.mark.parametrize("order", [rotated, tiled(3), strided(4)])
@pytest.mark.parametrize("accumulator", ["e8m7", "e8m7 rne", "fixed20"])
def test_backend_by_column_is_cpu_bit_for_bit(accumulator, order):
    config, _ = ACCUMULATORS[accumulator].configs(4)
    a, b = halves(7, 20), halves(20, 9, seed=1)
    steps = order(20, 9)
    assert torch.equal(ByColumn().matmul(a, b, config, steps), CPU.matmul(a, b, config, steps))
    images, weight = halves(2, 4, 5, 5), halves(6, 2, 3, 3, seed=1)
    geometry = Conv2dGeometry(stride=(2, 1), padding=(1, 1), dilation=(1, 1), groups=2)
    arguments = (images, weight, config, geometry, order(18, 6))
    assert torch.equal(ByColumn().conv2d(*arguments), CPU.conv2d(*arguments))


def test_backend_by_column_keeps_random_words_in_their_places():
    config, _ = ACCUMULATORS["e8m7 sr8"].configs(4)
    a, b, random = halves(7, 20), halves(20, 9, seed=1), RandomWords(seed=1, call=2)
    steps = rotated(20, 9)
    assert torch.equal(
        ByColumn().matmul(a, b, config, steps, random), CPU.matmul(a, b, config, steps, random)
    )


def test_shared_words_are_those_of_the_first_column():
    config, _ = ACCUMULATORS["e8m7 sr8"].configs(4)
    a, b = halves(7, 20), halves(20, 1, seed=1).expand(-1, 5)
    shared = SharedWords().matmul(a, b, config)
    assert torch.equal(shared, CPU.matmul(a, b, config)[:, :1].expand(-1, 5))
    assert not torch.equal(shared, CPU.matmul(a, b, config))
    images, weight = halves(2, 1, 4, 4), halves(1, 1, 3, 3, seed=1).expand(5, -1, -1, -1)
    geometry = Conv2dGeometry(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    result = SharedWords().conv2d(images, weight, config, geometry)
    assert torch.equal(result, result[:, :1].expand(-1, 5, -1, -1))


def test_no_sum_of_the_study_is_longer_than_the_longest_chunk():
    assert LONGEST >= 64 * 8 * 8, "the gradient of the first weights, over a batch's pixels"


@pytest.mark.parametrize("chunk", [4, 5, 24])
@pytest.mark.parametrize("order", [strided(4), rotated, tiled(1)], ids=["strided", "rotated", "tiled"])
def test_the_probe_reads_the_order_of_each_column(order, chunk):
    config = MacConfig.parse(array_order.MAC.name.replace("_c8", f"_c{chunk}"))
    steps = order(24, 3)
    sizes = reference_sizes(config, 24, 3, array_order.LARGE, steps)
    for column in range(3):
        wanted = (steps if steps.ndim == 1 else steps[:, column]).tolist()
        found = leaves(tree(sizes[column]))
        # The first two of a sum, products or chunks, may stand in either order: nothing depends on it.
        first = min(chunk, 24)
        assert sorted(found[: 2 * first]) == sorted(wanted[: 2 * first]), (found, wanted)
        assert found[2 * first :] == wanted[2 * first :]
        again = reference_sizes(config, 24, 1, array_order.LARGE, torch.tensor(found))
        assert torch.equal(again[0], sizes[column])


def test_a_tree_in_brackets():
    assert pattern((((0, 1), 2), (3, 4))) == "(0 1 2) + (3 4)"
    assert pattern(((0, 1), (2, 3))) == "(0 1) + (2 3)"
    sizes = part_sizes(lambda a, b: (a[:, :1] + a[:, 2:]) + a[:, 1:2], 3, 1, 2.0**60)
    assert pattern(tree(sizes[0])) == "(0 2 1)"


def test_sizes_that_no_tree_has():
    with pytest.raises(ValueError, match="no tree"):
        tree(torch.tensor([[1, 2, 2], [2, 1, 2], [2, 2, 1]]))


def test_the_probe_wants_a_number_that_swallows_the_others():
    with pytest.raises(ValueError, match="must swallow"):
        part_sizes(lambda a, b: a @ b + 0.25, 8, 2, 4.0)


def test_the_array_adds_in_the_contracts_order_in_every_column():
    """Read off the Verilated RTL; two passes a chunk, three tiles of columns."""
    driver = array_order.array_of(rows=4, cols=4, stages=0)
    for length, columns in ((24, 11), (30, 4)):
        found = array_order.orders_of(driver, length=length, columns=columns)
        assert found["distinct"] == 1 and found["ascending"] and found["contract"], found
    assert found["pattern"].startswith("(0 1 2 3 4 5 6 7) + (8 9 ")


def test_the_array_would_be_told_from_one_that_rotates():
    """The same hardware, its operands handed over in another order for each column."""
    driver = array_order.array_of(rows=4, cols=4, stages=0)
    steps = rotated(24, 3)

    class Rotating:
        def matmul_codes(self, x, w, mac, words):
            products = [
                driver.matmul_codes(x[:, picked], w[picked][:, [j]], mac, words)
                for j, picked in enumerate(steps.T.numpy())
            ]
            return replace(products[0], codes=np.concatenate([each.codes for each in products], axis=1))

    found = array_order.orders_of(Rotating(), length=24, columns=3)
    assert found["distinct"] == 3 and not found["ascending"] and not found["contract"]


# What is kept


def test_the_kept_results_hold_the_claims():
    parts = {name: part["data"] for name, part in json.loads(RESULTS.read_text())["parts"].items()}
    for run in parts["alike"]["runs"]:
        assert run["most_distinct"] == 1 and run["steps"] >= 300, (run["dataflow"], run["accumulator"])
    for run in parts["apart"]["runs"]:
        assert run["distinct"] == CHANNELS
        assert run["first_difference"] == 2 or run["accumulator"] == "fixed20"
    assert parts["fixed"]["runs"][-1]["most_distinct"] == 1
    assert all(row["contract"] and row["distinct"] == 1 for row in parts["array"]["found"])
    sentence = STUDY.headline(parts)
    assert len(sentence.split()) <= 45
