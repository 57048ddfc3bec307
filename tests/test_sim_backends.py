"""The backend protocol: shapes, orders, batches, convolutions, refusals; the CPU backend against golden's."""

import doctest
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from golden.accumulate import matmul
from golden.catalog import find
from golden.codes import decode
from golden.config import ConfigError, MacConfig
from sim.backends import Conv2dGeometry, CpuBackend, GoldenBackend, find_backend

CPU, GOLDEN = CpuBackend(), GoldenBackend()
BOTH = pytest.mark.parametrize("backend", [CPU, GOLDEN], ids=["cpu", "golden"])
NAMES = pytest.mark.parametrize("name", ["float12", "fixed12", "int12", "int12-wrap", "exact"])
#: A float accumulator whose sums golden itself has to compute.
SLOW = "int16_int16_p_exact_a_int60_floor_sat_c1_o_int62ln30_rz_sat"


def draw(number, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return decode(torch.randint(0, 2**number.code_bits, shape, generator=generator), number)


def permutation(length, seed):
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed))


def assert_same(a, b, config, order=None):
    values, events = CPU.matmul_events(a, b, config, order)
    expected, expected_events = GOLDEN.matmul_events(a, b, config, order)
    assert values.dtype == torch.float64
    assert torch.equal(values, expected)
    assert torch.equal(CPU.matmul(a, b, config, order), expected)
    assert events == expected_events == CPU.events(a, b, config, order)


@NAMES
@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [((2, 20), (20, 3)), ((4, 3, 20), (20, 3)), ((3, 20), (2, 20, 3)), ((2, 1, 3, 5), (4, 5, 2))],
)
def test_shapes_broadcast_as_in_golden(name, a_shape, b_shape):
    config = find(name)
    assert_same(draw(config.x, *a_shape), draw(config.w, *b_shape, seed=1), config)


@NAMES
@pytest.mark.parametrize(("rows", "length", "columns"), [(3, 0, 2), (0, 4, 2), (3, 4, 0), (1, 1, 1)])
def test_empty_and_smallest(name, rows, length, columns):
    config = find(name)
    assert_same(draw(config.x, rows, length), draw(config.w, length, columns), config)


@NAMES
def test_orders(name):
    """One permutation for all columns; one each; and two that columns share."""
    config = find(name)
    a, b = draw(config.x, 4, 40), draw(config.w, 40, 5, seed=1)
    assert_same(a, b, config, permutation(40, 0))
    assert_same(a, b, config, torch.stack([permutation(40, i) for i in range(5)], dim=1))
    assert_same(a, b, config, torch.stack([permutation(40, i % 2) for i in range(5)], dim=1))


def test_order_matters():
    """So the test above compares something."""
    config = find("float12")
    a, b = draw(config.x, 4, 40), draw(config.w, 40, 5, seed=1)
    assert not torch.equal(CPU.matmul(a, b, config), CPU.matmul(a, b, config, permutation(40, 0)))


def test_batch_of_products_takes_an_order():
    config = find("float12")
    assert_same(draw(config.x, 2, 3, 9), draw(config.w, 2, 9, 4, seed=1), config, permutation(9, 1))


def test_any_configuration_has_a_way():
    config = MacConfig.parse(SLOW)
    assert CPU.explain(config, 4).startswith("steps on integers, one by one; not plain sums: ")
    assert_same(draw(config.x, 2, 4) // 2**10, draw(config.w, 4, 2, seed=1) // 2**10, config)


def test_explanations_name_the_way():
    assert CPU.explain(find("exact"), 512).startswith("plain sums: exact in double precision in any order")
    assert CPU.explain(find("int12"), 512).startswith("steps in 16-bit integers, saturated by comparison")
    assert CPU.explain(find("int12"), 512, 4, 1).startswith("steps in 16-bit integers, saturated by the proc")
    assert CPU.explain(find("int16"), 16, 8, 8).startswith("plain sums: exact in single precision")
    assert CPU.explain(find("float17-rne"), 512).startswith("steps in vectors of double precision")


def test_explanation_of_what_no_format_holds():
    with pytest.raises(ConfigError, match="int8 holds magnitudes up to 128"):
        CPU.explain(find("int12"), 512, 129, 1)


@NAMES
def test_runs_in_inference_mode_and_on_parameters(name):
    config = find(name)
    a, b = draw(config.x, 4, 40), draw(config.w, 40, 5, seed=1)
    expected, events = CPU.matmul_events(a, b, config)
    with torch.inference_mode():
        assert torch.equal(CPU.matmul(a.clone(), b.clone(), config), expected)
        assert CPU.events(a.clone(), b.clone(), config) == events
    result = CPU.matmul(a, b.requires_grad_(), config)
    assert torch.equal(result, expected)
    assert not result.requires_grad


@BOTH
def test_zeros_of_either_sign(backend):
    config = find("float12")
    a = torch.tensor([[-0.0, 1.0], [0.0, -0.0]], dtype=torch.float64)
    b = torch.tensor([[-1.0, 2.0], [-0.0, 0.0]], dtype=torch.float64)
    result = backend.matmul(a, b, config)
    assert torch.equal(result, torch.zeros(2, 2, dtype=torch.float64))
    assert not result.signbit().any()


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("e3m4", 32.0),
        ("e3m4", -31.5),
        ("e3m4", 1 + 2.0**-5),
        ("e3m4", 2.0**-3),
        ("e3m4", -(2.0**-4)),
        ("e3m4", float("nan")),
        ("e3m4", float("inf")),
        ("int8", 128.0),
        ("int8", -129.0),
        ("int8", 0.5),
        ("int8", float("nan")),
        ("uint8", -1.0),
        ("int8l2", 6.0),
        ("int8ln2", 0.125),
    ],
)
@BOTH
def test_refuses_what_a_format_does_not_hold(backend, number, value):
    config = MacConfig.parse(f"{number}_{number}_p_exact_a_int20ln8_rz_sat_c16")
    good = torch.zeros(2, 3, dtype=torch.float64)
    bad = good.clone()
    bad[1, 2] = value
    for a, b in ((bad, good.t()), (good, bad.t())):
        with pytest.raises(ValueError, match=r"finite|quantize"):
            backend.matmul(a, b, config)


@BOTH
@pytest.mark.parametrize(
    ("number", "values"),
    [
        ("e3m4", [31.0, -31.0, 2.0**-3 * (1 + 2.0**-4), 0.0]),
        ("int8", [127, -128]),
        ("uint8", [255, 0]),
        ("int8l2", [508, -512]),
        ("int8ln2", [31.75, -32.0]),
    ],
)
def test_takes_the_ends_of_a_format(backend, number, values):
    config = MacConfig.parse(f"{number}_{number}_p_exact_a_int40ln14_rz_sat_c16")
    a = torch.tensor([values], dtype=torch.float32)
    assert backend.matmul(a, a.t(), config).item() == sum(v * v for v in values)


@BOTH
def test_refuses_shapes_and_orders(backend):
    config = find("int12")
    a, b = torch.zeros(2, 3), torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"matmul takes a\[\.\.\., m, k\]"):
        backend.matmul(a, a, config)
    with pytest.raises(ValueError, match="matmul takes"):
        backend.matmul(a[0], b, config)
    with pytest.raises(ValueError, match="order is not a permutation"):
        backend.matmul(a, b, config, torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match=r"must be int64 of shape \[3\] or \[3, 2\]"):
        backend.matmul(a, b, config, torch.tensor([0, 1]))


def geometry(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    return Conv2dGeometry(stride=stride, padding=padding, dilation=dilation, groups=groups)


GEOMETRIES = [
    geometry(),
    geometry(padding=(1, 1)),
    geometry(stride=(2, 2), padding=(1, 1)),
    geometry(stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    geometry(padding=(2, 2), dilation=(2, 2), groups=2),
    geometry(groups=4),
]


@BOTH
@pytest.mark.parametrize("where", GEOMETRIES, ids=str)
def test_exact_convolution_is_torch_s(backend, where):
    """Integers in an accumulator that holds every sum: any correct convolution gives the same."""
    config = find("int32")
    images, weight = draw(config.x, 2, 4, 7, 6), draw(config.w, 4, 4 // where.groups, 3, 2, seed=1)
    options = (where.stride, where.padding, where.dilation, where.groups)
    expected = functional.conv2d(images, weight, None, *options)
    assert torch.equal(backend.conv2d(images, weight, config, where), expected)


@pytest.mark.parametrize("where", GEOMETRIES, ids=str)
def test_convolution_sums_in_the_order_of_the_weight(where):
    """(input channel, kernel row, kernel column), which a narrow accumulator can tell from others."""
    config = find("float8")
    images, weight = draw(config.x, 2, 4, 5, 6), draw(config.w, 4, 4 // where.groups, 3, 2, seed=1)
    values, events = CPU.conv2d_events(images, weight, config, where)
    assert torch.equal(CPU.conv2d(images, weight, config, where), values)
    expected, expected_events = GOLDEN.conv2d_events(images, weight, config, where)
    assert torch.equal(values, expected)
    assert events == expected_events
    position = torch.tensor([[0, 0], [-1, -1]])
    padded = functional.pad(images, (where.padding[1],) * 2 + (where.padding[0],) * 2)
    for row, column in position.tolist():
        height = where.dilation[0] * 2 + 1
        width = where.dilation[1] + 1
        top = 0 if row == 0 else where.stride[0] * (values.shape[2] - 1)
        left = 0 if column == 0 else where.stride[1] * (values.shape[3] - 1)
        seen = padded[1, : 4 // where.groups, top : top + height, left : left + width]
        seen = seen[:, :: where.dilation[0], :: where.dilation[1]]
        single = matmul(seen.reshape(1, -1), weight[0].reshape(-1, 1), config)
        assert values[1, 0, row, column] == single.item()


def test_convolution_takes_an_order():
    """Of one permutation for all channels, or one each, across groups."""
    config = find("float8")
    images, weight = draw(config.x, 1, 4, 5, 5), draw(config.w, 6, 2, 3, 3, seed=1)
    orders = torch.stack([permutation(18, i) for i in range(6)], dim=1)
    for order in (orders[:, 0], orders):
        values = CPU.conv2d(images, weight, config, geometry(groups=2), order)
        assert torch.equal(values, GOLDEN.conv2d(images, weight, config, geometry(groups=2), order))
    for channel in range(6):
        one = CPU.conv2d(images, weight, config, geometry(groups=2), orders[:, channel])
        assert torch.equal(values[:, channel], one[:, channel])


def test_refuses_a_convolution_that_does_not_fit():
    with pytest.raises(ConfigError, match=r"conv2d takes images\[i, c, h, w\]"):
        CPU.conv2d(torch.zeros(1, 3, 4, 4), torch.zeros(2, 2, 3, 3), find("int12"), geometry())


def test_backends_are_found_by_name():
    assert isinstance(find_backend("cpu"), CpuBackend)
    assert isinstance(find_backend("golden"), GoldenBackend)
    with pytest.raises(ConfigError, match="no backend called 'gpu'; use golden, cpu, cuda or rtl"):
        find_backend("gpu")


def test_examples_of_the_page():
    page = Path(__file__).parent.parent / "docs" / "simulation.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 0
    assert failed == 0
