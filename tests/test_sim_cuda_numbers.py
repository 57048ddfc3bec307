"""Operands on the graphics card: rounding and ranges against golden's, and what is remembered of them."""

import re

import pytest
import torch

from golden.codes import quantize_values
from golden.config import ConfigError, Rounding, parse_format
from sim.kernels import cuda_library, cuda_numbers
from sim.kernels.cuda_library import Job, Masked, Masks, Numbers
from sim.kernels.library import LaneStep, Step
from tests.test_sim_cuda import card, needs_card, twin  # noqa: F401 -- fixtures

FORMATS = [
    "e3m4",
    "e4m3fn",
    "e5m2ieee",
    "e3m4s",
    "e2m0",
    "e4m7b40",
    "e8m23",
    "e8m23ieee",
    "e5m3b200",
    "int8",
    "uint4",
    "int6ln4",
]


def numbers(number, count=4000):
    """Over all of a format's range and beyond it; ties, ends, zeros of both signs."""
    generator = torch.Generator().manual_seed(0)
    top, low = number.max_magnitude.bit_length() + 1 + number.lsb_exponent, number.lsb_exponent - 2
    exponent = low + (top - low) * torch.rand(count, generator=generator, dtype=torch.float64)
    values = torch.exp2(exponent) * (1 - 2.0 * (torch.rand(count, generator=generator) < 0.5))
    largest, unit = number.max_magnitude * 2.0**number.lsb_exponent, 2.0**number.lsb_exponent
    edges = [
        0.0,
        -0.0,
        largest,
        1.01 * largest,
        -largest,
        unit,
        0.5 * unit,
        1.5 * unit,
        2.5 * unit,
        -0.5 * unit,
    ]
    if number.code_bits < 16:
        halves = torch.arange(0, 64, dtype=torch.float64) * unit / 2
        values = torch.cat([values, halves, -halves])
    return torch.cat([values, torch.tensor(edges, dtype=torch.float64)])


@pytest.mark.parametrize("name", FORMATS)
def test_quantized_as_in_golden(twin, name):  # noqa: F811
    number = parse_format(name)
    values = numbers(number)
    for scale in (1.0, 0.25, 0.3):
        for tensor in (values, values.float()[values.float().isfinite()]):
            found = cuda_numbers.quantize(tensor, number, scale, kernels=twin.kernels)
            expected = quantize_values(tensor.double() / scale, number, Rounding.NEAREST_EVEN)
            assert torch.equal(found.double(), expected)
            assert not (found.signbit() & (found == 0)).any()


def test_scales_of_channels(twin):  # noqa: F811
    number = parse_format("int8")
    values = 300 * torch.randn(6, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    for shape in ((6, 1, 1, 1), (4, 1, 1), (5,), (1, 4, 1, 1), (1,), (6, 4, 1, 1)):
        scale = torch.linspace(0.3, 3, torch.Size(shape).numel(), dtype=torch.float64).view(shape)
        for tensor in (values, values.transpose(2, 3).contiguous().transpose(2, 3)):
            found = cuda_numbers.quantize(tensor, number, scale, kernels=twin.kernels)
            expected = quantize_values(tensor.double() / scale, number, Rounding.NEAREST_EVEN)
            assert torch.equal(found.double(), expected), shape


def test_any_layout(twin):  # noqa: F811
    number = parse_format("e3m4")
    values = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
    for tensor in (values.permute(2, 0, 1), values[::2, :, 1::3], values[0].expand(3, 6, 8), values[:0]):
        found = cuda_numbers.quantize(tensor, number, 1.0, kernels=twin.kernels)
        assert torch.equal(found.double(), quantize_values(tensor, number, Rounding.NEAREST_EVEN))


def test_refuses_what_is_not_finite(twin):  # noqa: F811
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ConfigError, match="NaN or infinity"):
            cuda_numbers.quantize(torch.tensor([1.0, value]), parse_format("e3m4"), 1.0, kernels=twin.kernels)


def test_quantized_tensors_are_known_until_they_change(twin):  # noqa: F811
    number, other = parse_format("e3m4"), parse_format("e3m4b5")
    tensor = cuda_numbers.quantize(torch.randn(8, 8), number, 1.0, kernels=twin.kernels)
    assert cuda_numbers.holds(tensor, number) and not cuda_numbers.holds(tensor, other)
    assert cuda_numbers.holds(tensor.t()[1:], number) and cuda_numbers.holds(tensor.detach(), number)
    assert not cuda_numbers.holds(tensor.clone(), number)
    view = tensor[1]
    view[0] = 0.3
    assert not cuda_numbers.holds(tensor, number)
    key = tensor.untyped_storage().data_ptr()
    assert key in cuda_numbers._QUANTIZED
    del tensor, view
    assert key not in cuda_numbers._QUANTIZED


@pytest.mark.parametrize(
    "structure", [Step, LaneStep, Job, Masks, Masked, Numbers], ids=lambda each: each.__name__
)
def test_structures_are_those_of_the_sources(structure):
    """Field by field: a pointer in another place would be followed anywhere."""
    names = {Step: "step", LaneStep: "lane_step", Job: "cuda_job", Masks: "cuda_masks", Masked: "cuda_masked"}
    name = names.get(structure, "cuda_numbers")
    files = [cuda_library.NATIVE / each for each in (*cuda_library.SOURCES, *cuda_library.HEADERS)]
    source = re.sub(r"//.*", "", "".join(file.read_text() for file in files))
    body = re.search(rf"struct fmaq_{name} \{{(.*?)\}};", source, re.DOTALL)[1]
    fields = []
    for statement in filter(str.strip, body.split(";")):
        kind, declared = re.match(r"\s*(?:const )?(\w+)(.*)", statement, re.DOTALL).groups()
        fields += [
            (kind if "*" not in each else "pointer", each.replace("*", "").strip())
            for each in declared.split(",")
        ]
    types = {
        "fmaq_step": "Step",
        "fmaq_lane_step": "LaneStep",
        "fmaq_cuda_job": "Job",
        "int32_t": "c_int",
        "int64_t": "c_long",
        "uint32_t": "c_uint",
        "uint64_t": "c_ulong",
        "double": "c_double",
        "pointer": "c_void_p",
    }
    declared = [(types[kind], each) for kind, each in fields]
    assert declared == [(kind.__name__, each) for each, kind in structure._fields_]


@needs_card
@pytest.mark.parametrize("name", FORMATS)
def test_card_quantizes_as_golden(card, name):  # noqa: F811
    number = parse_format(name)
    values = numbers(number, 100_000)
    expected = quantize_values(values, number, Rounding.NEAREST_EVEN)
    found = cuda_numbers.quantize(values.cuda(), number, 1.0)
    assert found.is_cuda and torch.equal(found.cpu().double(), expected)
    extent = cuda_numbers.inspect(found, number, kernels=card.kernels)
    nonzero = expected.abs()[expected != 0]
    assert (extent.largest, extent.smallest) == (nonzero.max(), nonzero.min())
    if found.dtype is torch.float32:
        with pytest.raises(ValueError, match=re.escape(number.name)):
            cuda_numbers.inspect(values.cuda(), number, kernels=card.kernels)
