"""Under accumulate(gradient=...) products are differentiable by the rule, and none escapes."""

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from golden.catalog import find
from golden.config import ConfigError, MacConfig
from golden.gradients import GradientRule
from sim import autograd_override, gradients
from sim.inject import UnreplacedProductError, accumulate, largest
from sim.operands import LayerConfig, fit_operands, quantize_operand

CONFIG = find("float8")  # narrow: sums overflow, and the rule matters
STOCHASTIC = MacConfig.parse(find("float12").name.replace("_rz", "_sr8"))
RULE = GradientRule.parse("recursive/of")


def tensor(*shape, seed=0, grad=True):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_(grad)


def operands(x, w):
    layer = fit_operands(CONFIG, largest(x), largest(w), int_bits=16, length=None)
    return (quantize_operand(x, layer.config.x, 1.0), quantize_operand(w, layer.config.w, 1.0), layer.config)


def expected(x, w, upstream, rule=RULE):
    """Result and gradients of x @ w, by the differentiable product of the quantized operands."""
    a, b, config = operands(x, w)
    a.requires_grad_(), b.requires_grad_()
    result = gradients.matmul(a, b, config, rule=rule, backend="cpu")
    result.backward(upstream)
    return result.detach(), a.grad, b.grad


X, W = (20 * tensor(5, 40, grad=False)).requires_grad_(), tensor(40, 7, seed=1)
UPSTREAM = tensor(5, 7, seed=2, grad=False)

PRODUCTS = {
    "mm": lambda x, w: torch.mm(x, w),
    "linear": lambda x, w: functional.linear(x, w.t()),
    "linear with bias": lambda x, w: functional.linear(x, w.t(), torch.zeros(7)),
    "matmul": lambda x, w: x @ w,
    "einsum": lambda x, w: torch.einsum("mk,kn->mn", x, w),
    "tensordot": lambda x, w: torch.tensordot(x, w, dims=1),
    "bmm": lambda x, w: torch.bmm(x[None], w[None])[0],
    "baddbmm": lambda x, w: torch.baddbmm(torch.zeros(1, 5, 7), x[None], w[None])[0],
    "addmm": lambda x, w: torch.addmm(torch.zeros(7), x, w),
    "addmm in place": lambda x, w: torch.zeros(5, 7).addmm_(x, w),
    "vmap": lambda x, w: torch.func.vmap(lambda row: row @ w)(x),
    "conv1d": lambda x, w: functional.conv1d(x[:, :, None], w.t()[:, :, None])[:, :, 0],
    "conv2d": lambda x, w: functional.conv2d(x[:, :, None, None], w.t()[:, :, None, None])[:, :, 0, 0],
}


@pytest.mark.parametrize("inside", [True, False], ids=["backward inside", "backward outside"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_by_whatever_name(name, inside):
    x, w = X.detach().clone().requires_grad_(), W.detach().clone().requires_grad_()
    with accumulate(CONFIG, gradient=RULE) as mode:
        result = PRODUCTS[name](x, w)
        if inside:
            result.backward(UPSTREAM)
    if not inside:
        result.backward(UPSTREAM)
    value, of_x, of_w = expected(X, W, UPSTREAM)
    assert mode.calls == 1
    assert torch.equal(result, value)
    if name.startswith("conv"):  # whose backward pass adds up in another order
        torch.testing.assert_close((x.grad, w.grad), (of_x, of_w))
    else:
        assert torch.equal(x.grad, of_x) and torch.equal(w.grad, of_w)
    exact = UPSTREAM @ operands(X, W)[1].t()
    assert not torch.allclose(of_x, exact, atol=0.1), "the rule should make a difference here"


def test_mv_and_dot():
    x, w = X.detach().clone().requires_grad_(), W.detach().clone().requires_grad_()
    with accumulate(CONFIG, gradient=RULE) as mode:
        torch.mv(x, w[:, 0]).backward(UPSTREAM[:, 0])
        of_x = x.grad
        x.grad = None
        torch.dot(x[0], w[:, 0]).backward()
    assert mode.calls == 2
    _, wanted, _ = expected(X, W[:, :1], UPSTREAM[:, :1])
    assert torch.equal(of_x, wanted)
    _, wanted, _ = expected(X[:1], W[:, :1], torch.ones(1, 1))
    assert torch.equal(x.grad[:1], wanted) and not x.grad[1:].any()


def test_the_forward_pass_is_that_of_inference():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5))
    images = tensor(4, 1, 8, 8, grad=False)
    for dtype in (torch.float32, torch.float64):
        model, images = model.to(dtype), images.to(dtype)
        for name in ("float8", "int12", "fixed16-rne", "float20", "int32", "fixed32"):
            with accumulate(name, gradient="identity"):
                trained = model(images)
            with torch.no_grad(), accumulate(name):
                assert torch.equal(model(images), trained)
            with torch.inference_mode(), accumulate(name, gradient="identity"):
                assert torch.equal(model(images), trained)


@pytest.mark.parametrize("name", ["recursive/of", "immediate/diff"])
def test_a_network_is_its_products_one_by_one(name):
    rule = GradientRule.parse(name)
    first, second = tensor(40, 16), tensor(16, 7, seed=1)
    x = (20 * tensor(5, 40, seed=3, grad=False)).requires_grad_()
    with accumulate(CONFIG, gradient=rule):
        ((x @ first).relu() @ second).backward(UPSTREAM)
    hidden, _, _ = expected(x, first, torch.zeros(5, 16), rule)
    _, of_hidden, of_second = expected(hidden.relu(), second, UPSTREAM, rule)
    _, of_x, of_first = expected(x, first, of_hidden * (hidden > 0), rule)
    assert torch.equal(second.grad, of_second)
    assert torch.equal(first.grad, of_first) and torch.equal(x.grad, of_x)


def modules():
    batch = tensor(2, 6, 8)
    return {
        "attention": (nn.MultiheadAttention(8, 2, batch_first=True), (batch, batch, batch), 4),
        "encoder": (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (batch,), 6),
        "cell": (nn.LSTMCell(8, 5), (batch[0],), 2),
        "depthwise": (nn.Conv2d(4, 4, 3, groups=4), (tensor(2, 4, 7, 7),), 1),
    }


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", modules())
def test_modules_made_in_cpp(name, training):
    model, inputs, products = modules()[name]
    model.train(training)
    with accumulate("e4m7", gradient="immediate/of") as mode:
        outputs = model(*inputs)
        (outputs if isinstance(outputs, torch.Tensor) else outputs[0]).square().sum().backward()
    assert mode.calls == products and not mode.unreplaced
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())
    with torch.no_grad(), accumulate("e4m7") as mode:  # and without gradients the fast path stays off
        model(*inputs)
    assert mode.calls == products


def test_attention_by_function():
    q, k, v = (tensor(2, 4, 6, 8, seed=i) for i in range(3))
    with accumulate("e4m7", gradient=RULE) as mode:
        functional.scaled_dot_product_attention(q, k, v).sum().backward()
    assert mode.calls == 2 and all(each.grad.abs().sum() > 0 for each in (q, k, v))


def test_a_plan_with_scales_and_saturation():
    scale = torch.tensor([0.5, 1, 2, 1, 4, 0.25, 1], dtype=torch.float64)
    config = MacConfig.parse(CONFIG.name)
    layer = LayerConfig(config=config, x_scale=2.0, w_scale=scale, length=40)
    x, w = X.detach().clone().requires_grad_(), W.detach().clone().requires_grad_()
    with accumulate([layer], gradient="identity"):
        result = x @ w
        result.backward(UPSTREAM)
    a, b = quantize_operand(x / 2, config.x, 1.0), quantize_operand(w / scale, config.w, 1.0)
    inner = gradients.matmul(a, b, config, rule=GradientRule.parse("identity"), backend="cpu")
    assert torch.equal(result, (inner * 2 * scale).float())
    held = (x.detach() / 2).abs() <= config.x.max_value
    assert not held.all(), "some of it should saturate"
    assert torch.equal(x.grad, ((UPSTREAM * (2 * scale)).float() @ b.float().t() / 2) * held)
    assert torch.allclose(w.grad, a.t() @ UPSTREAM * 2, rtol=1e-6)
    with torch.no_grad(), accumulate([layer]):
        assert torch.equal(x @ w, result)


def test_a_checkpoint_repeats_the_same_products():
    model = nn.Sequential(nn.Linear(40, 16), nn.ReLU(), nn.Linear(16, 7))
    gradients_of = []
    for run in (model, lambda x: checkpoint(model, x, use_reentrant=False)):
        model.zero_grad()
        with accumulate(CONFIG, gradient=RULE):
            run(X.detach()).backward(UPSTREAM)
        gradients_of.append([each.grad.clone() for each in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients_of, strict=True))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([LayerConfig(config=CONFIG, x_scale=1.0, w_scale=1.0, length=None)], "a plan of products in order"),
        (STOCHASTIC, "a stochastic rounding"),
    ],
    ids=["plan", "stochastic"],
)
def test_a_checkpoint_that_would_repeat_other_products_is_refused(layers, message):
    model = nn.Linear(40, 7)
    with pytest.raises(ConfigError, match=message), accumulate(layers, gradient=RULE):
        checkpoint(model, X.detach(), use_reentrant=False).backward(UPSTREAM)


def test_the_innermost_context_computes():
    with accumulate("exact", gradient="identity") as outer:
        with accumulate(CONFIG, gradient=RULE) as inner:
            result = X @ W
        _ = X @ W
    assert (outer.calls, inner.calls) == (1, 1)
    assert torch.equal(result, expected(X, W, UPSTREAM)[0])
    with torch.no_grad(), accumulate(CONFIG) as outer, accumulate(find("int32")) as inner:
        _ = X @ W  # plain sums: by torch's own products, which are not the outer context's
    assert (outer.calls, inner.calls) == (0, 1)


def kernels():
    return [torch._C._dispatch_dump(f"aten::{name}") for name in autograd_override.OPERATORS]


def test_torch_is_as_before_after_the_context():
    before = kernels()
    with accumulate(CONFIG, gradient=RULE):
        assert kernels() != before
    assert kernels() == before
    with pytest.raises(ZeroDivisionError), accumulate(CONFIG, gradient=RULE):
        with accumulate(CONFIG, gradient=RULE):
            pass
        assert kernels() != before, "the outer context is still open"
        _ = 1 / 0
    assert kernels() == before
    x = X.detach().clone().requires_grad_()
    (x @ W.detach()).backward(UPSTREAM)
    assert torch.equal(x.grad, UPSTREAM @ W.detach().t())


def test_no_warnings_are_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with accumulate(CONFIG, gradient=RULE):
            (X @ W).sum().backward()


def test_another_thread_is_not_concerned():
    got = []
    with accumulate(CONFIG, gradient=RULE):
        thread = threading.Thread(target=lambda: got.append(X @ W))
        thread.start()
        thread.join()
    assert torch.equal(got[0], X.detach() @ W.detach())


def test_products_for_which_there_is_no_rule_are_refused():
    x = tensor(1, 2, 4, 4)
    with (
        pytest.raises(UnreplacedProductError, match="multiplies matrices and is not replaced"),
        accumulate(CONFIG, gradient=RULE),
    ):
        functional.conv_transpose2d(x, tensor(2, 3, 2, 2))
    with accumulate(CONFIG, gradient=RULE, strict=False) as mode:
        functional.conv_transpose2d(x, tensor(2, 3, 2, 2)).sum().backward()
    assert mode.unreplaced == ["aten.convolution.default"]
    assert torch.equal(
        x.grad, torch.autograd.grad(functional.conv_transpose2d(x, tensor(2, 3, 2, 2)).sum(), x)[0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient": "straight"}, "'straight' is not a rule of gradients"),
        ({"backward": "float16"}, "give gradient= too"),
        ({"gradient": "identity", "count_events": True}, "leave out count_events or gradient"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message), accumulate(CONFIG, **options):
        pass


def test_a_backward_pass_inside_needs_a_rule():
    x = X.detach().clone().requires_grad_()
    with pytest.raises(ConfigError, match="needs a gradient rule"), accumulate(CONFIG):
        (x @ W.detach()).backward(UPSTREAM)


def test_what_autograd_cannot_do_is_refused():
    def loss(x):
        return (x @ W.detach()).sum()

    with accumulate(CONFIG, gradient=RULE), pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(loss)(X.detach())
    x = X.detach().clone().requires_grad_()
    with accumulate(CONFIG, gradient=RULE):
        (first,) = torch.autograd.grad((x @ W.detach()).square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()


def test_an_old_torch_is_refused(monkeypatch):
    monkeypatch.delattr(torch.library, "get_kernel")
    with (
        pytest.raises(ConfigError, match="gradients through an accumulator need torch"),
        accumulate(CONFIG, gradient=RULE),
    ):
        pass
    with torch.no_grad(), accumulate(CONFIG):
        _ = X @ W


def test_gradients_through_a_configuration_of_their_own():
    found = []
    for backward in (None, "float32", "float6"):
        x = X.detach().clone().requires_grad_()
        with accumulate(CONFIG, gradient="identity", backward=backward):
            (x @ W.detach()).backward(UPSTREAM)
        found.append(x.grad)
    assert not torch.equal(found[0], found[2]) and not torch.equal(found[1], found[2])
