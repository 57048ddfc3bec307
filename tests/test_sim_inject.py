"""Every product of a network is the bit-accurate one, whoever asks for it, and none escapes."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from golden import accumulate as golden
from golden.catalog import find
from golden.codes import quantize_values
from golden.config import ConfigError, FixedFormat, Rounding
from sim.inject import UnreplacedProductError, accumulate, convert
from sim.operands import bias_that_fits, fit_operands, quantize_operand
from sim.product_mode import _OTHER_PRODUCTS

CONFIG = find("float12")


def tensor(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def expected(x, w, config=CONFIG):
    """The product by golden, with operands as the contract quantizes them."""
    layer = fit_operands(config, float(x.abs().max()), float(w.abs().max()), int_bits=16, length=None)
    a = quantize_values(x.double() / layer.x_scale, layer.config.x, Rounding.NEAREST_EVEN)
    b = quantize_values(w.double() / layer.w_scale, layer.config.w, Rounding.NEAREST_EVEN)
    return (golden.matmul(a, b, layer.config) * (layer.x_scale * layer.w_scale)).float()


X, W, BIAS = tensor(5, 40), tensor(7, 40, seed=1), tensor(7, seed=2)

PRODUCTS = {
    "linear": lambda: functional.linear(X, W),
    "linear without rows": lambda: functional.linear(X[0], W)[None].expand(5, 7)[:1],
    "matmul": lambda: X @ W.t(),
    "mm out of einsum": lambda: torch.einsum("mk,nk->mn", X, W),
    "addmm": lambda: torch.addmm(torch.zeros(7), X, W.t()),
    "tensordot": lambda: torch.tensordot(X, W, dims=([1], [1])),
    "mv": lambda: torch.mv(W, X[0])[None],
    "dot": lambda: torch.dot(X[0], W[0])[None, None],
    "bmm": lambda: torch.bmm(X[None], W.t()[None])[0],
    "inner": lambda: torch.inner(X, W),
    "addmm in place": lambda: torch.zeros(5, 7).addmm_(X, W.t()),
    "out": lambda: torch.mm(X, W.t(), out=torch.empty(5, 7)),
    "empty out": lambda: torch.matmul(X, W.t(), out=torch.empty(0)),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("inference", [False, True], ids=["no_grad", "inference_mode"])
def test_products_by_whatever_name(name, inference):
    with torch.inference_mode() if inference else torch.no_grad(), accumulate(CONFIG) as mode:
        got = PRODUCTS[name]()
    rows = X if got.shape[0] == 5 else X[:1]
    columns = W if got.shape[1] == 7 else W[:1]
    assert mode.calls == 1
    if name == "mv":  # here W is the left operand
        assert torch.equal(got[0], expected(W, X[0][:, None])[:, 0])
    else:
        assert torch.equal(got, expected(rows, columns.t()))
    assert not torch.equal(got, rows @ columns.t()), "the accumulator should make a difference here"


@pytest.mark.parametrize("name", ["float12", "float12-rne-g0", "fixed16", "int12", "exact"])
def test_kinds_of_accumulator(name):
    with torch.no_grad(), accumulate(find(name)):
        got = functional.linear(X, W)
    assert torch.equal(got, expected(X, W.t(), find(name)))


def test_the_bias_is_added_in_float():
    with torch.no_grad(), accumulate(CONFIG):
        got = functional.linear(X, W, BIAS)
    assert torch.equal(got, expected(X, W.t()) + BIAS)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"padding": (0, 2), "dilation": (1, 2)}, {"groups": 2}],
    ids=["plain", "strided", "dilated", "grouped"],
)
def test_conv2d_is_the_product_of_its_patches(options):
    images, groups = tensor(2, 4, 9, 8), options.get("groups", 1)
    weight = tensor(6, 4 // groups, 3, 3, seed=1)
    with torch.no_grad(), accumulate(CONFIG):
        got = functional.conv2d(images, weight, **options)
    spatial = {name: value for name, value in options.items() if name != "groups"}
    scale = float(images.abs().max())
    for group in range(groups):
        part = images.chunk(groups, 1)[group].clone()
        columns = functional.unfold(part, 3, **spatial)  # [i, k, places]
        columns = torch.cat([columns.transpose(1, 2).flatten(0, 1), torch.full((1, columns.shape[1]), scale)])
        rows = weight.chunk(groups, 0)[group].flatten(1).t()
        layer = fit_operands(CONFIG, scale, float(weight.abs().max()), int_bits=16, length=None)
        a = quantize_values(columns.double(), layer.config.x, Rounding.NEAREST_EVEN)[:-1]
        b = quantize_values(rows.double(), layer.config.w, Rounding.NEAREST_EVEN)
        wanted = golden.matmul(a, b, layer.config).float()
        assert torch.equal(got.chunk(groups, 1)[group].permute(0, 2, 3, 1).flatten(0, 2), wanted)


def test_conv1d_is_a_conv2d_of_one_row():
    signal, weight = tensor(2, 3, 20), tensor(5, 3, 4, seed=1)
    with torch.no_grad(), accumulate(CONFIG):
        one = functional.conv1d(signal, weight, BIAS[:5], stride=2, padding=1)
        two = functional.conv2d(
            signal[:, :, None], weight[:, :, None], BIAS[:5], stride=(1, 2), padding=(0, 1)
        )
    assert torch.equal(one, two[:, :, 0])


def test_attention_is_made_of_products():
    q, k, v = (tensor(2, 4, 6, 8, seed=i) for i in range(3))
    with torch.no_grad(), accumulate(CONFIG) as mode:
        functional.scaled_dot_product_attention(q, k, v)
    assert mode.calls == 2


@pytest.mark.parametrize(
    "run",
    [
        lambda: functional.conv3d(tensor(1, 1, 4, 4, 4), tensor(1, 1, 2, 2, 2)),
        lambda: functional.conv_transpose2d(tensor(1, 2, 4, 4), tensor(2, 3, 2, 2)),
        lambda: torch.linalg.solve(torch.eye(3), tensor(3, 3)),
        lambda: functional.bilinear(tensor(2, 3), tensor(2, 4), tensor(5, 3, 4)),
        lambda: torch.cdist(tensor(30, 4), tensor(30, 4)),
        lambda: torch.sparse.mm(tensor(3, 4).to_sparse(), tensor(4, 2)),
        lambda: tensor(3, 4).to_sparse_csr() @ tensor(4, 2),
        lambda: functional.embedding_bag(
            torch.tensor([[0, 1]]), tensor(3, 4), per_sample_weights=tensor(1, 2), mode="sum"
        ),
    ],
    ids=["conv3d", "transposed", "solve", "bilinear", "cdist", "sparse", "csr", "weighted bag"],
)
def test_what_is_not_replaced_is_an_error_and_listed(run):
    with (
        torch.no_grad(),
        pytest.raises(UnreplacedProductError, match="multiplies matrices and is not replaced"),
        accumulate(CONFIG),
    ):
        run()
    with torch.no_grad(), accumulate(CONFIG, strict=False) as mode:
        run()
    assert mode.unreplaced


def test_the_factors_of_addmm():
    base = tensor(5, 7, seed=9)
    with torch.no_grad(), accumulate(CONFIG):
        got = torch.addmm(base, X, W.t(), beta=0.5, alpha=2)
    assert torch.equal(got, 0.5 * base + 2 * expected(X, W.t()))


@pytest.mark.parametrize(
    "name",
    ["_grouped_mm", "_scaled_mm_v2", "hspmm", "_mixed_dtypes_linear", "mkldnn_convolution", "conv_tbc"],
)
def test_fused_products_are_known_by_name(name):
    assert _OTHER_PRODUCTS.search(name)


@pytest.mark.parametrize(
    "name", ["_convert_weight_to_int4pack", "upsample_bilinear2d", "hamming_window", "mul"]
)
def test_names_that_only_look_like_products(name):
    assert not _OTHER_PRODUCTS.search(name)


def test_norms_are_no_products():
    with torch.no_grad(), accumulate(CONFIG) as mode:
        functional.normalize(X)
    assert mode.calls == 0


def test_an_embedding_bag_without_weights_is_no_product():
    with torch.no_grad(), accumulate(CONFIG) as mode:
        functional.embedding_bag(torch.tensor([[0, 1]]), tensor(3, 4), mode="sum")
    assert mode.calls == 0


def test_a_converted_network_is_the_network_under_accumulate():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5)).eval()
    images = tensor(4, 1, 8, 8)
    with torch.no_grad():
        with accumulate(CONFIG):
            wanted = model(images)
        got = convert(model, CONFIG)(images)
        assert torch.equal(got, wanted)
        with accumulate(CONFIG, backend="golden"):
            assert torch.equal(model(images), wanted)


def test_a_plan_of_another_length_is_refused():
    layer = fit_operands(CONFIG, 3.0, 3.0, int_bits=16, length=None)
    with (
        pytest.raises(ConfigError, match="asked for 1 products, and the plan is for 2"),
        torch.no_grad(),
        accumulate([layer, layer]),
    ):
        functional.linear(X, W)


def test_a_plan_for_other_lengths_is_refused():
    layer = fit_operands(CONFIG, 3.0, 3.0, int_bits=16, length=39)
    with (
        pytest.raises(
            ConfigError,
            match="sums 40 products, and its plan is for 39; the plan has 1 products, and the code",
        ),
        torch.no_grad(),
        accumulate([layer]),
    ):
        functional.linear(X, W)


def test_no_images_give_no_answers():
    with torch.no_grad(), accumulate(CONFIG):
        assert functional.linear(X[:0], W).shape == (0, 7)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ConfigError, match="no backend called 'gpu'"), accumulate(CONFIG, backend="gpu"):
        pass


@pytest.mark.parametrize("name", ["e3m4", "e4m3", "e5m10", "e2m0b1", "int8", "uint4", "int6ln3"])
def test_operands_are_quantized_as_golden_does(name):
    from golden.config import parse_format

    number = parse_format(name)
    largest = 1.5 * (
        number.max_integer * 2.0**number.lsb if isinstance(number, FixedFormat) else number.max_value
    )
    values = torch.linspace(-largest, largest, 20001, dtype=torch.float64)
    tiny = torch.linspace(-1, 1, 20001, dtype=torch.float64) * 2.0 ** (number.lsb_exponent + 3)
    values = torch.cat([values, tiny])
    wanted = quantize_values(values, number, Rounding.NEAREST_EVEN)
    got = quantize_operand(values, number, 1.0)
    assert torch.equal(got.double().view(torch.int64), wanted.view(torch.int64)), "down to the sign of zero"


@pytest.mark.parametrize("layers", [None, [], [CONFIG], 5])
def test_what_is_no_arithmetic_is_refused_at_entry(layers):
    with (
        pytest.raises(ConfigError, match="no arithmetic of products; use a configuration"),
        accumulate(layers),
    ):
        pytest.fail("the context was entered")


def test_nan_in_a_network_is_refused_with_the_layer_and_the_operand():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight.data[0, 0] = float("nan")
    with (
        torch.no_grad(),
        accumulate("float12"),
        pytest.raises(ConfigError, match=r"cannot be quantized to e3m4b.*: the right operand of layer 1"),
    ):
        model(torch.ones(2, 4))


def test_nan_is_refused():
    with pytest.raises(ConfigError, match="NaN or infinity cannot be quantized to e3m4"):
        quantize_operand(torch.tensor([1.0, float("nan")]), CONFIG.x, 1.0)


@pytest.mark.parametrize("largest", [1.0, 0.99, 15.5, 15.500001, 1e-3, 3e4, 0.0])
def test_the_bias_that_fits_is_the_largest(largest):
    from dataclasses import replace

    bias = bias_that_fits(CONFIG.x, largest)
    assert replace(CONFIG.x, bias=bias).max_value >= largest
    assert largest == 0 or replace(CONFIG.x, bias=bias + 1).max_value < largest
