"""A line of the RTL changed for the worse must fail: the vectors are tested here, not the hardware."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from golden.catalog import find
from golden.config import ArrayConfig
from hw.array import SystolicArray
from hw.mac import Mac
from tb import test_array, test_mac
from tb.bank import Bank
from tb.mutants import ARRAY_MUTANTS, MAC_MUTANTS, Mutant


def test_mac_mutants(simulate):
    """Each mutant once, and each configuration once more as it is."""
    originals = {f"original_{i}": name for i, name in enumerate(sorted({m.config for m in MAC_MUTANTS}))}
    lanes, about = {}, {}
    for name, config in originals.items():
        lanes[name] = Mac(find(config).silicon, 0, events=True)
        about[name] = test_mac.describe(find(config).name, lanes[name].silicon, lanes[name])
    for mutant in MAC_MUTANTS:
        silicon, stages = find(mutant.config).silicon, mutant.shape[2]
        lanes[mutant.name] = mutant.load("hw.mac").Mac(silicon, stages, events=True)
        about[mutant.name] = test_mac.describe(find(mutant.config).name, silicon, lanes[mutant.name])
    bank = Bank(lanes)
    parameters = {
        "lanes": about,
        "in_ports": bank.in_ports,
        "out_ports": bank.out_ports,
        "seed": test_mac.SEED,
        "count": test_mac.COUNT,
        "mutants": [mutant.name for mutant in MAC_MUTANTS],
    }
    simulate(bank, "mac_mutants", "tb.mac_mutant_tests", parameters)


def test_array_mutants(simulate):
    lanes, shapes = {}, {}
    for i, (name, shape) in enumerate(sorted({(m.config, m.shape) for m in ARRAY_MUTANTS})):
        lanes[f"original_{i}"] = SystolicArray(_array_config(name, shape))
        shapes[f"original_{i}"] = asdict(test_array.describe(find(name), lanes[f"original_{i}"]))
    for mutant in ARRAY_MUTANTS:
        array = mutant.load("hw.array").SystolicArray(_array_config(mutant.config, mutant.shape))
        lanes[mutant.name] = array
        shapes[mutant.name] = asdict(test_array.describe(find(mutant.config), array))
    bank = Bank(lanes)
    parameters = {
        "lanes": shapes,
        "in_ports": bank.in_ports,
        "out_ports": bank.out_ports,
        "seed": test_array.SEED,
        "jobs": 8,
        "mutants": [mutant.name for mutant in ARRAY_MUTANTS],
    }
    simulate(bank, "array_mutants", "tb.array_mutant_tests", parameters)


def test_a_mutation_must_find_its_line():
    mutant = Mutant("typing_error", "float12", "hw.rounder", "no such text", "")
    with pytest.raises(ValueError, match="0 places"):
        mutant.load("hw.mac")


def _array_config(name: str, shape: tuple[int, int, int, int]) -> ArrayConfig:
    rows, cols, stages, depth = shape
    return ArrayConfig(
        silicon=find(name).silicon, rows=rows, cols=cols, stages=stages, depth=depth, events=True
    )
