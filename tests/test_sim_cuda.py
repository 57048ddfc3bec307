"""The kernels of a graphics card against golden: built for the processor, and on a card where there is one.

The twin is the same source, tiles, threads and steps, without the card's own instructions.
"""

import random
import shutil
from functools import cache

import pytest
import torch

from golden import accumulate as golden
from golden.catalog import find
from golden.config import ConfigError, MacConfig
from golden.random_words import RandomWords
from sim.backends import CpuBackend, GoldenBackend
from sim.kernels import cuda, cuda_library, cuda_plan
from sim.kernels.cases import KINDS, draw, random_config
from sim.kernels.cuda import CudaBackend
from sim.kernels.cuda_library import Kernels, build
from sim.kernels.lanes import Way
from tests.kernel_matrix import NAMES, WORDS, assert_same_values, matrices
from tests.test_sim_backends import GEOMETRIES, geometry

CPU, GOLDEN = CpuBackend(), GoldenBackend()
TILES = {"large tiles": 0, "small tiles": 10**6}  # processors that are to be kept busy
needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch sees")


@pytest.fixture(scope="module", params=TILES)
def twin(request):
    if shutil.which("g++") is None:
        pytest.skip("no GPU, and no g++ to build its kernels for the processor")
    return CudaBackend(Kernels(build("g++", strict=True), "cpu", TILES[request.param]))


@pytest.fixture(scope="module")
def card():
    return CudaBackend()


#: Beside the matrix: products in the scale of sums; the widest exponents of sums that saturate by rounding.
MORE = [
    "e3m4b6_e3m4b6_p_e4m7b12_rz_a_e4m7b10_rz_c16",
    "e3m4b6_e3m4b6_p_e4m7b12_rz_a_e4m7b10_rz_c5_o_e5m6b14_rz",
    "e5m4b20_e5m4b20_p_e6m7b40_rz_a_e6m7b38_rz_c16",
    "e5m4b20_e5m4b20_p_e7m7b80_rz_a_e7m7b76_rz_c16",
    "e5m4_e5m4_p_e4m7b12_rz_a_e1m9b1_rz_c4_o_e6m0b30_rz",
    "e3m4b6_e3m4b6_p_e4m9b12_rz_a_e4m7b10_rz_c16",
]


@cache
def matrix_of(name):
    """Configuration, operands and golden's product, of every kind of operands."""
    config = MacConfig.parse(name)
    a, b = matrices(config)
    return config, a, b, golden.matmul(a, b, config, None, WORDS)


def assert_equals_golden(backend, a, b, config, order=None, words=WORDS):
    expected = golden.matmul(a, b, config, order, words)
    assert_same_values(backend.matmul(a, b, config, order, words), expected, config.name)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no GPU toolkit: nvcc is not on the PATH")
def test_compiles_without_a_warning():
    assert build(strict=True).is_file()


@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_matrix_equals_golden(twin, name):
    config, a, b, expected = matrix_of(name)
    assert_same_values(twin.matmul(a, b, config, None, WORDS), expected, name)


def test_matrix_reaches_every_kernel(twin):
    kernels = set()
    for name in [*NAMES, *MORE]:
        config, a, b, _ = matrix_of(name)
        x, w = twin._extents(a, b, config, a.shape[-1], looks=True)
        job = cuda_plan.product_job(config, a.shape[-1], x, w, WORDS, by_column=False)
        product, inner = Way(job.lane_product.way), Way(job.lane_inner.way)
        if job.path == 3:
            scaled = job.lane_inner.scale != 1
            kernels.add("top exact" if product is Way.NONE else ("top", 2 if job.underflows else int(scaled)))
        else:
            kernels.add((job.path, inner, Way.SR in (product, inner)))
    assert kernels == {
        "top exact",
        *(("top", check) for check in range(3)),
        *((1, way, stochastic) for way in (Way.RZ, Way.RNE) for stochastic in (False, True)),
        (1, Way.SR, True),
        *((1, way, False) for way in (Way.FIXED_RZ, Way.FIXED_FLOOR, Way.FIXED_RNE, Way.WHOLE, Way.SUM)),
        (2, Way.SUM, False),
        (0, Way.NONE, False),
    }


@pytest.mark.parametrize("seed", range(10))
def test_random_configurations_equal_golden(twin, seed):
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    for _ in range(10):
        config, shape = random_config(rng), rng.choice([(6, 20, 5), (3, 33, 7), (18, 49, 9), (33, 40, 34)])
        a, b = draw(config, *shape, rng.choice(KINDS), generator)
        words = RandomWords(seed=rng.getrandbits(64), call=rng.getrandbits(32))
        assert_equals_golden(twin, a, b, config, words=words)


ORDINARY = ["float12", "float12-rne", "float12-g1", "float12-px", "fixed12", "int12", "int12-wrap", "exact"]


@pytest.mark.parametrize("name", ORDINARY)
def test_shapes_and_strides(twin, name):
    """Batches, operands that are shared, transposed, cut out or repeated, float32, and nothing at all."""
    config, generator = find(name), torch.Generator().manual_seed(0)
    a, b = draw(config, 40, 37, 66, "any", generator)
    pairs = [
        (a.t().contiguous().t(), b),
        (a, b.t().contiguous().t()),
        (a[::3, 1:], b[1:, ::2]),
        (a.float(), b),
        (a[:1].expand(5, 37), b[:, :1].expand(37, 3)),
        (a.view(4, 10, 37), b),
        (a[:10], torch.stack([b, b.flip(0)])),
        (a.view(2, 2, 10, 37), torch.stack([b, b.flip(1)])[:, None].transpose(0, 1)),
        (a[:1, :1], b[:1, :1]),
        (a[:0], b),
        (a[:, :0], b[:0]),
        (a, b[:, :0]),
    ]
    for x, w in pairs:
        assert_equals_golden(twin, x, w, config)
    single = twin.matmul(a, b, config, dtype=torch.float32)
    assert torch.equal(single, golden.matmul(a, b, config).float())


@pytest.mark.parametrize("name", ORDINARY)
def test_orders(twin, name):
    config, generator = find(name), torch.Generator().manual_seed(0)
    a, b = draw(config, 20, 37, 18, "cancel", generator)
    orders = torch.stack([torch.randperm(37, generator=generator) for _ in range(18)], dim=1)
    for order in (orders[:, 0], orders):
        assert_equals_golden(twin, a, b, config, order)


@pytest.mark.parametrize("where", GEOMETRIES, ids=str)
@pytest.mark.parametrize(
    "name", ["float12", "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr5_c16", "float8-g1", "int12", "int20"]
)
def test_convolutions_equal_golden(twin, name, where):
    config = MacConfig.parse(name) if "_" in name else find(name)
    images, weight = draw(
        config, 2 * 4 * 9, 8, 4 // where.groups * 3 * 2 * 8, "any", torch.Generator().manual_seed(0)
    )
    images, weight = images.view(2, 4, 9, 8), weight.view(8, 4 // where.groups, 3, 2, 8)[..., 0]
    length = weight[0].numel()
    orders = torch.stack(
        [torch.randperm(length, generator=torch.Generator().manual_seed(i)) for i in range(8)], dim=1
    )
    for order in (None, orders[:, 0], orders):
        if order is orders and where.groups > 1 and config.stochastic:
            continue
        reference = CPU if where.groups > 1 and config.stochastic else GOLDEN
        expected = reference.conv2d(images, weight, config, where, order, WORDS)
        assert_same_values(twin.conv2d(images, weight, config, where, order, WORDS), expected, name)


def test_statistics_are_the_processor_s(twin):
    config = find("float12")
    a, b = draw(config, 5, 40, 6, "swamp", torch.Generator().manual_seed(0))
    assert twin.events(a, b, config) == CPU.events(a, b, config)


def test_refuses_what_it_cannot_take(twin):
    config = find("float12")
    for value in (0.3, 1e6, float("nan"), float("inf"), 2.0**-80):
        with pytest.raises(ValueError, match=r"is no value of e3m4|cannot become e3m4"):
            twin.matmul(torch.full((2, 3), value, dtype=torch.float64), torch.ones(3, 2), config)
    with pytest.raises(ValueError, match="matmul takes"):
        twin.matmul(torch.ones(2, 3), torch.ones(2, 3), config)
    with pytest.raises(ConfigError, match="conv2d takes"):
        twin.conv2d(torch.zeros(1, 3, 4, 4), torch.zeros(2, 2, 3, 3), config, geometry())
    wide = MacConfig.parse("e8m23_int2_p_exact_a_int60ln30_rz_sat_c16")
    with pytest.raises(ValueError, match="more than float64's 53 bits"):
        twin.matmul(torch.tensor([[2.0**28, 2.0**-30]]), torch.ones(2, 1), wide)


def test_explains_the_way():
    assert "saturated by rounding" in cuda.explain(find("float12"), 64)
    assert "integers" in cuda.explain(find("float12-g1"), 64)
    assert "plain sums" in cuda.explain(find("exact"), 64)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cuda_library.card_kernels.cache_clear()
    with pytest.raises(ConfigError, match="needs an NVIDIA GPU that torch sees"):
        CudaBackend()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="nvcc, which is not on the PATH"):
        build()


def test_a_failed_build_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_library, "BUILDS", tmp_path)
    monkeypatch.setitem(cuda_library.FLAGS, "g++", "--no-such-flag")
    with pytest.raises(ConfigError, match="no-such-flag"):
        build("g++")
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@needs_card
@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_card_equals_golden(card, name):
    config, a, b, expected = matrix_of(name)
    values = card.matmul(a.cuda(), b.cuda(), config, None, WORDS)
    assert values.is_cuda
    assert_same_values(values.cpu(), expected, name)


@needs_card
@pytest.mark.parametrize("seed", range(50))
def test_card_equals_golden_on_random_configurations(card, seed):
    test_random_configurations_equal_golden(card, seed)


@needs_card
@pytest.mark.parametrize("name", ORDINARY)
def test_card_equals_the_processor_on_many_products(card, name):
    """All of them together more than 10**9 products."""
    config, generator = find(name), torch.Generator().manual_seed(0)
    for i, kind in enumerate(KINDS):
        a, b = draw(config, 257, 250 + i, 260, kind, generator)
        values = card.matmul(a.cuda(), b.cuda(), config).cpu()
        assert_same_values(values, CPU.matmul(a, b, config), f"{name}, {kind}")


@needs_card
def test_card_follows_the_current_stream(card):
    config, stream = find("float12"), torch.cuda.Stream()
    a, b = draw(config, 300, 300, 300, "any", torch.Generator().manual_seed(0))
    with torch.cuda.stream(stream):
        values = card.matmul(a.cuda(), b.cuda(), config)
    stream.synchronize()
    assert_same_values(values.cpu(), CPU.matmul(a, b, config), config.name)
