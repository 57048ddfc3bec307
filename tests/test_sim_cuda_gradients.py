"""Gradients of the graphics card's kernels against golden's: built for the processor, and on a card.

Masks are compared bit for bit. Gradients are float32 sums in any order, so the operands here are such that
every order gives the same sum: small integers.
"""

import random
import shutil

import pytest
import torch

from golden.catalog import find
from golden.config import MacConfig
from golden.gradients import GradientRule, masks
from golden.random_words import RandomWords
from sim.backends import Backend, GoldenBackend
from sim.kernels import cuda_gradients, cuda_plan
from sim.kernels.cases import KINDS, draw, random_config
from sim.kernels.cuda import CudaBackend
from sim.kernels.cuda_library import Kernels, build
from sim.kernels.lanes import Extent, Way
from tests.kernel_matrix import WORDS
from tests.test_sim_backends import GEOMETRIES
from tests.test_sim_cuda import card, needs_card  # noqa: F401 -- a fixture

GOLDEN = GoldenBackend()
RULES = [
    GradientRule.parse(name)
    for name in ("immediate/of", "recursive/of", "immediate/diff", "recursive/diff", "immediate/diff:0.5")
]
BY_RULE = pytest.mark.parametrize("rule", RULES, ids=[rule.name.replace("/", "-") for rule in RULES])


@pytest.fixture(scope="module")
def twin():
    if shutil.which("g++") is None:
        pytest.skip("no GPU, and no g++ to build its kernels for the processor")
    return CudaBackend(Kernels(build("g++", strict=True), "cpu"))


#: One for each kernel of masks, then chunks that end inside words of 32 steps, or reach over them.
NAMES = [
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16",
    "e3m4_e3m4_p_exact_a_e4m7b11_rz_c16",
    "e3m4b3_e3m4b3_p_exact_a_e4m7b6_rz_c16",
    "e5m3_e5m3_p_e4m7b12_rz_a_e4m7b10_rz_c16",
    "e3m4_e3m4_p_e4m10b12_rz_a_e4m12b9_rz_c16",
    "e3m4_e3m4_p_e4m6b12_rne_a_e4m7b10_rne_c16",
    "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr5_c16_o_e4m6b9_sr3",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16_o_e4m6b9_sr3",
    "e3m4_e3m4_p_e4m7sb12_rz_a_e4m6sb10_rne_g1_c16",
    "int8_int8_p_exact_a_int14_floor_sat_c16",
    "int8_int8_p_exact_a_int14_floor_wrap_c16",
    "e3m4_e3m4_p_exact_a_int12ln4_rne_sat_c16_o_int9l3_rne_wrap",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b11_rz_c1_o_e4m5b9_rz",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b11_rz_c5_o_e4m5b10_rz",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b11_rz_c32",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b11_rz_c40_o_e4m5b10_rz",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b11_rz_c64",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b11_rz_c1000",
    "int4_int4_p_exact_a_int7_floor_sat_c48_o_int8_floor_sat",
]


def assert_same_masks(backend, a, b, config, rule, order=None, words=WORDS):
    expected = masks(a, b, config, rule, order, words)
    found = backend.gradient_masks(a, b, config, rule, order, words)
    wrong = (found != expected).nonzero()
    assert not len(wrong), f"{config.name}, {rule.name}: {len(wrong)} of {expected.numel()}, first {wrong[0]}"


@BY_RULE
@pytest.mark.parametrize("name", NAMES)
def test_masks_equal_golden(twin, name, rule):
    config = MacConfig.parse(name)
    length = 130 if config.chunk_size > 16 else 37
    for kind, columns in (("overflow", 3), ("cancel", 18)):
        a, b = draw(config, 2, length, columns, kind, torch.Generator().manual_seed(columns))
        assert_same_masks(twin, a, b, config, rule)


def test_masks_reach_every_kernel():
    kernels = set()
    for name in NAMES:
        config = MacConfig.parse(name)
        x, w = Extent.of(config.x), Extent.of(config.w)
        job = cuda_plan.mask_job(config, 67, x, w, WORDS)
        steps = (job.lane_product, job.lane_inner, job.lane_outer)
        ways, inner = [Way(step.way) for step in steps], Way(job.lane_inner.way)
        if job.path == 1 and inner in (Way.RZ, Way.RNE, Way.SR):
            kernels.add(("rounded", Way.SR in ways[:2], set(ways) <= {Way.NONE, Way.EXACT, Way.RZ}))
        else:
            kernels.add((job.path, inner.name if inner in (Way.NONE, Way.WHOLE) else "cut"))
    assert kernels == {
        *(("rounded", *kind) for kind in ((False, True), (False, False), (True, False))),
        (1, "WHOLE"),
        (1, "cut"),
        (0, "NONE"),
    }


@pytest.mark.parametrize("seed", range(4))
def test_masks_of_random_configurations(twin, seed):
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    for _ in range(5):
        config, shape = random_config(rng), rng.choice([(6, 20, 5), (3, 35, 7), (5, 70, 17)])
        a, b = draw(config, *shape, rng.choice(KINDS), generator)
        words = RandomWords(seed=rng.getrandbits(64), call=rng.getrandbits(32))
        assert_same_masks(twin, a, b, config, rng.choice(RULES), words=words)


#: Small integers, whose sums overflow.
NARROW = {
    "float": "e2m1_e2m1_p_e3m2b1_rz_a_e3m2b2_rz_c4",
    "integers": "int3_int3_p_exact_a_int5_floor_sat_c8",
    "one by one": "e2m1_e2m1_p_e3m2b1_rz_a_e3m2b2_rz_g0_c4",
}
BY_NARROW = pytest.mark.parametrize("name", NARROW.values(), ids=NARROW)


def whole(*shape, seed=0):
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()


def operands(config, rows, length, columns, seed=0):
    return draw(config, rows, length, columns, "any", torch.Generator().manual_seed(seed))


def assert_same_gradients(found, expected):
    for name, one, other in zip("ab", found, expected, strict=True):
        assert one.dtype == torch.float32 and one.shape == other.shape, name
        assert torch.equal(one, other), f"{name}: {(one != other).sum()} of {one.numel()} differ"


def assert_same_products(backend, a, b, config, rule, order=None, words=WORDS):
    grad = whole(*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    arguments = (a, b, config, rule, order, words)
    assert_same_gradients(backend.matmul_backward(grad, *arguments), GOLDEN.matmul_backward(grad, *arguments))


@BY_RULE
@BY_NARROW
def test_gradients_of_matrices(twin, name, rule):
    config = MacConfig.parse(name)
    a, b = operands(config, 33, 41, 20)
    assert_same_products(twin, a, b, config, rule)


@BY_NARROW
def test_shapes_and_strides(twin, name):
    """Batches, operands that are shared, transposed, cut out or repeated, float32, and nothing at all."""
    config, rule = MacConfig.parse(name), GradientRule.parse("recursive/of")
    a, b = operands(config, 24, 37, 34)
    pairs = [
        (a.t().contiguous().t(), b),
        (a, b.t().contiguous().t()),
        (a[::3, 1:], b[1:, ::2]),
        (a.float(), b.float()),
        (a[:1].expand(5, 37), b[:, :1].expand(37, 3)),
        (a.view(4, 6, 37), b),
        (a[:10], torch.stack([b, b.flip(0)])),
        (a.view(2, 2, 6, 37), torch.stack([b, b.flip(1)])[:, None].transpose(0, 1)),
        (a[:1, :1], b[:1, :1]),
        (a[:0], b),
        (a[:, :0], b[:0]),
        (a, b[:, :0]),
    ]
    for x, w in pairs:
        assert_same_products(twin, x, w, config, rule)


@BY_NARROW
def test_orders(twin, name):
    config, rule = MacConfig.parse(name), GradientRule.parse("recursive/of")
    a, b = operands(config, 9, 37, 18)
    orders = [torch.randperm(37, generator=torch.Generator().manual_seed(i)) for i in range(18)]
    for order in (orders[0], torch.stack(orders, dim=1)):
        assert_same_products(twin, a, b, config, rule, order)
        assert_same_masks(twin, a, b, config, rule, order)


@pytest.mark.parametrize("where", GEOMETRIES, ids=str)
@BY_NARROW
def test_gradients_of_convolutions(twin, name, where):
    config, rule = MacConfig.parse(name), GradientRule.parse("immediate/of")
    channels = 4 // where.groups
    images, weight = operands(config, 2 * 4 * 9, 8, channels * 3 * 2 * 8)
    images, weight = images.view(2, 4, 9, 8), weight.view(8, channels, 3, 2, 8)[..., 0]
    length = weight[0].numel()
    orders = [torch.randperm(length, generator=torch.Generator().manual_seed(i)) for i in range(8)]
    for order in (None, orders[0], torch.stack(orders, dim=1)):
        shape = twin.conv2d(images, weight, config, where, order).shape
        arguments = (whole(*shape), images, weight, config, where, rule, order)
        assert_same_gradients(twin.conv2d_backward(*arguments), Backend.conv2d_backward(GOLDEN, *arguments))


def test_few_rows_at_a_time(twin, monkeypatch):
    config, rule = MacConfig.parse(NARROW["float"]), GradientRule.parse("recursive/of")
    a, b = operands(config, 150, 70, 20)
    grad = whole(150, 20)
    images, weight = a[:144, :8].reshape(4, 2, 9, 16), b[:18, :6].t().reshape(6, 2, 3, 3)
    where = GEOMETRIES[0]
    of_images = whole(*twin.conv2d(images, weight, config, where).shape)
    once = [
        twin.matmul_backward(grad, a, b, config, rule),
        twin.conv2d_backward(of_images, images, weight, config, where, rule),
    ]
    blocks = []
    monkeypatch.setattr(cuda_gradients, "_SCRATCH", 7000)
    monkeypatch.setattr(cuda_gradients._Work, "bits", _recorded(cuda_gradients._Work.bits, blocks))
    assert_same_gradients(twin.matmul_backward(grad, a, b, config, rule), once[0])
    assert_same_gradients(twin.conv2d_backward(of_images, images, weight, config, where, rule), once[1])
    assert len(blocks) > 8 and blocks[0] == (0, 25)


def _recorded(method, blocks):
    def bits(self, first, last):
        blocks.append((first, last))
        return method(self, first, last)

    return bits


def test_many_rows_are_added_up_in_slices(twin):
    """As on a card with many processors: the sum over rows in parts."""
    backend = CudaBackend(Kernels(build("g++", strict=True), "cpu", 64))
    config, rule = MacConfig.parse(NARROW["float"]), GradientRule.parse("immediate/of")
    a, b = operands(config, 1100, 9, 17)
    assert_same_products(backend, a, b, config, rule)


@pytest.mark.parametrize(
    ("name", "rule"), [("float12", "identity"), ("int20", "recursive/of"), ("exact", "immediate/of")]
)
def test_without_masks(twin, name, rule):
    config, rule = find(name), GradientRule.parse(rule)
    a, b = whole(7, 19).double(), whole(19, 5, seed=1).double()
    assert_same_products(twin, a, b, config, rule)
    assert_same_products(twin, torch.stack([a, -a]), b, config, rule)
    where, images, weight = GEOMETRIES[-1], whole(2, 4, 9, 8), whole(8, 4 // GEOMETRIES[-1].groups, 3, 2)
    grad = whole(*twin.conv2d(images, weight, config, where).shape)
    arguments = (grad, images, weight, config, where, rule)
    assert_same_gradients(twin.conv2d_backward(*arguments), Backend.conv2d_backward(GOLDEN, *arguments))


def test_explains_the_way(twin):
    rule = GradientRule.parse("recursive/of")
    assert "single precision, then float32 products" in twin.explain(find("float12"), 64, rule)
    assert "slower" in twin.explain(find("float12-g1"), 64, rule)
    assert "no masks" in twin.explain(find("exact"), 64, rule)
    assert "no masks" in twin.explain(find("float12"), 64, GradientRule.parse("identity"))


@needs_card
@BY_RULE
@pytest.mark.parametrize("name", NAMES)
def test_card_masks_equal_golden(card, name, rule):  # noqa: F811
    config = MacConfig.parse(name)
    for kind, length, columns in (("overflow", 130, 3), ("any", 67, 18), ("cancel", 64, 70)):
        a, b = draw(config, 70, length, columns, kind, torch.Generator().manual_seed(length))
        found = card.gradient_masks(a.cuda(), b.cuda(), config, rule, None, WORDS)
        assert found.is_cuda
        assert torch.equal(found.cpu(), masks(a, b, config, rule, None, WORDS)), kind


@needs_card
@BY_RULE
@BY_NARROW
def test_card_gradients_of_matrices(card, name, rule):  # noqa: F811
    config = MacConfig.parse(name)
    for m, k, n in ((300, 150, 70), (1000, 37, 16), (20, 300, 257)):
        a, b = operands(config, m, k, n)
        grad = whole(m, n)
        found = card.matmul_backward(grad.cuda(), a.cuda(), b.cuda(), config, rule)
        assert_same_gradients(
            [each.cpu() for each in found], GOLDEN.matmul_backward(grad, a, b, config, rule)
        )


@needs_card
@pytest.mark.parametrize("where", GEOMETRIES, ids=str)
def test_card_gradients_of_convolutions(card, where):  # noqa: F811
    config, rule = MacConfig.parse(NARROW["float"]), GradientRule.parse("recursive/of")
    channels = 16 // where.groups
    images, weight = operands(config, 8 * 16 * 12, 16, channels * 3 * 2 * 24)
    images, weight = images.view(8, 16, 12, 16), weight.view(24, channels, 3, 2, 16)[..., 0]
    grad = whole(*card.conv2d(images, weight, config, where).shape)
    found = card.conv2d_backward(grad.cuda(), images.cuda(), weight.cuda(), config, where, rule)
    expected = Backend.conv2d_backward(GOLDEN, grad, images, weight, config, where, rule)
    assert_same_gradients([each.cpu() for each in found], expected)


@needs_card
def test_card_gradients_are_the_same_each_time(card):  # noqa: F811
    config, rule = find("float12"), GradientRule.parse("recursive/of")
    a, b = (
        each.cuda() for each in draw(config, 5000, 300, 100, "overflow", torch.Generator().manual_seed(0))
    )
    grad = torch.randn(5000, 100, device="cuda")
    first, second = (card.matmul_backward(grad, a, b, config, rule) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
