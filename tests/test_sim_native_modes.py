"""Modes of the processor and threads: results do not depend on them, and they are left as they were."""

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
from golden.config import MacConfig
from sim.kernels.library import instruction_sets
from sim.kernels.product import multiply
from tests.kernel_matrix import BY_WAY, WAYS, WORDS, by_golden, pair, plans_of

ROOT = Path(__file__).resolve().parent.parent

_LIBM = ctypes.CDLL(ctypes.util.find_library("m"))
_ROUNDINGS = {"nearest": 0, "down": 0x400, "up": 0x800, "zero": 0xC00}  # FE_ constants of x86


def x86(test):
    """The arguments of fesetround are those of x86; elsewhere the flush mode alone is tried."""
    names = (
        _ROUNDINGS
        if _LIBM.fegetround() in _ROUNDINGS.values() and instruction_sets() != ("generic",)
        else {"nearest": 0}
    )
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
    plans, before = list(plans_of(a, b, config)), _LIBM.fegetround()
    torch.set_flush_denormal(flush)
    _LIBM.fesetround(rounding)
    try:
        found = []
        for isa, plan in plans:
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
    """A worker has the mode of the thread that started it: in a process of its own, with two threads."""
    program = """
import torch
torch.set_num_threads(1)
a, b = torch.full((70000, 4), 2.0**-149), torch.tensor([[1.0], [2.0], [4.0], [8.0]])
torch.set_flush_denormal(True)
torch.set_num_threads(2)
from golden.config import MacConfig
from sim.kernels.library import instruction_sets
from sim.kernels.product import multiply, quantize
from tests.kernel_matrix import WORDS
config = MacConfig.parse("e8m23ieee_e8m23ieee_p_exact_a_e8m23ieeeb200_rz_c16")
results = [multiply(a, b, config, None, WORDS, isa=isa)[0] for isa in instruction_sets()]
rounded = quantize(a, config.x, 1.0)
torch.set_flush_denormal(False)
assert all((values == 15 * 2.0**-149).all() for values in results), [values.unique() for values in results]
assert (rounded.double() == 2.0**-149).all()
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_many_threads_at_once():
    """Different products by different ways, two of four threads flushing denormals, as they do afterwards."""
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
