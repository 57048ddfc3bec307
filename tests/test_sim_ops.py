"""The kernels as torch operators: the same bits in eager mode and compiled, gradients, fake tensors."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from golden.accumulate import matmul as golden_matmul
from golden.catalog import find
from golden.config import ConfigError
from sim.backends import Conv2dGeometry, find_backend
from sim.kernels import ops
from sim.operands import quantize_operand

CONFIG = "float12"
PAIRS = ([2, 1], [1, 1], [1, 2])  # stride, padding, dilation


def operand(*shape, dtype=torch.float32, seed=0):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return quantize_operand(values, find(CONFIG).x, 1.0).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matmul_is_golden(dtype):
    a, b = operand(3, 4, 20, dtype=dtype), operand(20, 5, dtype=dtype, seed=1)
    result = torch.ops.fmaq.matmul(a, b, CONFIG)
    assert result.dtype is dtype
    assert torch.equal(result.double(), golden_matmul(a, b, find(CONFIG)))


def test_convolution_is_the_backends():
    images, weight = operand(2, 4, 9, 7), operand(6, 2, 3, 2, seed=1)
    geometry = Conv2dGeometry(stride=(2, 1), padding=(1, 1), dilation=(1, 2), groups=2)
    wanted = find_backend("golden").conv2d(images, weight, find(CONFIG), geometry)
    assert torch.equal(ops.conv2d(images, weight, CONFIG, *PAIRS, 2).double(), wanted)


def test_operators_keep_torchs_rules():
    """Schema, fake tensors, autograd registration and dispatch under compilation, by torch's own check."""
    a, b = operand(3, 4, 20).requires_grad_(), operand(20, 5, seed=1).requires_grad_()
    assert set(torch.library.opcheck(ops.matmul, (a, b, CONFIG)).values()) == {"SUCCESS"}
    images, weight = operand(2, 4, 9, 7).requires_grad_(), operand(6, 2, 3, 2, seed=1).requires_grad_()
    done = torch.library.opcheck(ops.conv2d, (images, weight, CONFIG, *PAIRS, 2))
    assert set(done.values()) == {"SUCCESS"}


def test_compiled_in_one_graph():
    a, b = operand(4, 20), operand(20, 5, seed=1)

    @torch.compile(backend="aot_eager", fullgraph=True)
    def compiled(a, b):
        return torch.relu(ops.matmul(a, b, CONFIG)) + 1

    assert torch.equal(compiled(a, b), torch.relu(ops.matmul(a, b, CONFIG)) + 1)


def test_fake_tensors_have_the_results_shape():
    with FakeTensorMode():
        a, b = torch.empty(7, 1, 4, 20), torch.empty(3, 20, 5)
        assert ops.matmul(a, b, CONFIG).shape == (7, 3, 4, 5)
        images, weight = torch.empty(2, 4, 9, 7), torch.empty(6, 2, 3, 2)
        assert ops.conv2d(images, weight, CONFIG, *PAIRS, 2).shape == (2, 6, 5, 7)


def test_gradients_are_those_of_the_exact_product():
    a, b = operand(3, 4, 20).requires_grad_(), operand(20, 5, seed=1).requires_grad_()
    upstream = operand(3, 4, 5, seed=2)
    exact = torch.autograd.grad(a @ b, (a, b), upstream)
    ours = torch.autograd.grad(ops.matmul(a, b, CONFIG), (a, b), upstream)
    for got, wanted in zip(ours, exact, strict=True):
        torch.testing.assert_close(got, wanted)  # float32 sums in another order
    images, weight = operand(2, 4, 9, 7).requires_grad_(), operand(6, 2, 3, 2, seed=1).requires_grad_()
    exact = torch.conv2d(images, weight, None, *PAIRS, 2)
    upstream = operand(*exact.shape, seed=2)
    exact = torch.autograd.grad(exact, (images, weight), upstream)
    ours = torch.autograd.grad(ops.conv2d(images, weight, CONFIG, *PAIRS, 2), (images, weight), upstream)
    for got, wanted in zip(ours, exact, strict=True):
        torch.testing.assert_close(got, wanted)


def test_no_gradient_is_kept_without_one():
    with torch.no_grad():
        assert not ops.matmul(operand(4, 20).requires_grad_(), operand(20, 5), CONFIG).requires_grad


def test_errors_pass_through():
    with pytest.raises(ConfigError, match="no configuration called"):
        ops.matmul(operand(4, 20), operand(20, 5), "float1")
    with pytest.raises(ValueError, match="is no value of e3m4"):
        ops.matmul(operand(4, 20) + 1e-6, operand(20, 5), CONFIG)


def test_words_are_chosen_by_seed_and_call():
    name = "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_sr4_c16"
    a, b = operand(40, 60), operand(60, 50, seed=1)
    results = [ops.matmul(a, b, name, seed, call) for seed, call in ((0, 0), (0, 0), (1, 0), (0, 1))]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[3])
