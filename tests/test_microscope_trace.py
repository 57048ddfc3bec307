"""The microscope below the network: operands of one output, steps of its sum, and the same steps in waves."""

import random
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from golden import arith
from golden.catalog import find
from golden.codes import decode
from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.backends import Conv2dGeometry, CpuBackend
from sim.microscope.operands import Operands, exact_result
from sim.microscope.sums import BINADES, range_of, sum_histogram
from sim.microscope.trace import first_wrong, trace
from sim.microscope.vcd import read_signals
from sim.microscope.waves import record_step

STOCHASTIC = MacConfig.parse("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_sr3_c4")
#: Quick to build.
SMALL = MacConfig.parse("e3m4_e3m4_p_e4m3b12_rz_a_e4m3b10_rz_c2")
WORDS = RandomWords(seed=3, call=7)


def draw(number, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return decode(torch.randint(0, 2**number.code_bits, shape, generator=generator), number)


def value(code, number):
    return Fraction(decode(torch.tensor([code]), number).item())


@pytest.mark.parametrize(
    "name", ["float12", "float8-rne-g2", "float12-px", "fixed10", "int12-wrap", STOCHASTIC.name]
)
def test_a_trace_is_goldens_sum_beside_the_exact_one(name):
    config = MacConfig.parse(find(name).name)
    numbers = random.Random(name)
    x, w = ([numbers.randrange(2**f.code_bits) for _ in range(37)] for f in (config.x, config.w))

    def words(stage, bits, k):
        return WORDS.words(stage, bits, 5, 2, k)

    steps = trace(x, w, config, words)
    assert steps[-1].after_code == arith.dot(x, w, config, words)
    products = [value(a, config.x) * value(b, config.w) for a, b in zip(x, w, strict=True)]
    assert [step.exact for step in steps if step.inner] == [sum(products[: k + 1]) for k in range(37)]
    assert len(steps) == 37 + -(-37 // config.chunk_size)
    overflow, underflow = arith.dot_events(x, w, config, words)
    assert any(step.overflow for step in steps) == bool(overflow)
    assert any(step.underflow for step in steps) == bool(underflow)
    for before, after in pairwise(steps):
        if after.inner and before.inner:
            assert (after.before_code, after.before) == (before.after_code, before.after)


def test_the_first_wrong_step_is_where_a_saturating_sum_overflows():
    config = find("float12")  # sums reach 63.75
    x, w = torch.full((32,), 3.0, dtype=torch.float64), torch.full((32,), 3.0, dtype=torch.float64)
    x[20:] = -3
    operands = Operands(name="a", x=x[None], w=w[:, None], config=config, geometry=None, random=WORDS)
    dot = operands.dot((0, 0))
    steps = trace(*dot.codes, config, dot.words)
    place = first_wrong(steps)
    assert (steps[place].k, steps[place].kind, steps[place].exact) == (7, "overflow", 72)


def test_the_first_wrong_step_of_a_truncated_sum_is_where_half_of_the_error_is():
    config = find("float12")
    x = torch.tensor([[8.0] + [0.25] * 15], dtype=torch.float64)
    w = torch.tensor([[1.0]] + [[0.1875]] * 15, dtype=torch.float64)  # products below the last bit of 8
    dot = Operands(name="a", x=x, w=w, config=config, geometry=None, random=WORDS).dot((0, 0))
    steps = trace(*dot.codes, config, dot.words)
    assert steps[-1].error == Fraction(-15, 4) * Fraction(3, 16)
    place = first_wrong(steps)
    assert (steps[place].k, steps[place].kind, steps[place].after) == (8, "swamping", 8)


def test_a_sum_that_wraps_back_is_not_wrong():
    config = find("int8-wrap")
    x = torch.tensor([[100.0, 100, -100]], dtype=torch.float64)
    w = torch.ones(3, 1, dtype=torch.float64)
    dot = Operands(name="a", x=x, w=w, config=config, geometry=None, random=WORDS).dot((0, 0))
    steps = trace(*dot.codes, config, dot.words)
    assert any(step.overflow for step in steps)
    assert first_wrong(steps) is None


GEOMETRY = Conv2dGeometry(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)


def convolution(config):
    images, weight = draw(config.x, 2, 4, 5, 6), draw(config.w, 6, 2, 3, 2, seed=1)
    return Operands(name="c", x=images, w=weight, config=config, geometry=GEOMETRY, random=WORDS)


def product(config):
    a, b = draw(config.x, 2, 1, 3, 9), draw(config.w, 4, 9, 5, seed=1)
    return Operands(name="p", x=a, w=b, config=config, geometry=None, random=WORDS)


@pytest.mark.parametrize("make", [convolution, product])
def test_a_dot_product_is_the_output_it_is_called_by(make):
    operands = make(STOCHASTIC)
    cpu = CpuBackend()
    if operands.geometry is None:
        results = cpu.matmul(operands.x, operands.w, STOCHASTIC, None, WORDS)
    else:
        results = cpu.conv2d(operands.x, operands.w, STOCHASTIC, GEOMETRY, None, WORDS)
    assert operands.shape == tuple(results.shape)
    assert len(operands.axes) == results.ndim
    generator = torch.Generator().manual_seed(0)
    for flat in torch.randint(results.numel(), (12,), generator=generator):
        place = tuple(int(i) for i in torch.unravel_index(flat, results.shape))
        dot = operands.dot(place)
        steps = trace(*dot.codes, STOCHASTIC, dot.words)
        assert float(steps[-1].after) == results[place].item(), place


@pytest.mark.parametrize("make", [convolution, product])
def test_sampled_dot_products_are_those_of_the_outputs(make):
    operands = make(find("float12"))
    exact = exact_result(operands.x, operands.w, operands.geometry, torch.float64)
    x, w = operands.dots(exact.numel(), torch.Generator())
    assert torch.equal((x * w).sum(1), exact.flatten())
    x, w = operands.dots(10, torch.Generator().manual_seed(0))
    assert x.shape == w.shape == (10, operands.length)
    assert set((x * w).sum(1).tolist()) <= set(exact.flatten().tolist())


def test_a_histogram_counts_every_step_and_saturated_sums_stand_at_the_end_of_the_range():
    config = find("float12")
    x = torch.full((1, 40), 3.0, dtype=torch.float64)
    operands = Operands(name="h", x=x, w=x.t().contiguous(), config=config, geometry=None, random=WORDS)
    counted = sum_histogram([operands], outputs=1, seed=0)
    assert {kind: sum(counts) + counted.zeros[kind] for kind, counts in counted.counts.items()} == {
        "inner": 40,
        "outer": 3,
        "exact": 40,
    }
    top = 5 - BINADES.start  # 63.75 lies in the binade of 2**5
    assert counted.inner_range == (2.0**-10, 63.75) == range_of(config.accumulator.format)
    assert sum(counted.counts["inner"][top + 1 :]) == 0
    assert sum(counted.counts["exact"][top + 1 :]) > 0
    assert counted.counts["outer"][top] == 3
    packed = counted.to_json()
    assert sum(packed["counts"]["inner"]) == 40


def test_values_of_a_vcd_file_are_those_before_the_rising_edge(tmp_path):
    path = tmp_path / "a.vcd"
    path.write_text(
        "$timescale 1ps $end\n$scope module top $end\n$scope module mac_0 $end\n"
        "$var wire 4 ! x [3:0] $end\n$var wire 4 ! y [3:0] $end\n$var wire 1 # z $end\n$upscope $end\n"
        "$scope module mac_1 $end\n$var wire 4 % x [3:0] $end\n$upscope $end\n$upscope $end\n"
        "$enddefinitions $end\n#0\nb0011 !\nbx %\n0#\n#5\nb0100 !\n#10\n1#\n#15\n#20\nb1111 !\n"
    )
    assert read_signals(path, "top.mac_0", ("x", "y", "z"), period=10) == {
        "x": [3, 4, 15],
        "y": [3, 4, 15],
        "z": [0, 1, 1],
    }
    assert read_signals(path, "mac_1", ("x",), period=10) == {"x": [None] * 3}
    with pytest.raises(ValueError, match=r"no signal w in mac_1"):
        read_signals(path, "mac_1", ("w",), period=10)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Steps of one dot product and where they are in waves; one build for all."""
    dot = product(SMALL).dot((1, 0, 2, 3))
    steps = trace(*dot.codes, SMALL, dot.words)
    folder = tmp_path_factory.mktemp("waves")
    return (
        dot,
        steps,
        folder,
        [record_step(dot, steps, i, folder, f"step{i}") for i in (0, 5, len(steps) - 1)],
    )


def test_steps_stand_in_the_waves_of_the_rtl(recorded):
    dot, steps, folder, places = recorded
    x, w = dot.codes
    for i, place in zip((0, 5, len(steps) - 1), places, strict=True):
        step, signals = steps[i], place.signals
        assert (signals["acc"], signals["result"]) == (step.before_code, step.after_code)
        late = 1 if step.inner else 0
        names = tuple(signals)
        waves = read_signals(place.waves, place.scope, names, period=10)
        assert waves["result"][place.cycle + late] == step.after_code
        assert all(waves[name][place.cycle] == signals[name] for name in names if name != "result")
        if step.inner:
            assert (signals["x"], signals["w"]) == (x[step.k], w[step.k])
            assert place.scope.endswith(f"column_0.mac_{step.k % 2}")
        else:
            assert place.scope.endswith("column_0.chunk_adder")
    cycles = [place.cycle for place in places]
    assert cycles == sorted(set(cycles))
    assert {path.suffix for path in Path(folder).iterdir()} == {".vcd", ".gtkw", ".txt"}


def test_gtkwave_is_told_signals_that_the_waves_have(recorded):
    for place in recorded[3]:
        save = place.save.read_text()
        assert f"*-14 {place.cycle * 10}" in save
        header = place.waves.read_text().partition("$enddefinitions")[0]
        for port in place.signals:
            assert f"{place.scope}.{port}[" in save
            assert f" {port} [" in header
