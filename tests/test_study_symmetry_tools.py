"""The tools of the study of symmetry, exactly: networks, backends, the probe and the array's order."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.backends import Conv2dGeometry, find_backend
from sim.orders import rotated, strided, tiled
from sim.studies.symmetry import array_order
from sim.studies.symmetry.backends import ByColumn, SharedWords
from sim.studies.symmetry.dataflows import LONGEST
from sim.studies.symmetry.networks import ConstNet, LeakyNet, averaging, filters
from sim.studies.symmetry.probe import leaves, part_sizes, pattern, reference_sizes, tree
from sim.studies.symmetry.runs import ACCUMULATORS, CHANNELS
from sim.studies.symmetry.training import History, correlation, distinct
from tests.symmetry_inputs import halves, one_thread

__all__ = ["one_thread"]

CPU = find_backend("cpu")
SIZES = dict(channels=CHANNELS, classes=10, strides=(2, 1))


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


def test_filters_are_counted_as_numbers():
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
