"""Inside the simulator: tiles with one line changed must be found out, and one as it is must not."""

from __future__ import annotations

import os
from random import Random

import cocotb

from tb import tile_scenarios
from tb.tile_bench import TileBench
from tb.tile_drivers import start_clock
from tb.tile_tests import CASES, COUNT, PARAMETERS, SEED

SCENARIOS = {
    "refused accesses": tile_scenarios.refused_accesses,
    "products": lambda bench: tile_scenarios.products(bench, tile_scenarios.EVERYWHERE, COUNT),
    "starts": tile_scenarios.starts_that_cannot_be,
    "early last": lambda bench: tile_scenarios.wrong_lasts(bench, "weights", early=True),
    "no last": lambda bench: tile_scenarios.wrong_lasts(bench, "activations", early=False),
    "clears": lambda bench: tile_scenarios.clears(bench, 4 * COUNT),
    "resets": lambda bench: tile_scenarios.resets(bench, 4 * COUNT),
}


@cocotb.test()
async def every_mutant_is_caught(dut):
    os.environ["TB_MISMATCH"] = os.devnull  # what is found here is no mismatch to look into
    cocotb.log.info("seed %s", SEED)
    benches = [TileBench(dut, prefix, case, Random(f"{SEED} {prefix}")) for prefix, case in CASES.items()]
    await start_clock(dut, benches)
    caught: dict[str, str] = {}

    async def until_caught(bench: TileBench) -> None:
        for name, scenario in SCENARIOS.items():
            try:
                await scenario(bench)
                bench.check_protocol()
            except AssertionError as error:
                caught[bench.prefix] = f"by {name}: {error}"
                return

    for task in [cocotb.start_soon(until_caught(bench)) for bench in benches]:
        await task
    mutants = PARAMETERS["mutants"]
    for name, text in caught.items():
        cocotb.log.info("%s is caught %s", name, text)
    assert [name for name in caught if name not in mutants] == [], caught
    survivors = [name for name in mutants if name not in caught]
    assert not survivors, f"no scenario tells these from the original: {survivors}"
