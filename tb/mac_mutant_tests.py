"""Inside the simulator: MACs with one line changed must differ from golden, and the others must not."""

from __future__ import annotations

import cocotb

from tb.mac_tests import PARAMETERS, differences


@cocotb.test()
async def every_mutant_is_caught(dut):
    found = await differences(dut)
    mutants = PARAMETERS["mutants"]
    wrong = [text for name, text in found.items() if text and name not in mutants]
    assert not wrong, "\n".join(wrong)
    survivors = [name for name in mutants if found[name] is None]
    assert not survivors, f"no vector tells these from the original: {survivors}"
    for name in mutants:
        cocotb.log.info("%s: %s", name, found[name])
