"""The batch driver: products on the Verilated array and tile, against golden and the model of cycles."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from golden.arith import dot
from golden.config import ArrayConfig, ConfigError, MacConfig
from golden.random_words import RandomWords
from golden.tile import TileConfig
from hw import verilated_library
from hw.cost.cycles import cycles
from hw.verilated import FIRST_WORDS, SimulationError, Stalls, VerilatedArray, VerilatedTile, Waves
from hw.verilated_beats import Tiling, pack_bits, pack_lanes, unpack_bits, unpack_lanes
from hw.verilated_bench import Bench
from hw.verilated_library import BuildError
from hw.verilated_mismatch import find_mismatch

#: Two passes a chunk, registers for offsets, random words, events: nearly all there is in a job.
MAC = MacConfig.parse("e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_rz_c4")
ARRAY = ArrayConfig(silicon=MAC.silicon, rows=2, cols=3, stages=1, depth=4, events=True)
#: Wired offsets, one pass a chunk.
INTEGERS = MacConfig.parse("int8_uint4_p_exact_a_int12_floor_sat_c2")
TILE = TileConfig(
    array=ArrayConfig(silicon=INTEGERS.silicon, rows=2, cols=2, stages=0, depth=3, events=False), output=None
)
SHAPES = [(1, 1, 1), (4, 4, 3), (3, 7, 5), (9, 2, 4), (13, 11, 8)]
WORDS = RandomWords(seed=0x123456789ABCDEF, call=3)


@pytest.fixture(scope="module")
def array():
    return VerilatedArray(ARRAY, trace="vcd")


@pytest.fixture(scope="module")
def tile():
    return VerilatedTile(TILE, trace=None)


def operands(mac, m, k, n, seed=0):
    generator = np.random.default_rng([seed, m, k, n])
    return (
        generator.integers(0, 2**mac.x.code_bits, (m, k)),
        generator.integers(0, 2**mac.w.code_bits, (k, n)),
    )


def golden(x, w, mac, random=WORDS, m_base=0, n_base=0):
    m = m_base + np.arange(len(x))[:, None]
    n = n_base + np.arange(w.shape[1])
    out = dot(
        [x[:, k, None] for k in range(len(w))],
        list(w),
        mac,
        lambda stage, bits, k: random.words(stage, bits, m, n, k),
    )
    return np.broadcast_to(out, (len(x), w.shape[1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_array_computes_golden_in_the_cycles_of_the_model(array, shape):
    x, w = operands(MAC, *shape)
    product = array.matmul_codes(x, w, MAC, WORDS, trailing=40)
    assert np.array_equal(product.codes, golden(x, w, MAC))
    assert product.cycles == cycles(ARRAY, *shape)
    assert product.stamps.max() == product.cycles - 1
    assert product.overflow.shape == product.underflow.shape == product.codes.shape


@pytest.mark.parametrize("shape", SHAPES)
def test_tile_computes_golden_in_the_cycles_of_the_model(tile, shape):
    x, w = operands(INTEGERS, *shape)
    product = tile.matmul_codes(x, w, INTEGERS, FIRST_WORDS, trailing=40)
    assert np.array_equal(product.codes, golden(x, w, INTEGERS))
    assert product.cycles == cycles(TILE, *shape)
    assert product.counters["RESULT_BEATS"] == shape[0] * -(-shape[2] // TILE.array.cols)
    assert product.counters["CHUNKS"] == -(-shape[1] // INTEGERS.chunk_size)


@pytest.mark.parametrize("seed", range(3))
def test_stalls_change_cycles_and_nothing_else(array, tile, seed):
    shape = (7, 9, 5)
    for hardware, mac in ((array, MAC), (tile, INTEGERS)):
        x, w = operands(mac, *shape)
        product = hardware.matmul_codes(x, w, mac, WORDS, stalls=Stalls(share=0.5, seed=seed), trailing=40)
        assert np.array_equal(product.codes, golden(x, w, mac))
        assert product.stamps.max() > cycles(hardware.config, *shape)


def test_random_words_count_from_bases(array):
    x, w = operands(MAC, 5, 6, 4)
    product = array.matmul_codes(x, w, MAC, WORDS, m_base=2**32 - 8, n_base=1000)
    assert np.array_equal(product.codes, golden(x, w, MAC, m_base=2**32 - 8, n_base=1000))
    assert not np.array_equal(product.codes, golden(x, w, MAC))


def test_other_biases_run_on_the_same_silicon(array):
    other = replace(MAC, x=replace(MAC.x, bias=6), w=replace(MAC.w, bias=1))
    x, w = operands(MAC, 6, 5, 4)
    product = array.matmul_codes(x, w, other, WORDS)
    assert np.array_equal(product.codes, golden(x, w, other))
    assert not np.array_equal(product.codes, golden(x, w, MAC))


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 3, 0), (2, 0, 3)])
def test_an_empty_product_is_zero(array, shape):
    x, w = operands(MAC, *shape)
    product = array.matmul_codes(x, w, MAC, WORDS)
    assert product.codes.shape == (shape[0], shape[2])
    assert not product.codes.any()
    assert product.cycles == 0


def test_refuses_what_the_hardware_does_not_compute(array):
    x, w = operands(MAC, 2, 3, 2)
    with pytest.raises(ConfigError, match=r"is not what .* computes; build an array of its silicon"):
        array.matmul_codes(x, w, INTEGERS, WORDS)
    with pytest.raises(ConfigError, match=r"x\[m, k\] and w\[k, n\]"):
        array.matmul_codes(x, w[:2], MAC, WORDS)
    with pytest.raises(ConfigError, match="x has codes outside 0 to 255"):
        array.matmul_codes(x + 256, w, MAC, WORDS)


def beats(array, x, w):
    """Of a product, those that it takes."""
    tiling = Tiling(ARRAY, *x.shape, w.shape[1])
    return {
        "weights": tiling.weight_beats(pack_bits(tiling.weights(w), 8)),
        "activations": tiling.activation_beats(pack_bits(tiling.activations(x), 8)),
    }


def test_a_design_that_stops_is_an_error_that_says_where(array):
    x, w = operands(MAC, 2, 2, 3)
    bench = Bench(array.bench.design, trace="vcd", seed=0, patience=50)
    with pytest.raises(
        SimulationError, match=r"for 50 cycles .*weights: beat 0 of 2 stands, ready is down.*results"
    ):
        bench.run(beats(array, x, w), {"results": 2})


def test_a_result_too_many_is_an_error(array):
    x, w = operands(MAC, 2, 2, 3)
    bench = Bench(array.bench.design, trace="vcd", seed=0, patience=50)
    job = array.array.job.payload.shape().const({"k": 2, "m_rows": 2}).as_bits()
    size = bench.design.channels[0].beat_bytes
    job = np.frombuffer(job.to_bytes(size, "little"), dtype=np.uint8)[None]
    with pytest.raises(SimulationError, match="a beat too many on results, after 1 beats"):
        bench.run(beats(array, x, w) | {"job": job}, {"results": 1}, trailing=100)


def test_a_limit_stops_in_the_middle_and_reset_begins_anew(array):
    x, w = operands(MAC, 6, 6, 5)
    for limit in (1, 10, 33, 60):
        array.bench.run(beats(array, x, w), {"results": 12}, limit=limit)
        array.bench.reset()
        assert np.array_equal(array.matmul_codes(x, w, MAC, WORDS, trailing=40).codes, golden(x, w, MAC))


def test_refuses_beats_that_do_not_fit(array):
    bench = array.bench
    with pytest.raises(ValueError, match=r"inputs of .* are .*'activations', 'job', 'weights'"):
        bench.run({"wheights": np.zeros((1, 3), np.uint8)}, {})
    with pytest.raises(
        ValueError, match=r"beats of weights are uint8 of shape \[beats, 3\], not uint8 of \[1, 4\]"
    ):
        bench.run({"weights": np.zeros((1, 4), np.uint8)}, {})
    with pytest.raises(ValueError, match="not 1"):
        bench.run({}, {}, stalls=Stalls(share=1.0, seed=0))


def test_waves_are_of_the_window(array, tmp_path):
    x, w = operands(MAC, 6, 6, 5)
    path = tmp_path / "window.vcd"
    array.matmul_codes(x, w, MAC, WORDS, waves=Waves(path=path, first=20, last=24))
    times = [int(line[1:]) for line in path.read_text().splitlines() if line.startswith("#")]
    assert (times[0], times[-1], len(times)) == (200, 245, 10)


def test_a_wrong_result_is_found_and_shown(array):
    """As if golden were right in turning a bit of one result around from its fifth product on."""

    def expected(x, w, first):
        codes = golden(x, w, MAC, m_base=first).copy()
        if len(w) > 4 and first <= 3 < first + len(x):
            codes[3 - first, 2] ^= 4
        return codes

    x, w = operands(MAC, 5, 6, 4)
    found = find_mismatch(array, x, w, MAC, WORDS, expected, trace="vcd")
    assert (found.m, found.n, found.k, found.count) == (3, 2, 4, 1)
    assert found.got == found.expected ^ 4
    assert found.waves.is_file()
    assert "m = 3, n = 2 (wrong from k = 4 on)" in str(found)
    assert find_mismatch(array, x[:, :4], w[:4], MAC, WORDS, expected, trace="vcd") is None


@pytest.mark.parametrize("bits", [1, 3, 5, 8, 12, 16, 27, 32, 33, 48, 61])
def test_packing_is_the_inverse_of_unpacking(bits):
    codes = np.random.default_rng(bits).integers(0, 2**bits, (7, 5))
    packed = pack_bits(codes, bits)
    assert packed.shape == (7, -(-5 * bits // 8))
    assert np.array_equal(unpack_bits(packed, bits, 5, 0), codes)
    first = [int.from_bytes(beat.tobytes(), "little") & (2**bits - 1) for beat in packed]
    assert first == codes[:, 0].tolist()
    assert np.array_equal(unpack_lanes(pack_lanes(codes, bits), bits), codes)


def test_cycles_of_large_products_are_many(array):
    """The model alone: twice the rows take twice the cycles, but for what goes before the first."""
    once, twice = cycles(TILE, 300, 64, 8), cycles(TILE, 600, 64, 8)
    assert 2 * once - 100 < twice < 2 * once


def test_fst_becomes_vcd_where_it_cannot_be_built(monkeypatch, tmp_path):
    tried = []

    def kept(design, trace, extra, optimisation):
        tried.append(trace)
        if trace == "fst":
            raise BuildError("fatal error: lz4.h: No such file or directory")
        return tmp_path / f"0-{trace}" / "design.so"

    monkeypatch.setattr(verilated_library, "_kept", kept)
    assert verilated_library.build(None, trace="fst").parent.name == "0-vcd"
    assert tried == ["fst", "vcd"]


def test_verilog_that_is_wrong_is_an_error_that_quotes_verilator():
    with pytest.raises(BuildError, match=r"could not build .*syntax error"):
        VerilatedTile(TILE, trace=None, verilog="module nonsense(")


def test_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import hw.verilated"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
