"""Orders of summation: what they are, and that every product of accumulate(order=...) is taken in its own."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from golden.accumulate import check_order
from golden.catalog import find
from golden.config import ConfigError, MacConfig
from golden.gradients import GradientRule, masks
from sim.backends import Conv2dGeometry, find_backend
from sim.inject import accumulate, convert, extents
from sim.operands import fit_operands, quantize_operand
from sim.orders import ORDERS, Orders, Shuffled, ascending, rotated, strided, tiled

CPU = find_backend("cpu")
#: Short, so that the order decides nearly every result.
CONFIG = MacConfig.parse("e5m10_e5m10_p_e8m4_rz_a_e8m4_rz_c4")
SHAPES = [(0, 3), (1, 1), (5, 1), (7, 4), (16, 9)]


def tensor(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def product(x, w, config=CONFIG, order=None):
    """The product of operands that are fitted as accumulate fits them."""
    fitted = fit_operands(config, *extents(x, w), int_bits=16, length=None).config
    a, b = quantize_operand(x, fitted.x, 1.0), quantize_operand(w, fitted.w, 1.0)
    return CPU.matmul(a, b, fitted, order, dtype=torch.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("order", [*ORDERS.values(), strided(1), tiled(1)])
def test_every_order_is_a_permutation_of_k(order, shape):
    steps = order(*shape)
    if steps is not None:
        check_order(steps, *shape)


def test_orders_by_hand():
    assert ascending(5, 2) is None
    assert strided(2)(5, 3).tolist() == [0, 2, 4, 1, 3]
    assert rotated(3, 4).T.tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]
    assert tiled(2)(4, 5).T.tolist() == [[0, 1, 2, 3]] * 2 + [[2, 3, 0, 1]] * 2 + [[0, 1, 2, 3]]


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shuffled_orders_go_on_from_product_to_product(by_column, shape):
    one, other = Shuffled(seed=3, by_column=by_column), Shuffled(seed=3, by_column=by_column)
    first, second = one(*shape), one(*shape)
    check_order(first, *shape)
    assert torch.equal(first, other(*shape)) and torch.equal(second, other(*shape))
    if shape[0] > 10:
        assert not torch.equal(first, second)
    assert first.ndim == 1 + by_column
    if by_column and min(shape) > 4:
        assert len(torch.unique(first, dim=1).T) > 1


def test_no_such_order():
    with pytest.raises(
        ConfigError, match="'backwards'; use ascending, strided, rotated, tiled, or a function"
    ):
        Orders.of("backwards")


@pytest.mark.parametrize("order", [5, torch.arange(4), [3, 2, 1, 0]], ids=lambda order: type(order).__name__)
def test_what_is_no_order(order):
    message = f"not a {type(order).__name__}; for one order of all products give lambda k, n: order"
    with pytest.raises(ConfigError, match=message), accumulate(CONFIG, order=order):
        pass
    with pytest.raises(ConfigError, match=message):
        Orders(forward=ascending, of_x=order, of_w=ascending)


def test_an_order_must_be_a_tensor():
    message = r"of k = 4 and n = 2 is a list; its function must give an int64 tensor of shape \[k\]"
    given = accumulate(CONFIG, order=lambda k, n: [3, 2, 1, 0])
    with pytest.raises(ConfigError, match=message), torch.no_grad(), given:
        tensor(3, 4) @ tensor(4, 2)


@pytest.mark.parametrize("count", [0, -1, 1.5])
@pytest.mark.parametrize("order", [strided, tiled])
def test_lanes_and_tiles_are_counted(order, count):
    with pytest.raises(ConfigError, match=f"must be a whole number of at least 1, not {count}"):
        order(count)


@pytest.mark.parametrize("grad", [False, True], ids=["inference", "differentiable"])
@pytest.mark.parametrize("name", ["strided", "rotated", "tiled"])
def test_products_are_taken_in_the_order(name, grad):
    x, w = tensor(6, 40), tensor(40, 9, seed=1)
    options = {"gradient": "identity"} if grad else {}
    with torch.set_grad_enabled(grad), accumulate(CONFIG, order=name, **options):
        result = x @ w.requires_grad_(grad)
    w = w.detach()
    assert torch.equal(result.detach(), product(x, w, order=ORDERS[name](40, 9)))
    assert not torch.equal(result.detach(), product(x, w)), "the order should make a difference here"


def test_events_are_those_of_the_order():
    x, w = tensor(6, 40), tensor(40, 9, seed=1)
    with torch.no_grad(), accumulate(CONFIG, order="rotated", count_events=True) as counted:
        x @ w
    fitted = fit_operands(CONFIG, *extents(x, w), int_bits=16, length=None).config
    a, b = quantize_operand(x, fitted.x, 1.0), quantize_operand(w, fitted.w, 1.0)
    assert counted.events == [CPU.events(a, b, fitted, rotated(40, 9))]
    assert counted.events != [CPU.events(a, b, fitted)]


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_are_taken_in_the_order_of_their_channels(groups):
    images, weight = tensor(2, 6, 5, 5), tensor(4, 6 // groups, 3, 3, seed=1)
    with torch.no_grad(), accumulate(CONFIG, order="rotated"):
        result = functional.conv2d(images, weight, padding=1, groups=groups)
    fitted = fit_operands(CONFIG, *extents(images, weight), int_bits=16, length=None).config
    a, b = quantize_operand(images, fitted.x, 1.0), quantize_operand(weight, fitted.w, 1.0)
    geometry = Conv2dGeometry(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=groups)
    order = rotated(weight[0].numel(), 4)
    assert torch.equal(result, CPU.conv2d(a, b, fitted, geometry, order, dtype=torch.float32))
    assert not torch.equal(result, CPU.conv2d(a, b, fitted, geometry, dtype=torch.float32))


def test_each_of_the_three_products_has_its_own_order():
    x, w, upstream = tensor(6, 20).requires_grad_(), tensor(20, 9, seed=1).requires_grad_(), tensor(6, 9)
    ways = Orders(forward=rotated, of_x=strided(3), of_w=tiled(4))
    with accumulate(CONFIG, gradient="identity", backward=CONFIG, order=ways):
        result = x @ w
        result.backward(upstream)
    a, b = x.detach(), w.detach()
    assert torch.equal(result.detach(), product(a, b, order=rotated(20, 9)))
    assert torch.equal(x.grad, product(upstream, b.T, order=strided(3)(9, 20)))
    assert torch.equal(w.grad, product(a.T, upstream, order=tiled(4)(6, 9)))


def test_one_order_is_for_all_three_products_of_a_convolution():
    images, weight = tensor(2, 3, 4, 4).requires_grad_(), tensor(5, 3, 1, 1, seed=1).requires_grad_()
    upstream = tensor(2, 5, 4, 4, seed=2)
    with accumulate(CONFIG, gradient="identity", backward=CONFIG, order="rotated"):
        functional.conv2d(images, weight).backward(upstream)
    pixels = images.detach().transpose(0, 1).flatten(1).T
    rows = upstream.transpose(0, 1).flatten(1).T
    kernel = weight.detach().flatten(1).T
    of_pixels = product(rows, kernel.T, order=rotated(5, 3))
    assert torch.equal(images.grad, of_pixels.T.unflatten(1, (2, 4, 4)).transpose(0, 1))
    assert torch.equal(weight.grad.flatten(1), product(pixels.T, rows, order=rotated(32, 5)).T)


@pytest.mark.parametrize("order", [strided(2), rotated], ids=["one for all", "by column"])
def test_masked_gradients_are_sums_in_the_order(order):
    narrow = find("float8")  # sums overflow, and terms are masked
    x, w = (20 * tensor(3, 40)).requires_grad_(), tensor(40, 5, seed=1).requires_grad_()
    upstream = tensor(3, 5, seed=2)
    rule = GradientRule.parse("recursive/of")
    with accumulate(narrow, gradient=rule, backward=CONFIG, order=order):
        (x @ w).backward(upstream)
    fitted = fit_operands(narrow, *extents(x, w), int_bits=16, length=None).config
    a, b = (quantize_operand(each.detach(), number, 1.0) for each, number in ((x, fitted.x), (w, fitted.w)))
    kept = masks(a, b, fitted, rule, order(40, 5))  # [m, n, k]
    assert not kept.all()
    backward = fit_operands(CONFIG, *extents(upstream, b), int_bits=16, length=None).config
    left, right = quantize_operand(upstream, backward.x, 1.0), quantize_operand(b, backward.w, 1.0)
    for k in range(40):
        steps = order(5, 40)
        steps = steps if steps.ndim == 1 else steps[:, k]
        terms = left * kept[..., k]
        expected = CPU.matmul(terms, right[k][:, None], backward, steps.contiguous(), dtype=torch.float32)
        assert torch.equal(x.grad[:, k], expected[:, 0]), k


def test_float32_gradients_have_no_order():
    x, w, upstream = tensor(6, 20), tensor(20, 9, seed=1), tensor(6, 9)
    found = []
    for order in (None, "rotated"):
        left = x.clone().requires_grad_()
        with accumulate(CONFIG, gradient="identity", order=order):
            (left @ w).backward(upstream)
        found.append(left.grad)
    assert torch.equal(*found)


def test_a_converted_network_keeps_its_order():
    torch.manual_seed(0)
    network, x = nn.Linear(40, 9, bias=False), tensor(6, 40)
    with torch.no_grad():
        result = convert(network, CONFIG, order="rotated")(x)
    assert torch.equal(result, product(x, network.weight.detach().T, order=rotated(40, 9)))
