"""Inside the simulator: arrays with one line changed must differ from golden, and the others must not."""

from __future__ import annotations

from random import Random

import cocotb

from tb.array_jobs import random_job
from tb.array_tests import LANES, PARAMETERS, Lane, reset, run, start


@cocotb.test()
async def every_mutant_is_caught(dut):
    """By stalls or by a reset in mid-stream."""
    rng = Random(PARAMETERS["seed"])
    mutants = PARAMETERS["mutants"]
    caught: dict[str, str] = {}
    await start(dut)
    for cycles in (None, 20, 31, 45, 60, None):
        if cycles is not None:
            await run(dut, lanes_with_jobs(rng), cycles)
            await reset(dut)
        lanes = lanes_with_jobs(rng)
        await run(dut, lanes)
        found = {lane.name: text for lane in lanes if (text := lane.difference()) is not None}
        wrong = [text for name, text in found.items() if name not in mutants]
        assert not wrong, "\n".join(wrong)
        caught |= found
    survivors = [name for name in mutants if name not in caught]
    assert not survivors, f"no job tells these from the original: {survivors}"
    for name in mutants:
        cocotb.log.info("%s: %s", name, caught[name])


def lanes_with_jobs(rng: Random) -> list[Lane]:
    """Every array with jobs of its own."""
    return [
        Lane(name, [random_job(shape, rng) for _ in range(PARAMETERS["jobs"])], (0.2, 0.3), rng)
        for name, shape in LANES.items()
    ]
