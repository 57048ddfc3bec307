"""The statement of gradients against an autograd graph with an operator for every step, exactly."""

import pytest
import torch

from golden import accumulate
from golden.catalog import find
from golden.config import ConfigError, MacConfig
from golden.gradients import Estimator, GradientRule, masks
from sim.backends import find_backend
from sim.kernels.cases import draw
from tests.unrolled_gradients import WORDS, gradients

RULES = [
    GradientRule.parse(name)
    for name in (
        *("identity", "immediate/of", "recursive/of", "immediate/diff", "recursive/diff"),
        *("immediate/diff:0.5", "recursive/diff:0.3"),
    )
]

CONFIGS = [
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16",  # the paper's
    "e3m4_e3m4_p_e4m3b14_rz_a_e3m4b4_rz_c4",  # products that overflow, too
    "e3m4_e3m4_p_exact_a_e3m3b4_rne_c5",
    "e3m4_e3m4_p_e4m3b12_sr3_a_e3m4b4_sr5_c3_o_e4m4b8_sr2",
    "e3m4_e3m4_p_exact_a_e3m4b4_rz_g1_c4",
    "e3m4_e3m4_p_e4m3sb12_rne_a_e3m3sb3_rne_c4_o_e3m2b3_rz",
    "int8_int8_p_exact_a_int12_floor_sat_c4",
    "int8_int8_p_exact_a_int13_floor_wrap_c3_o_int14_floor_wrap",
    "e3m4_e3m4_p_exact_a_int9ln2_rz_sat_c4_o_int10ln1_rne_sat",
    "int4_int4_p_exact_a_e3m2bn2_rz_c1",
    "e3m4_e3m4_p_exact_a_e3m3b4_rz_c3_o_int9ln1_floor_wrap",
]


def case(name: str, seed: int, length: int):
    """Operands of which some overflow, and upstream gradients of few bits: all sums are exact."""
    config = MacConfig.parse(name)
    generator = torch.Generator().manual_seed(seed)
    parts = [draw(config, 1, length, 2, kind, generator) for kind in ("overflow", "any", "alternate")]
    a = torch.cat([part[0] for part in parts])
    b = torch.cat([part[1] for part in parts], dim=1)[:, torch.randperm(6, generator=generator)[:4]]
    grad = torch.randint(-2, 3, (3, 4), generator=generator)
    grad[0, 0] = 1
    return config, grad.double(), a, b, generator


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_those_of_the_unrolled_graph(name, rule):
    config, grad, a, b, _ = case(name, 1, 11)
    out, of_a, of_b = gradients(grad, a, b, config, rule)
    assert torch.equal(out, accumulate.matmul(a, b, config, None, WORDS))
    kept = masks(a, b, config, rule, None, WORDS)
    assert torch.equal(torch.einsum("mn,mnk,kn->mk", grad, kept.double(), b), of_a)
    assert torch.equal(torch.einsum("mn,mnk,mk->kn", grad, kept.double(), a), of_b)


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("name", CONFIGS[:5])
def test_an_order_moves_steps_and_not_products(name, by_column):
    config, grad, a, b, generator = case(name, 2, 7)
    columns = [torch.randperm(7, generator=generator) for _ in range(b.shape[1])]
    order = torch.stack(columns, dim=1) if by_column else columns[0]
    rule = GradientRule.parse("recursive/of")
    _, of_a, of_b = gradients(grad, a, b, config, rule, order)
    got = find_backend("golden").matmul_backward(grad, a, b, config, rule, order, WORDS)
    assert torch.equal(got[0].double(), of_a)
    assert torch.equal(got[1].double(), of_b)


def test_every_rule_masks_something_here_and_they_differ():
    """The cases above tell the rules apart."""
    seen = {}
    for rule in RULES:
        kept = [masks(*case(name, 1, 11)[2:4], MacConfig.parse(name), rule, None, WORDS) for name in CONFIGS]
        seen[rule.name] = torch.stack(kept)
    assert seen.pop("identity").all()
    for name, kept in seen.items():
        assert 0.05 < kept.double().mean() < 0.95, name
    together = torch.stack([kept.flatten() for kept in seen.values()])
    assert len(together.unique(dim=0)) == len(seen)


def test_masks_of_a_chain_by_hand():
    """8-bit sums, chunks of 3: 100 + 100 overflows at step 1, and the chunks' sum does again."""
    config = find("int8")
    config = MacConfig.parse(config.name.replace("_c16", "_c3"))
    a = torch.tensor([[100.0, 100.0, -5.0, 10.0, 0.0, 1.0]])
    b = torch.ones(6, 1)

    def bits(name):
        return masks(a, b, config, GradientRule.parse(name))[0, 0].long().tolist()

    # Sums 100, 127, 122 and 10, 10, 11; outer sums 122, 127.
    assert bits("immediate/of") == [1, 0, 1, 0, 0, 0]
    assert bits("recursive/of") == [0, 0, 0, 0, 0, 0]
    assert bits("immediate/diff") == [1, 1, 1, 1, 0, 1]
    assert bits("recursive/diff") == [1, 1, 1, 0, 0, 1]
    assert bits("immediate/diff:0.26") == [1, 1, 1, 1, 0, 1]  # 27 of 100, and 5 of 11
    assert bits("immediate/diff:0.27") == [1, 0, 1, 1, 0, 1]
    assert bits("immediate/diff:0.5") == [1, 0, 1, 0, 0, 0]


def test_a_product_that_overflows_masks_nothing():
    config = MacConfig.parse("e3m4_e3m4_p_e4m3b14_rz_a_e8m10_rz_c16")
    a, b = torch.full((1, 4), 16.0), torch.full((4, 1), 16.0)
    assert accumulate.events(a, b, config).product.overflow == 4
    assert masks(a, b, config, GradientRule.parse("recursive/of")).all()


def test_batches_broadcast_and_rows_of_words_count_on():
    config, _, a, b, generator = case(CONFIGS[3], 3, 6)
    batch = torch.stack([a, a.flip(0)])
    rule = GradientRule.parse("immediate/of")
    both = masks(batch, b, config, rule, None, WORDS)
    assert both.shape == (2, 3, 4, 6)
    assert torch.equal(both.flatten(0, 1), masks(batch.flatten(0, 1), b, config, rule, None, WORDS))
    grad = torch.randint(-2, 3, (2, 3, 4), generator=generator).double()
    of_a, of_b = find_backend("golden").matmul_backward(grad, batch, b, config, rule, None, WORDS)
    flat = gradients(grad.flatten(0, 1), batch.flatten(0, 1), b, config, rule)
    assert torch.equal(of_a.flatten(0, 1).double(), flat[1])
    assert torch.equal(of_b.double(), flat[2])


def test_empty_products_have_empty_masks():
    config = find("float12")
    rule = GradientRule.parse("recursive/of")
    assert masks(torch.ones(2, 0), torch.ones(0, 3), config, rule).shape == (2, 3, 0)
    assert masks(torch.ones(0, 4), torch.ones(4, 3), config, rule).shape == (0, 3, 4)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_names_of_rules(rule):
    assert GradientRule.parse(rule.name) == rule


@pytest.mark.parametrize(
    "name",
    ["recursive", "", "immediate/of:0.5", "immediate/diff:", "immediate/diff:-1", "recursive/diff:nan"],
)
def test_what_is_no_rule(name):
    with pytest.raises(ConfigError, match=r"immediate|threshold|rule"):
        GradientRule.parse(name)


def test_fields_are_checked():
    with pytest.raises(ConfigError, match="estimator"):
        GradientRule(estimator="recursive/of", threshold=0.0)
    assert GradientRule(estimator=Estimator.IMMEDIATE_DIFF, threshold=0.0).name == "immediate/diff"


def test_a_difference_too_long_for_float64_is_refused():
    """A sum of 2**29 and 2**-30 has 60 bits. Without a threshold sums are only told apart."""
    config = MacConfig.parse("e8m3_e8m3_p_exact_a_int62ln30_rz_sat_c4")
    a, b = torch.tensor([[2.0**14, 1.0]]), torch.tensor([[2.0**15], [2.0**-30]])
    assert masks(a, b, config, GradientRule.parse("immediate/diff")).all()
    for backend in ("golden", "cpu"):
        with pytest.raises(ValueError, match="53 bits"):
            find_backend(backend).gradient_masks(a, b, config, GradientRule.parse("immediate/diff:0.5"))
