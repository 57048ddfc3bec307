"""Mutants are drawn from the syntax tree, load in place of the original, and meet the right end."""

import ast
import importlib

import pytest

from hw.rounder import SignificandRounder
from tb.verify import mutation
from tb.verify.aig import Aig
from tb.verify.benches import array_benches, mac_benches, rtlil_of
from tb.verify.machine import Machine
from tb.verify.source_mutants import _replaced, _sites, mutations

MACS = [bench for bench in mac_benches() if bench.stages == 0]
PIPELINES = [bench for bench in mac_benches() if bench.stages == 2]
ARRAYS = array_benches()


def of(module, name):
    (found,) = (mutant for mutant in mutations(module) if mutant.name == name)
    return found


def test_sites_of_all_kinds():
    text = '''
class Part:
    """With 1 + 1 here."""

    def __init__(self, width: int = 3 + 4):
        if width < 1:
            raise ValueError(f"{width + 1}")

    def elaborate(self, m):
        a = ~self.é.any() & (b << 2)
        with m.If(c):
            d = Mux(e, 0, f) if g else -h
'''
    found = {(place, ast.unparse(node), new) for place, node, new in _sites(ast.parse(text), "")}
    assert found == {
        ("Part.elaborate", "~self.é.any() & b << 2", "~self.é.any() | b << 2"),
        ("Part.elaborate", "~self.é.any()", "self.é.any()"),
        ("Part.elaborate", "self.é.any()", "self.é.all()"),
        ("Part.elaborate", "b << 2", "b >> 2"),
        ("Part.elaborate", "2", "3"),
        ("Part.elaborate", "2", "1"),
        ("Part.elaborate", "m.If(c)", "m.If(~c)"),
        ("Part.elaborate", "Mux(e, 0, f)", "Mux(e, f, 0)"),
        ("Part.elaborate", "0", "1"),
        ("Part.elaborate", "g", "not (g)"),
        ("Part.elaborate", "-h", "h"),
    }
    (shift,) = (node for _, node, new in _sites(ast.parse(text), "") if new == "b >> 2")
    assert "a = ~self.é.any() & ((b >> 2))\n" in _replaced(text, shift, "b >> 2")


def test_there_are_many_and_no_two_are_the_same():
    modules = {row.subject for row in mutation.rows()}
    assert len(modules) > 10
    for module in ("hw.rounder", "hw.adder", "hw.array"):
        found = mutations(module)
        assert (
            len({mutant.name for mutant in found}) == len({mutant.source for mutant in found}) == len(found)
        )
        assert len(found) > 20
        for mutant in found:
            ast.parse(mutant.source)


def test_a_mutant_is_loaded_and_leaves_no_trace():
    mutant = of("hw.rounder", STICKY)
    changed = mutant.load("hw.rounder").SignificandRounder
    assert changed is not SignificandRounder
    assert importlib.import_module("hw.rounder").SignificandRounder is SignificandRounder


def test_originals_pass():
    for bench in (MACS[1], PIPELINES[2], PIPELINES[-1], *ARRAYS[:2]):
        design = rtlil_of(bench.build(importlib.import_module))
        machine = Machine(Aig.of(design, "top", language="rtlil", hidden=True))
        assert bench.difference(machine) is None


#: The exponent may have a bit less: registers of the pipeline differ, and nothing comes of it.
(NARROWER,) = (b for b in PIPELINES if b.config == "e3m4_e3m4_p_exact_a_e4m7sb10_rz_g0_c16")
STICKY = "SignificandRounder.elaborate: sticky | kept[0] -> sticky & kept[0]"


@pytest.mark.parametrize(
    ("module", "name", "benches", "kind"),
    [
        ("hw.rounder", STICKY, MACS[:3], "killed"),
        ("hw.rounder", STICKY, MACS[:1], "unreached"),
        ("hw.step", "Number.offset_by: 1 -> 2 (3)", [NARROWER], "equal"),
        ("hw.step", "Number.zero: self.zero_flag is None -> self.zero_flag is not None", MACS[:1], "refused"),
        ("hw.array", "SystolicArray._control: chunk_pass == 0 -> chunk_pass != 0", ARRAYS[:1], "killed"),
    ],
)
def test_verdicts(module, name, benches, kind):
    assert mutation.try_mutation(of(module, name), list(benches)).kind == kind


def test_what_is_equal_is_proved_and_what_is_not_survives(monkeypatch):
    """With vectors that notice nothing."""
    blind = MACS[1]
    monkeypatch.setattr(type(blind), "difference", lambda self, machine: None)
    original = importlib.import_module("hw.rounder").__spec__.loader.get_source("hw.rounder")
    mutant = of("hw.rounder", STICKY)
    assert mutation.try_mutation(mutant, [blind]).kind == "survived"
    same = original.replace("(guard & (sticky | kept[0]))", "((sticky | kept[0]) & guard)")
    assert same != original
    equal = type(mutant)("hw.rounder", "place", "old", "new", 1, "line", same)
    assert mutation.try_mutation(equal, [blind]).kind == "equal"
