"""The kernels of the backward pass: every way and instruction set masks what golden.gradients does."""

import ctypes

import pytest
import torch

from golden import gradients as golden
from golden.catalog import find
from golden.config import MacConfig
from golden.gradients import GradientRule
from golden.random_words import RandomWords
from sim.backends import Conv2dGeometry, find_backend
from sim.kernels import backward, library
from sim.kernels.cases import KINDS, draw
from sim.kernels.library import instruction_sets
from sim.kernels.plan import Path, ways
from sim.kernels.product import extent_of
from tests.kernel_matrix import CHUNKS, FIXED, FLOAT
from tests.unrolled_gradients import CONFIGS, RECURSIVE, RULES, WORDS, exact_gradients, of_few_bits, quantized

NAMES = FLOAT[::6] + FIXED[::4] + CHUNKS[::4]


@pytest.mark.parametrize("name", CONFIGS)
def test_kernels_and_statement_agree_in_tiles_and_beyond(name):
    """More rows, columns and steps than a tile or a panel has, and a chunk that is cut short."""
    config = MacConfig.parse(name)
    a, b, grad, _ = of_few_bits(config, 11, 21, 35, seed=3)
    for rule in RULES[1:]:
        kept = golden.masks(a, b, config, rule, None, WORDS)
        assert torch.equal(backward.product_masks(a, b, config, rule, None, WORDS), kept)
        got = backward.multiply_backward(grad, a, b, config, rule, None, WORDS)
        for each, want in zip(got, exact_gradients(grad, a, b, kept), strict=True):
            assert torch.equal(each.double(), want)


def every_way(config, a, b):
    """Plans of all instruction sets for these operands."""
    extents = extent_of(a, config.x), extent_of(b, config.w)
    return [
        (isa, plan)
        for isa in instruction_sets()
        for plan in ways(config, a.shape[1], *extents, count=True, isa=isa)[0]
    ]


@pytest.mark.parametrize("index, name", list(enumerate(NAMES)))
def test_every_way_marks_the_same_steps(index, name):
    config = MacConfig.parse(name)
    generator = torch.Generator().manual_seed(index)
    a, b = draw(config, 5, 21, 18, KINDS[index % len(KINDS)], generator)
    for rule in (RULES[1 + index % 2], RULES[3 + index % 4]):
        try:
            kept = golden.masks(a, b, config, rule, None, WORDS)
        except ValueError:  # longer than float64
            continue
        for isa, plan in every_way(config, a, b):
            got = backward.product_masks(a, b, config, rule, None, WORDS, isa=isa, plan=plan)
            assert torch.equal(got, kept), (isa, plan.reason, rule.name)


def test_every_way_was_tried():
    tried = set()
    for name in NAMES:
        config = MacConfig.parse(name)
        a, b = draw(config, 1, 21, 1, "any", torch.Generator().manual_seed(0))
        tried |= {(isa, plan.path) for isa, plan in every_way(config, a, b)}
    vectors = {isa for isa in instruction_sets() if isa != "generic"}
    lanes = {(isa, path) for isa in vectors for path in (Path.SINGLE, Path.DOUBLE)}
    assert tried == lanes | {(isa, Path.SCALAR) for isa in instruction_sets()}


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("name", [CONFIGS[0], CONFIGS[5]])
def test_every_instruction_set_adds_up_the_same_terms(name, isa):
    config = MacConfig.parse(name)
    a, b, grad, _ = of_few_bits(config, 11, 37, 35, seed=4)
    for rule in (RULES[1], RULES[2]):
        kept = golden.masks(a, b, config, rule, None, WORDS)
        for _, plan in (each for each in every_way(config, a, b) if each[0] == isa):
            got = backward.multiply_backward(grad, a, b, config, rule, None, WORDS, isa=isa, plan=plan)
            for each, want in zip(got, exact_gradients(grad, a, b, kept), strict=True):
                assert torch.equal(each.double(), want), plan.reason


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("name", [CONFIGS[1], CONFIGS[3], CONFIGS[6]])
def test_orders(name, by_column):
    config = MacConfig.parse(name)
    a, b, grad, generator = of_few_bits(config, 5, 13, 7, seed=5)
    columns = [torch.randperm(13, generator=generator) for _ in range(7)]
    order = torch.stack(columns, dim=1) if by_column else columns[0]
    kept = golden.masks(a, b, config, RECURSIVE, order, WORDS)
    assert torch.equal(find_backend("cpu").gradient_masks(a, b, config, RECURSIVE, order, WORDS), kept)
    got = find_backend("cpu").matmul_backward(grad, a, b, config, RECURSIVE, order, WORDS)
    for each, want in zip(got, exact_gradients(grad, a, b, kept), strict=True):
        assert torch.equal(each.double(), want)


def test_blocks_of_pixels_leave_no_seam():
    """Images of more pixels than one block has: patches overlap from block to block."""
    config = find("float12")
    generator = torch.Generator().manual_seed(13)
    geometry = Conv2dGeometry(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    images = quantized(torch.randint(-2, 3, (2, 2, 75, 140), generator=generator) / 4, config.x).float()
    weight = quantized(torch.randint(-2, 3, (3, 2, 5, 5), generator=generator) / 4, config.w).float()
    result = find_backend("cpu").conv2d(images, weight, config, geometry)
    assert result[:, 0].numel() > 8 * 32 * 40
    grad = torch.randint(-1, 2, result.shape, generator=generator).float()
    # A rule that masks nothing here, by the kernels all the same.
    rule = GradientRule.parse("immediate/of")
    events = find_backend("cpu").conv2d_events(images, weight, config, geometry)[1]
    assert events.inner.overflow == events.outer.overflow == 0
    plan = ways(config, 50, extent_of(images, config.x), extent_of(weight, config.w), count=True)[0][0]
    got = backward.convolve_backward(grad, images, weight, config, geometry, rule, None, WORDS, plan=plan)
    x, w = images.requires_grad_(), weight.requires_grad_()
    wanted = torch.autograd.grad(torch.conv2d(x, w, padding=1), (x, w), grad)
    for each, want in zip(got, wanted, strict=True):
        assert torch.equal(each, want)


def test_nothing_is_recomputed_where_nothing_can_overflow(monkeypatch):
    config = find("float12")
    a, b = torch.full((4, 8), 0.5), torch.full((8, 3), 0.5)
    monkeypatch.setattr(backward._Call, "run", lambda *_: pytest.fail("a kernel ran"))
    of_a, of_b = find_backend("cpu").matmul_backward(torch.ones(4, 3), a, b, config, RECURSIVE)
    assert (of_a == 1.5).all()
    assert (of_b == 2.0).all()
    with pytest.raises(pytest.fail.Exception):
        find_backend("cpu").matmul_backward(torch.ones(4, 3), a * 16, b * 16, config, RECURSIVE)


@pytest.mark.parametrize(
    "name, product, last",
    [
        ("e4m7_e4m7_p_exact_a_e3m4b3_rz_c16", 0.25, 124),  # sums up to 31
        ("e4m7_e4m7_p_exact_a_e3m4b3_rz_c64_o_e4m4b9_rz", 0.25, 495),  # chunks' sums up to 124, at most 31
        ("int8_int8_p_exact_a_int10_floor_sat_c16", 4.0, 127),  # up to 511
    ],
)
def test_the_proof_that_nothing_overflows(name, product, last):
    """At the last length at which nothing does it may fail by its margin, beyond it always does."""
    config = MacConfig.parse(name)

    def proved_and_true(length):
        a, b = torch.ones(1, length), torch.full((length, 1), product)
        norms = backward._largest_norm(a, -1) * backward._largest_norm(b, -2)
        extents = extent_of(a, config.x), extent_of(b, config.w)
        kept = find_backend("cpu").gradient_masks(a, b, config, RECURSIVE)
        return backward._cannot_overflow(config, length, *extents, norms), bool(kept.all())

    found = {length: proved_and_true(length) for length in (last // 2, *range(last - 2, last + 3))}
    assert all(held for proved, held in found.values() if proved)
    assert found[last // 2] == (True, True)
    assert found[last + 2][0] is False


def test_words_of_other_calls_differ():
    config = MacConfig.parse(CONFIGS[3])
    a, b, _, _ = of_few_bits(config, 5, 9, 7, seed=19)
    one, other = (
        find_backend("cpu").gradient_masks(a, b, config, RULES[3], None, RandomWords(seed=1, call=call))
        for call in (0, 1)
    )
    assert not torch.equal(one, other)


def test_structures_are_mirrored_in_full():
    sizes = library._library().fmaq_bytes
    sizes.restype, sizes.argtypes = ctypes.c_int64, (ctypes.c_char_p,)
    for name in ("Job", "Gradient", "Operand", "Extent"):
        assert sizes(name.lower().encode()) == ctypes.sizeof(getattr(library, name))
