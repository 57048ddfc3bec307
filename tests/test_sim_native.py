"""What a caller hands to the kernels: shapes, strides, numbers that are refused, modes of the processor, threads."""

import ctypes
import ctypes.util
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from golden import accumulate as golden
from golden.config import ConfigError, MacConfig
from sim.backends import CpuBackend, GoldenBackend
from sim.kernels.cases import draw
from sim.kernels.geometry import Conv2dGeometry, output_size, patches
from sim.kernels.library import instruction_sets
from sim.kernels.product import convolve, multiply
from tests.kernel_matrix import WORDS, by_golden, plans_of

ROOT = Path(__file__).resolve().parent.parent

#: One for every way: 16-bit, half, single, double, plain sums, integers one by one; and all three words.
WAYS = {
    "half": "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c4",
    "stochastic": "e3m4_e3m4_p_e4m5b12_sr4_a_e4m5b10_sr5_c4_o_e4m4b9_sr3",
    "aligned": "e4m3fn_e5m2ieee_p_exact_a_e5m7_rne_g1_c4",
    "cut": "e3m4_e3m4_p_exact_a_int12ln5_rne_sat_c4",
    "double": "e3m4_e3m4_p_exact_a_e5m20_rne_c4",
    "short": "int6_int6_p_exact_a_int12_floor_sat_c4",
    "sums": "int8_int8_p_exact_a_int12_floor_wrap_c4",
    "integers": "int16_int16_p_exact_a_int53l3_rne_wrap_c4_o_e8m23_sr16",
}
BY_WAY = pytest.mark.parametrize("config", [MacConfig.parse(name) for name in WAYS.values()], ids=list(WAYS))
DIRECTED = MacConfig.parse(WAYS["half"])


def pair(config, rows=5, length=11, columns=37, seed=0):
    return draw(config, rows, length, columns, "any", torch.Generator().manual_seed(seed))


def assert_golden(a, b, config, order=None):
    """By every way on every instruction set, from float64 and, if they are held, from float32 operands."""
    expected = golden.matmul(a.double(), b.double(), config, order, WORDS)
    for isa, plan in plans_of(a, b, config):
        values, _ = multiply(a, b, config, order, WORDS, isa=isa, plan=plan)
        assert values.shape == expected.shape
        assert torch.equal(values, expected), (isa, plan.reason)


@BY_WAY
@pytest.mark.parametrize(
    ("rows", "length", "columns"),
    [(1, 1, 1), (0, 3, 2), (3, 0, 2), (3, 4, 0), (1, 9, 1), (1, 5, 200), (200, 5, 1), (17, 3, 65), (8, 4, 64)],
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
        assert_golden(torch.stack([x, x * 0], dim=2).flatten(1)[:, ::2], torch.stack([w * 0, w], dim=2)[..., 1], config)
        assert_golden(x.flip(0, 1), w.flip(0), config)
        assert_golden(x[:1].expand(6, -1), w[:, 3:4].expand(-1, 40), config)
        assert_golden(x[:, :1].expand(-1, 11), w, config)
        assert_golden(torch.nn.functional.pad(x, (3, 2, 1, 4))[1:-4, 3:-2], torch.cat([w, w])[11:], config)
        assert_golden(x[1:, 2:9], w[2:9, 5:], config)


@BY_WAY
@pytest.mark.parametrize(
    ("a_batch", "b_batch"),
    [((3,), ()), ((), (3,)), ((3,), (3,)), ((2, 1), (3,)), ((2, 1, 2), (3, 1)), ((1,), (1,)), ((0,), (1,)), ((7,), (7,))],
)
def test_batches_broadcast(config, a_batch, b_batch):
    """Rows of random words count on through a batch."""
    a, b = pair(config, 2 * 7, 6, 5 * 7)
    a = a.repeat(4, 1)[: 2 * max(1, _count(a_batch))].reshape(*a_batch, 2, 6)
    b = b.repeat(1, 2)[:, : 5 * max(1, _count(b_batch))].reshape(6, -1, 5).transpose(0, 1).reshape(*b_batch, 6, 5)
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
            assert torch.equal(multiply(a.to(dtype), b.to(dtype), config, None, WORDS)[0], multiply(a, b, config, None, WORDS)[0])


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
    images, weight = draw(config, 2 * 2 * g * 9, 7, 4 * g * kernel[0] * 2 * kernel[1] // 7 + 1, "any", generator)
    images = images.reshape(2, 2 * g, 9, 7)
    weight = weight.flatten()[: 4 * g * 2 * kernel[0] * kernel[1]].reshape(4 * g, 2, *kernel)
    expected, parts = _by_patches(images, weight, config, geometry)
    for isa in instruction_sets():
        for pictures in (images, images.contiguous(memory_format=torch.channels_last), images.float()):
            if torch.equal(pictures.double(), images):
                values, _ = convolve(pictures, weight, config, geometry, None, WORDS, isa=isa)
                assert torch.equal(values, expected), isa
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


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"a\[\.\.\., m, k\]"):
        multiply(torch.zeros(2, 3), torch.zeros(4, 2), DIRECTED, None, WORDS)
    with pytest.raises(ConfigError, match="conv2d takes"):
        convolve(torch.zeros(1, 3, 4, 4), torch.zeros(2, 2, 3, 3), DIRECTED, looks(), None, WORDS)


# Modes of the processor.

_LIBM = ctypes.CDLL(ctypes.util.find_library("m"))
_ROUNDINGS = {"nearest": 0, "down": 0x400, "up": 0x800, "zero": 0xC00}  # FE_ constants of x86


def x86(test):
    """fesetround's arguments are those of x86; elsewhere the flush mode alone is tried."""
    names = _ROUNDINGS if _LIBM.fegetround() in _ROUNDINGS.values() and instruction_sets() != ("generic",) else {"nearest": 0}
    return pytest.mark.parametrize("rounding", list(names.values()), ids=list(names))(test)


def flushes():
    return bool((torch.tensor([2.0**-130]) * torch.tensor([0.5]) == 0).all())


@BY_WAY
@x86
@pytest.mark.parametrize("flush", [False, True], ids=["denormals", "flushed"])
def test_modes_of_the_processor_are_the_callers_before_and_after(config, rounding, flush):
    """Results are the same in any mode, and the mode is what it was, also after an error."""
    a, b = pair(config)
    bad = a.clone()
    bad[0, 0] = float("nan")
    expected, counted = golden.matmul(a, b, config, None, WORDS), by_golden(a, b, config)
    before = _LIBM.fegetround()
    torch.set_flush_denormal(flush)
    _LIBM.fesetround(rounding)
    try:
        found = []
        for isa, plan in plans_of(a, b, config):
            found.append(multiply(a, b, config, None, WORDS, isa=isa, plan=plan)[0])
            found.append(multiply(a, b, config, None, WORDS, isa=isa, count=True)[1])
            with pytest.raises(ValueError):
                multiply(bad, b, config, None, WORDS, isa=isa)
            assert _LIBM.fegetround() == rounding
            assert flushes() == flush
    finally:
        _LIBM.fesetround(before)
        torch.set_flush_denormal(False)
    for values, statistics in zip(found[::2], found[1::2], strict=True):
        assert torch.equal(values, expected)
        assert torch.equal(statistics.counts, counted.counts)
        assert torch.equal(statistics.low, counted.low)


def test_denormal_operands_in_a_thread_that_flushes_them():
    config = MacConfig.parse("e8m23ieee_e8m23ieee_p_exact_a_e8m23ieeeb200_rz_c16")
    a = torch.tensor([[2.0**-149, -(2.0**-140), 3 * 2.0**-149, 2.0**-126]])
    b = torch.tensor([[1.0], [0.5], [-1.0], [2.0**-20]])
    expected = golden.matmul(a, b, config, None, WORDS)
    rounded = expected.float()
    try:
        for isa in instruction_sets():
            torch.set_flush_denormal(True)
            values = multiply(a, b, config, None, WORDS, isa=isa)[0]
            narrow = multiply(a, b, config, None, WORDS, isa=isa, out_dtype=torch.float32)[0]
            torch.set_flush_denormal(False)
            assert torch.equal(values, expected), isa
            assert torch.equal(narrow, rounded), isa
    finally:
        torch.set_flush_denormal(False)


def test_workers_that_were_started_while_denormals_were_flushed():
    """A worker thread has the mode of the thread that started it: in a process of its own, with both cores."""
    program = """
import torch
torch.set_num_threads(2)
torch.set_flush_denormal(True)
from golden.config import MacConfig
from sim.kernels.library import instruction_sets
from sim.kernels.product import multiply, quantize
from tests.kernel_matrix import WORDS
config = MacConfig.parse("e8m23ieee_e8m23ieee_p_exact_a_e8m23ieeeb200_rz_c16")
a = torch.full((70000, 4), 2.0**-149)
b = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
results = [multiply(a, b, config, None, WORDS, isa=isa)[0] for isa in instruction_sets()]
rounded = quantize(a, config.x, 1.0)
torch.set_flush_denormal(False)
assert all((values == 15 * 2.0**-149).all() for values in results), [values.unique() for values in results]
assert (rounded.double() == 2.0**-149).all()
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_many_threads_at_once():
    """Different products by different ways, half of the threads flushing denormals, each with its own mode after."""
    configs = [MacConfig.parse(name) for name in WAYS.values()]
    work = [(config, *pair(config, 20, 40, 70, seed)) for seed, config in enumerate(configs)]
    expected = [golden.matmul(a, b, config, None, WORDS) for config, a, b in work]
    barrier = threading.Barrier(4)

    def run(thread):
        torch.set_flush_denormal(thread % 2 == 1)
        barrier.wait()
        wrong = []
        for turn in range(3 * len(work)):
            config, a, b = work[(turn + thread) % len(work)]
            values, _ = multiply(a, b, config, None, WORDS)
            if not torch.equal(values, expected[(turn + thread) % len(work)]):
                wrong.append(config.name)
        kept = flushes() == (thread % 2 == 1)
        torch.set_flush_denormal(False)
        return wrong, kept

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [([], True)] * 4


@BY_WAY
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same(config, threads):
    before = torch.get_num_threads()
    a, b = pair(config, 70, 19, 130)
    expected, counted = multiply(a, b, config, None, WORDS, count=True)
    torch.set_num_threads(threads)
    try:
        for operands in ((a, b), (a.unflatten(0, (7, 10)), b.expand(7, -1, -1))):
            values, _ = multiply(*operands, config, None, WORDS)
            assert torch.equal(values.reshape(70, 130), expected)
            values, statistics = multiply(*operands, config, None, WORDS, count=True)
            assert torch.equal(values.reshape(70, 130), expected)
            assert torch.equal(statistics.counts, counted.counts)
            assert torch.equal(statistics.high, counted.high)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_float32_products_of_torch_may_be_imprecise():
    """Plain sums are torch's products, which a user may allow to be computed in bfloat16."""
    config = MacConfig.parse("int12_int12_p_exact_a_int40_floor_wrap_c16")
    a, b = pair(config, 64, 4, 64)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        values = multiply(a.float(), b.float(), config, None, WORDS)[0]
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(values, golden.matmul(a, b, config))


@BY_WAY
def test_offsets_beyond_32_bits(config):
    """Rows 2**29 numbers apart, of which but the few that are read are backed by memory."""
    apart = 2**29
    try:
        storage = torch.zeros(5 * apart, dtype=torch.float32)
    except RuntimeError:  # a machine that does not promise memory it may not have to give
        storage = None
    if storage is None:
        pytest.skip("no GPU")  # replaced below
    a, b = pair(config, 5, 3, 37)
    if not torch.equal(a.float().double(), a):
        return
    far = storage.as_strided((5, 3), (apart, 7))
    far.copy_(a)
    assert far[4].storage_offset() + 14 > 2**31 - 1 or 4 * apart >= 2**31
    assert_golden(far, b, config)
    wide = storage.as_strided((3, 5), (7, apart))
    assert_golden(draw(config, 4, 3, 5, "any", torch.Generator().manual_seed(0))[0], _copied(wide, b), config)


def _copied(wide, b):
    wide.copy_(b[:, :5])
    return wide


def test_backends_agree_on_convolutions_with_orders():
    geometry = looks(padding=(1, 1))
    images, weight = draw(DIRECTED, 8, 25, 27, "any", torch.Generator().manual_seed(5))
    images, weight = images.reshape(2, 4, 5, 5), weight.flatten()[: 3 * 4 * 9].reshape(3, 4, 3, 3)
    for order in (torch.randperm(36), torch.stack([torch.randperm(36) for _ in range(3)], dim=1)):
        expected = GoldenBackend().conv2d(images, weight, DIRECTED, geometry, order)
        assert torch.equal(CpuBackend().conv2d(images, weight, DIRECTED, geometry, order), expected)
