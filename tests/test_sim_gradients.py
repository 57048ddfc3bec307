"""Products that autograd differentiates: what golden.gradients says, exactly."""

import subprocess
import sys

import pytest
import torch

from golden import gradients as golden
from golden.catalog import find
from golden.config import ConfigError, MacConfig
from golden.random_words import RandomWords
from sim import gradients
from sim.backends import Conv2dGeometry, GoldenBackend, find_backend
from sim.kernels import ops
from sim.kernels.cases import draw
from tests import unrolled_gradients
from tests.kernel_matrix import CHUNKS, FIXED, FLOAT
from tests.unrolled_gradients import CONFIGS, RECURSIVE, RULES, WORDS, of_few_bits, quantized

NAMES = FLOAT[::6] + FIXED[::4] + CHUNKS[::4]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("name", CONFIGS[:6])
def test_autograd_gives_the_gradients_of_the_unrolled_graph(name, rule):
    config = MacConfig.parse(name)
    a, b, grad, _ = of_few_bits(config, 3, 9, 4, seed=2)
    out, *wanted = unrolled_gradients.gradients(grad, a, b, config, rule)
    a, b = a.float().requires_grad_(), b.float().requires_grad_()
    result = gradients.matmul(a, b, config, rule=rule, backend="cpu", random=WORDS)
    assert torch.equal(result.double(), out)
    for got, want in zip(torch.autograd.grad(result, (a, b), grad), wanted, strict=True):
        assert got.dtype is torch.float32
        assert torch.equal(got.double(), want)


@pytest.mark.parametrize(
    "left, right",
    [((2, 3, 4, 9), (9, 5)), ((6, 4, 9), (6, 9, 5)), ((4, 9), (3, 9, 5)), ((2, 1, 4, 9), (3, 9, 5))],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_batches(left, right, transposed):
    """Matrices of a batch, broadcast or not, and operands that are views; rows' random words count on."""
    config = MacConfig.parse(CONFIGS[3])
    generator = torch.Generator().manual_seed(6)
    a, b = draw(config, 24, 9, 15, "overflow", generator)
    a = a.repeat(2, 1).flatten()[: torch.Size(left).numel()].reshape(left).requires_grad_()
    b = b.t().repeat(2, 1).flatten()[: torch.Size(right).numel()].reshape(right).requires_grad_()
    x, w = (each.mT.contiguous().mT if transposed else each for each in (a, b))
    found = []
    for backend in ("golden", "cpu"):
        result = gradients.matmul(x, w, config, rule=RECURSIVE, backend=backend, random=WORDS)
        grad = torch.randint(-2, 3, result.shape, generator=generator.manual_seed(7)).double()
        found.append((result, *torch.autograd.grad(result, (a, b), grad)))
    for each in range(3):
        assert torch.equal(found[0][each], found[1][each])


GEOMETRIES = [
    Conv2dGeometry(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1),
    Conv2dGeometry(stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=1),
    Conv2dGeometry(stride=(1, 3), padding=(2, 1), dilation=(2, 1), groups=2),
    Conv2dGeometry(stride=(2, 2), padding=(0, 0), dilation=(1, 1), groups=8),
]


def convolution(config, geometry, seed):
    generator = torch.Generator().manual_seed(seed)
    images = draw(config, 2 * 9 * 8, 8, 1, "overflow", generator)[0].reshape(2, 9, 8, 8).permute(0, 3, 1, 2)
    weight = draw(config, 1, 8 * 3 * 2 // geometry.groups, 16, "alternate", generator)[1]
    weight = weight.t().reshape(16, 8 // geometry.groups, 3, 2)
    return images.contiguous().float(), weight.float()


@pytest.mark.parametrize("name", [CONFIGS[1], CONFIGS[3], CONFIGS[5]])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolutions(geometry, name):
    """By patches and the statement, which does not number the random words of groups."""
    config = MacConfig.parse(name)
    if config.stochastic and geometry.groups > 1:
        return
    images, weight = (each.requires_grad_() for each in convolution(config, geometry, 8))
    found = []
    for backend in ("golden", "cpu"):
        result = gradients.conv2d(
            images, weight, config, geometry, rule=RECURSIVE, backend=backend, random=WORDS
        )
        grad = torch.randint(-1, 2, result.shape, generator=torch.Generator().manual_seed(9)).float()
        found.append((result, *torch.autograd.grad(result, (images, weight), grad)))
    for each in range(3):
        assert torch.equal(found[0][each], found[1][each])


def test_groups_with_random_words_are_numbered_together():
    """The first of two has the words of a convolution of its own; the second those of later columns."""
    config = MacConfig.parse("e3m4_e3m4_p_exact_a_e3m4b4_sr5_c24")
    geometry = Conv2dGeometry(stride=(2, 1), padding=(1, 0), dilation=(1, 1), groups=2)
    whole = Conv2dGeometry(stride=(2, 1), padding=(1, 0), dilation=(1, 1), groups=1)
    images, weight = convolution(config, geometry, 10)
    shape = find_backend("cpu").conv2d(images, weight, config, geometry).shape
    grad = torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(11)).float()
    # The first group: the other's columns have no gradient.
    of_first = torch.cat([grad[:, :8], torch.zeros_like(grad[:, 8:])], dim=1)
    got = find_backend("cpu").conv2d_backward(
        of_first, images, weight, config, geometry, RECURSIVE, None, WORDS
    )
    want = find_backend("cpu").conv2d_backward(
        grad[:, :8].contiguous(), images[:, :4], weight[:8], config, whole, RECURSIVE, None, WORDS
    )
    assert torch.equal(got[0][:, :4], want[0])
    assert torch.equal(got[1][:8], want[1])
    assert not got[1][8:].any()
    # The second: its words are those of columns 8 to 15.
    of_second = torch.cat([torch.zeros_like(grad[:, :8]), grad[:, 8:]], dim=1)
    got = find_backend("cpu").conv2d_backward(
        of_second, images, weight, config, geometry, RECURSIVE, None, WORDS
    )
    padded = torch.cat([torch.zeros_like(weight[:8]), weight[8:]])
    want = find_backend("cpu").conv2d_backward(
        of_second, images[:, 4:], padded, config, whole, RECURSIVE, None, WORDS
    )
    assert torch.equal(got[0][:, 4:], want[0])
    assert torch.equal(got[1][8:], want[1][8:])


@pytest.mark.parametrize("by_column", [False, True])
def test_convolutions_with_orders(by_column):
    config, geometry = MacConfig.parse(CONFIGS[1]), GEOMETRIES[2]
    images, weight = convolution(config, geometry, 11)
    generator = torch.Generator().manual_seed(12)
    columns = [torch.randperm(weight[0].numel(), generator=generator) for _ in range(16)]
    order = torch.stack(columns, dim=1) if by_column else columns[0]
    shape = find_backend("cpu").conv2d(images, weight, config, geometry).shape
    grad = torch.randint(-1, 2, shape, generator=generator).float()
    arguments = (grad, images, weight, config, geometry, RECURSIVE, order, WORDS)
    wanted = find_backend("golden").conv2d_backward(*arguments)
    for got, want in zip(find_backend("cpu").conv2d_backward(*arguments), wanted, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("kind", ["matmul", "conv2d"])
def test_bits_do_not_depend_on_the_number_of_threads(kind):
    config = find("float12")
    generator = torch.Generator().manual_seed(14)
    found, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            generator.manual_seed(15)
            if kind == "matmul":
                a = quantized(torch.randn(70, 90, generator=generator) * 4, config.x)
                b = quantized(torch.randn(90, 150, generator=generator) * 4, config.w)
                grad = torch.randn(70, 150, generator=generator)
                found.append(find_backend("cpu").matmul_backward(grad, a, b, config, RECURSIVE))
            else:
                geometry = GEOMETRIES[0]
                a = quantized(torch.randn(6, 8, 12, 12, generator=generator) * 4, config.x)
                b = quantized(torch.randn(20, 8, 3, 3, generator=generator) * 4, config.w)
                grad = torch.randn(6, 20, 12, 12, generator=generator)
                found.append(find_backend("cpu").conv2d_backward(grad, a, b, config, geometry, RECURSIVE))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert torch.equal(found[0][0], other[0])
        assert torch.equal(found[0][1], other[1])


def test_gradients_nobody_asks_for_are_none():
    a, b = torch.ones(2, 3), torch.ones(3, 2, requires_grad=True)
    for rule in RULES[:3]:
        result = gradients.matmul(a, b, find("float12"), rule=rule, backend="cpu")
        result.sum().backward()
        assert a.grad is None
        assert b.grad is not None


@pytest.mark.parametrize("rule", [RULES[0], RECURSIVE], ids=lambda rule: rule.name)
def test_backward_products_through_an_accumulator(rule):
    """Their sums are those of its matmul: here over n, and over m, of operands fitted to its formats."""
    config = MacConfig.parse(CONFIGS[1])
    through = MacConfig.parse("e4m3_e4m3_p_exact_a_e5m5_rz_c4")
    a, b, _, generator = of_few_bits(config, 5, 9, 7, seed=16)
    grad = torch.randn(5, 7, generator=generator)
    kept = golden.masks(a, b, config, rule, None, WORDS).double()
    x, w = a.clone().requires_grad_(), b.clone().requires_grad_()
    result = gradients.matmul(x, w, config, rule=rule, backend="cpu", backward=through, random=WORDS)
    result.backward(grad.double())

    def fitted(values):
        exponent = through.x.max_exponent + through.x.bias
        number = through.x
        for bias in range(-40, 40):  # the largest at which the largest value is held
            candidate = MacConfig.parse(
                through.name.replace("e4m3_", f"e4m3b{bias}_".replace("b-", "bn"), 1)
            ).x
            if candidate.max_value >= float(values.abs().max()):
                number = candidate
        assert exponent
        return quantized(values, number), number

    (g, g_format), (left, x_format), (right, w_format) = fitted(grad.double()), fitted(a), fitted(b)
    golden_backend = GoldenBackend()

    def product(rows, columns, x, w):
        return golden_backend.matmul(
            rows, columns, MacConfig.parse(through.name.replace("e4m3_e4m3", f"{x.name}_{w.name}"))
        )

    for k in range(9):
        masked = g * kept[:, :, k]
        assert torch.equal(
            product(masked, right[k, :, None], g_format, w_format)[:, 0].float(), x.grad[:, k].float()
        )
        assert torch.equal(
            product(left[:, k][None], masked, x_format, g_format)[0].float(), w.grad[k].float()
        )


def test_backward_products_of_convolutions_are_those_of_patches():
    config, through = MacConfig.parse(CONFIGS[1]), find("float12")
    images, weight = (each.requires_grad_() for each in convolution(config, GEOMETRIES[2], 17))
    result = gradients.conv2d(
        images, weight, config, GEOMETRIES[2], rule=RECURSIVE, backend="cpu", backward=through
    )
    grad = torch.randn(result.shape, generator=torch.Generator().manual_seed(18))
    of_images, of_weight = torch.autograd.grad(result, (images, weight), grad)
    exact = find_backend("cpu").conv2d_backward(grad, images, weight, config, GEOMETRIES[2], RECURSIVE)
    for got, want in zip((of_images, of_weight), exact, strict=True):
        assert not torch.equal(got, want)
        assert torch.nn.functional.cosine_similarity(got.flatten(), want.flatten(), dim=0) > 0.8


MEMORY = """
import resource, sys
import torch
from golden.catalog import find
from golden.gradients import GradientRule
from sim.backends import find_backend
torch.set_num_threads(1)
config, backend = find("float12"), find_backend("cpu")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
a, b, grad = torch.full((384, 4096), 2.0), torch.full((4096, 384), 2.0), torch.ones(384, 384)
for rows in (16, 384):  # the first calls load code, which is memory, too
    for name in ("identity", "recursive/of"):
        backend.matmul_backward(grad[:rows], a[:rows], b, config, GradientRule.parse(name))
        print(peak())
"""


def test_masks_are_not_stored():
    """All would be 72 MiB as bits; an operand is 6 MiB, of which one is packed, and pages come and go."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    *_, identity, recursive = map(float, done.stdout.split())
    assert recursive - identity < 72 / 4


def test_operators_take_a_rule():
    config, geometry = find("float12"), GEOMETRIES[2]
    a, b, grad, _ = of_few_bits(config, 5, 40, 7, seed=20)
    for values in (a, b):
        values.requires_grad_()
    result = torch.ops.fmaq.matmul(a, b, "float12", 5, 6, "recursive/of")
    got = torch.autograd.grad(result, (a, b), grad.double())
    words = RandomWords(seed=5, call=6)
    want = find_backend("cpu").matmul_backward(grad, a.detach(), b.detach(), config, RECURSIVE, None, words)
    assert all(torch.equal(x.float(), y) for x, y in zip(got, want, strict=True))
    images, weight = (each.requires_grad_() for each in convolution(config, geometry, 21))
    lists = (list(geometry.stride), list(geometry.padding), list(geometry.dilation), geometry.groups)
    result = torch.ops.fmaq.conv2d(images, weight, "float12", *lists, 0, 0, "recursive/of")
    got = torch.autograd.grad(result, (images, weight), torch.ones_like(result))
    backend = find_backend("cpu")
    want = backend.conv2d_backward(torch.ones_like(result), images, weight, config, geometry, RECURSIVE)
    assert all(torch.equal(x, y) for x, y in zip(got, want, strict=True))
    arguments = (images, weight, "float12", *lists, 0, 0, "recursive/of")
    assert set(torch.library.opcheck(ops.conv2d, arguments).values()) == {"SUCCESS"}
    with pytest.raises(ConfigError, match="rule of gradients"):
        torch.ops.fmaq.matmul(a, b, "float12", 0, 0, "of")
