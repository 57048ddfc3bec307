"""Inside the simulator: tiles give golden's results whatever the stalls, resets and misuse."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random

import cocotb

from tb import tile_scenarios
from tb.tile_bench import TileBench
from tb.tile_cases import TileCase
from tb.tile_drivers import start_clock

PARAMETER_FILE = Path(os.environ["TB_PARAMETERS"])
PARAMETERS = json.loads(PARAMETER_FILE.read_text())
CASES = {prefix: TileCase(**case) for prefix, case in PARAMETERS["tiles"].items()}
SEED, COUNT = PARAMETERS["seed"], PARAMETERS["count"]

#: Which channels pause, and for which share of the cycles.
STALLS = {
    "none": {},
    "all": tile_scenarios.EVERYWHERE,
    "senders": {"weights": 0.7, "activations": 0.5, "aw": 0.5, "w": 0.8, "ar": 0.5},
    "receivers": {"results": 0.8, "b": 0.7, "r": 0.7},
}


async def on_all(dut, name: str, scenario: Callable[[TileBench], Coroutine]) -> None:
    """Run a scenario on every tile at once, and see that the protocol was kept.

    Leaves the beats that passed on each channel so far in ``beats.json``, beside the parameters.
    """
    cocotb.log.info("seed %s", SEED)
    benches = [
        TileBench(dut, prefix, case, Random(f"{SEED} {name} {prefix}")) for prefix, case in CASES.items()
    ]
    await start_clock(dut, benches)
    for task in [cocotb.start_soon(scenario(bench)) for bench in benches]:
        await task
    for bench in benches:
        bench.check_protocol()
    beats = {bench.prefix: bench.beats for bench in benches}
    PARAMETER_FILE.with_name("beats.json").write_text(json.dumps(beats))


@cocotb.test()
@cocotb.parametrize(stalls=list(STALLS))
async def every_product_matches_golden(dut, stalls: str):
    await on_all(dut, stalls, lambda bench: tile_scenarios.products(bench, STALLS[stalls], COUNT))


@cocotb.test()
async def reset_leaves_no_residue(dut):
    await on_all(dut, "resets", lambda bench: tile_scenarios.resets(bench, 2 * COUNT))


@cocotb.test()
async def clear_leaves_no_residue(dut):
    await on_all(dut, "clears", lambda bench: tile_scenarios.clears(bench, 2 * COUNT))


@cocotb.test()
async def accesses_that_cannot_be_are_refused(dut):
    await on_all(dut, "accesses", tile_scenarios.refused_accesses)


@cocotb.test()
async def starts_that_cannot_be_are_errors(dut):
    await on_all(dut, "starts", tile_scenarios.starts_that_cannot_be)


@cocotb.test()
@cocotb.parametrize(stream=["weights", "activations"], early=[True, False])
async def a_wrong_last_halts(dut, stream: str, early: bool):
    await on_all(
        dut,
        f"lasts {stream} {early}",
        lambda bench: tile_scenarios.wrong_lasts(bench, stream, early=early),
    )
