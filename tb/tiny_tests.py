"""Inside the simulator: a test that fails, to see that failing is reported."""

from __future__ import annotations

import cocotb


@cocotb.test()
async def fails_on_purpose(dut):
    assert int(dut.q.value) == 2, "one bit is never two"
