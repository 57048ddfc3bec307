"""What a caller hands to the kernels: shapes, strides, types, convolutions, and numbers that are refused."""

import numpy as np
import pytest
import torch

from golden import accumulate as golden
from golden.codes import quantize_values
from golden.config import ConfigError, FloatFormat, MacConfig, Rounding
from golden.formats import parse_format
from sim.backends import CpuBackend, GoldenBackend
from sim.kernels.cases import draw
from sim.kernels.geometry import Conv2dGeometry, output_size, patches
from sim.kernels.lanes import Extent
from sim.kernels.library import instruction_sets
from sim.kernels.plan import ways
from sim.kernels.product import convolve, extent_of, multiply, quantize
from tests.kernel_matrix import BY_WAY, WAYS, WORDS, assert_golden, by_golden, pair

DIRECTED = MacConfig.parse(WAYS["half"])


@BY_WAY
@pytest.mark.parametrize(
    ("rows", "length", "columns"),
    [
        (1, 1, 1),
        (0, 3, 2),
        (3, 0, 2),
        (3, 4, 0),
        (1, 9, 1),
        (1, 5, 200),
        (200, 5, 1),
        (17, 3, 65),
        (8, 4, 64),
    ],
)
def test_sizes(config, rows, length, columns):
    a, b = pair(config, rows, length, columns)
    if rows and length and columns:
        assert_golden(a, b, config)
        return
    values, statistics = multiply(a, b, config, None, WORDS, count=True)
    assert torch.equal(values, torch.zeros(rows, columns, dtype=torch.float64))
    assert statistics.events == golden.events(a, b, config, None, WORDS)
    assert not statistics.low.any()
    assert not statistics.high.any()


@BY_WAY
def test_any_strides(config):
    """Transposed, every second, reversed, expanded, and from the middle of storage; in both types."""
    a, b = pair(config)
    for dtype in (torch.float64, torch.float32):
        x, w = a.to(dtype), b.to(dtype)
        if not torch.equal(x.double(), a):
            continue
        assert_golden(x.t().contiguous().t(), w.t().contiguous().t(), config)
        assert_golden(
            torch.stack([x, x * 0], dim=2).flatten(1)[:, ::2], torch.stack([w * 0, w], dim=2)[..., 1], config
        )
        assert_golden(x.flip(0, 1), w.flip(0), config)
        assert_golden(x[:1].expand(6, -1), w[:, 3:4].expand(-1, 40), config)
        assert_golden(x[:, :1].expand(-1, 11), w, config)
        assert_golden(torch.nn.functional.pad(x, (3, 2, 1, 4))[1:-4, 3:-2], torch.cat([w, w])[11:], config)
        assert_golden(x[1:, 2:9], w[2:9, 5:], config)


@BY_WAY
@pytest.mark.parametrize(
    ("a_batch", "b_batch"),
    [((3,), ()), ((), (3,)), ((3,), (3,)), ((2, 1), (3,)), ((2, 1, 2), (3, 1)), ((1,), (1,)), ((7,), (7,))],
)
def test_batches_broadcast(config, a_batch, b_batch):
    """Rows of random words count on through a batch."""
    a, b = pair(config, 2 * 7, 6, 5 * 7)
    a = a[: 2 * _count(a_batch)].reshape(*a_batch, 2, 6)
    b = b[:, : 5 * _count(b_batch)].reshape(6, -1, 5).transpose(0, 1).reshape(*b_batch, 6, 5)
    assert_golden(a, b, config)


def _count(shape):
    return torch.Size(shape).numel()


@BY_WAY
def test_operands_are_left_alone(config):
    a, b = pair(config)
    kept = a.clone(), b.clone()
    multiply(a, b, config, None, WORDS)
    multiply(a, b, config, None, WORDS, count=True)
    assert torch.equal(a, kept[0])
    assert torch.equal(b, kept[1])


@BY_WAY
def test_half_and_bfloat16_operands(config):
    a, b = pair(config)
    for dtype in (torch.float16, torch.bfloat16):
        if torch.equal(a.to(dtype).double(), a) and torch.equal(b.to(dtype).double(), b):
            assert torch.equal(
                multiply(a.to(dtype), b.to(dtype), config, None, WORDS)[0],
                multiply(a, b, config, None, WORDS)[0],
            )


def looks(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    return Conv2dGeometry(stride=stride, padding=padding, dilation=dilation, groups=groups)


GEOMETRIES = {
    "3x3": ((3, 3), looks(padding=(1, 1))),
    "1x1": ((1, 1), looks()),
    "5x5 strides": ((5, 5), looks(stride=(2, 3), padding=(2, 0))),
    "2x3 dilated": ((2, 3), looks(dilation=(3, 2), padding=(0, 4))),
    "3x1 groups": ((3, 1), looks(groups=2, padding=(2, 1), stride=(1, 2))),
    "all of it": ((9, 7), looks()),
}


@BY_WAY
@pytest.mark.parametrize(("kernel", "geometry"), list(GEOMETRIES.values()), ids=list(GEOMETRIES))
def test_convolutions_are_products_of_patches(config, kernel, geometry):
    """Against golden by patches; with groups, columns of random words count on through them."""
    g = geometry.groups
    generator = torch.Generator().manual_seed(1)
    images, weight = draw(
        config, 2 * 2 * g * 9, 7, 4 * g * kernel[0] * 2 * kernel[1] // 7 + 1, "any", generator
    )
    images = images.reshape(2, 2 * g, 9, 7)
    weight = weight.flatten()[: 4 * g * 2 * kernel[0] * kernel[1]].reshape(4 * g, 2, *kernel)
    expected, parts = _by_patches(images, weight, config, geometry)
    x, w = extent_of(images, config.x), extent_of(weight, config.w)
    for isa in instruction_sets():
        for pictures in (images, images.contiguous(memory_format=torch.channels_last), images.float()):
            if not torch.equal(pictures.double(), images):
                continue
            for plan in ways(config, weight[0].numel(), x, w, isa=isa)[0]:
                for dtype in (torch.float64, torch.float32):
                    options = dict(out_dtype=dtype, isa=isa, plan=plan)
                    values, _ = convolve(pictures, weight, config, geometry, None, WORDS, **options)
                    assert torch.equal(values, expected.to(dtype)), (isa, plan.reason)
        values, statistics = convolve(images, weight, config, geometry, None, WORDS, count=True, isa=isa)
        assert torch.equal(values, expected), isa
        assert torch.equal(statistics.counts, torch.cat([part.counts for part in parts], dim=1)), isa
        assert torch.equal(statistics.low, torch.cat([part.low for part in parts], dim=1)), isa
        assert torch.equal(statistics.high, torch.cat([part.high for part in parts], dim=1)), isa


def _by_patches(images, weight, config, geometry):
    outputs, parts = [], []
    columns = len(weight) // geometry.groups
    shape = output_size(images.shape[2:], weight.shape[2:], geometry)
    for i, part in enumerate(images.chunk(geometry.groups, dim=1)):
        b = weight[i * columns : (i + 1) * columns].flatten(1).t()
        result = _golden_columns(patches(part, weight.shape[2:], geometry), b, config, i * columns)
        parts.append(result)
        outputs.append(result.values.t().unflatten(1, (len(images), *shape)).transpose(0, 1))
    return torch.cat(outputs, dim=1), parts


def _golden_columns(a, b, config, first):
    """The product of columns that come after ``first`` others, which random words count."""
    wide = torch.cat([torch.zeros(len(b), first, dtype=b.dtype), b], dim=1)
    result = by_golden(a, wide, config)
    fields = {name: getattr(result, name)[..., first:] for name in ("values", "counts", "low", "high")}
    return type(result)(**fields)


BAD = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "-infinity": -float("inf"),
    "too fine": 1 + 2.0**-20,
    "too large": 2.0**100,
    "too small": 2.0**-100,
    "denormal": 2.0**-140,
}


@BY_WAY
@pytest.mark.parametrize("value", list(BAD.values()), ids=list(BAD))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_no_format_holds_is_refused_by_name(config, value, dtype):
    for isa in instruction_sets():
        for side in (0, 1):
            operands = [operand.to(dtype) for operand in pair(config)]
            operands[side][3, 2] = value
            shown = operands[side][3, 2].item()
            with pytest.raises(ValueError, match=r"at \[3, 2\]") as refusal:
                multiply(*operands, config, None, WORDS, isa=isa)
            assert repr(shown) in str(refusal.value)


def test_denormal_operands_are_numbers_of_a_format_that_has_them():
    """float32's own subnormals under formats with and without subnormals."""
    config = MacConfig.parse("e8m23ieee_e8m23ieee_p_exact_a_e8m23ieeeb200_rz_c16")
    a = torch.tensor([[2.0**-149, -(2.0**-140), 3 * 2.0**-149, 2.0**-126]])
    b = torch.tensor([[1.0], [0.5], [-1.0], [2.0**-20]])
    assert_golden(a, b, config)
    without = MacConfig.parse("e8m23_e8m23_p_exact_a_e8m23b200_rz_c16")
    with pytest.raises(ValueError, match=r"at \[0, 0\] is no value of e8m23"):
        multiply(a, b, without, None, WORDS)
    one = torch.tensor([[2.0**-149]])
    for isa in instruction_sets():
        assert multiply(one, one * 0 + 1, config, None, WORDS, isa=isa)[0].item() == 2.0**-149


@pytest.mark.parametrize("number", ["e8m7", "e4m3b140", "e4m3sb140", "e5m3ieeeb145", "int8ln149"])
def test_float32_tensors_hold_numbers_below_their_own_normal_ones(number):
    """A subnormal of float32 may be a normal number of the operand's format."""
    config = MacConfig.parse(f"{number}_int4_p_exact_a_e8m7b150_rz_c4")
    smallest = Extent.of(config.x).smallest
    a = quantize_values(
        smallest * torch.tensor([[1.0, 1.125, 2.25, -7.0, 1.0]]).double(), config.x, Rounding.NEAREST_EVEN
    )
    assert (a.abs() < 2.0**-126).any()
    assert torch.equal(a.float().double(), a)
    assert_golden(a.float(), torch.tensor([[1.0], [2.0], [-3.0], [4.0], [5.0]]), config)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"a\[\.\.\., m, k\]"):
        multiply(torch.zeros(2, 3), torch.zeros(4, 2), DIRECTED, None, WORDS)
    with pytest.raises(ConfigError, match="conv2d takes"):
        convolve(torch.zeros(1, 3, 4, 4), torch.zeros(2, 2, 3, 3), DIRECTED, looks(), None, WORDS)


@BY_WAY
def test_offsets_beyond_32_bits(config, tmp_path):
    """Lines of either operand 2**29 numbers apart, in a file where only what is written takes room."""
    apart, a, b = 2**29, *pair(config, 5, 3, 37)
    file = np.memmap(tmp_path / "sparse", dtype=np.float64, mode="w+", shape=(4 * apart + 32,))
    storage = torch.from_numpy(file)
    rows, columns = storage.as_strided((5, 3), (apart, 7)), storage.as_strided((3, 5), (7, apart))
    rows.copy_(a)
    assert storage.numel() > 2**31
    assert_golden(rows, b, config)
    columns.copy_(b[:, :5])
    assert_golden(a, columns, config)
    (tmp_path / "sparse").unlink()


def test_backends_agree_on_convolutions_with_orders():
    geometry = looks(padding=(1, 1))
    images, weight = draw(DIRECTED, 8, 25, 27, "any", torch.Generator().manual_seed(5))
    images, weight = images.reshape(2, 4, 5, 5), weight.flatten()[: 3 * 4 * 9].reshape(3, 4, 3, 3)
    for order in (torch.randperm(36), torch.stack([torch.randperm(36) for _ in range(3)], dim=1)):
        expected = GoldenBackend().conv2d(images, weight, DIRECTED, geometry, order)
        assert torch.equal(CpuBackend().conv2d(images, weight, DIRECTED, geometry, order), expected)


# fmt: off
QUANTIZED = [
    "e3m4", "e4m7b10", "e2m0", "e3m0b4", "e8m0s", "e1m1", "e4m3fn", "e5m2ieee", "e5m10ieee", "e8m7ieee",
    "e8m23ieee", "e8m23", "e4m3sb10", "e8m7", "e4m3b140", "e3m4b512", "e3m4bn500", "e2m23", "int8", "uint8",
    "int4ln3", "uint1", "int16l20", "int2l512",
]
# fmt: on


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("scale", [1.0, 0.75, 2.0**-3, 3.0])
def test_quantizing_is_goldens(name, scale):
    """Ties, thresholds and all that lies between, from float64 and float32."""
    number = parse_format(name)
    config = MacConfig(
        x=number, w=number, product=None, accumulator=DIRECTED.accumulator, chunk_size=1, outer=None
    )
    if isinstance(number, FloatFormat) and abs(number.bias) > 400:
        scale = 1.0
    held = draw(config, 1, 2000, 1, "any", torch.Generator().manual_seed(0))[0][0]
    tie, unit = 2.0 ** -(number.man_bits + 1), 2.0**number.lsb_exponent
    near = [
        held,
        held * (1 + tie),
        held * (1 - tie / 2),
        held * 1.5,
        held / 3,
        held * 2,
        torch.arange(-400, 400) * unit / 4,
    ]
    values = torch.cat(near).double()
    for dtype in (torch.float64, torch.float32):
        given = values.to(dtype)
        given = given[(given.double() / scale).isfinite()]
        expected = quantize_values(given.double() / scale, number, Rounding.NEAREST_EVEN)
        quantized = quantize(given, number, scale)
        assert torch.equal(quantized.double(), expected)
        assert not (quantized.signbit() & (quantized == 0)).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_quantized(bad):
    with pytest.raises(ConfigError, match="NaN or infinity"):
        quantize(torch.tensor([1.0, bad]), DIRECTED.x, 1.0)
