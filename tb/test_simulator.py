"""The test bench's own promises: a failure is reported, no test at all is one, builds are kept."""

from __future__ import annotations

import pytest

from tb import simulator

VERILOG = "module tiny(input clk, output q);\n  assign q = 1'b1;\nendmodule\n"


@pytest.fixture(scope="module")
def tiny():
    return simulator.build(VERILOG, "tiny", waves=None)


def test_failure_is_reported(tiny, tmp_path):
    with pytest.raises(simulator.SimulationError, match="one bit is never two"):
        simulator.run(tiny, "tiny", "tb.tiny_tests", {}, tmp_path / "run", waves=None)


def test_no_test_is_a_failure(tiny, tmp_path):
    with pytest.raises(simulator.SimulationError, match="ran no test"):
        simulator.run(tiny, "tiny", "tb.streams", {}, tmp_path / "run", waves=None)


def test_builds_are_kept_by_content(tiny):
    binary = tiny / "tiny"
    built_at = binary.stat().st_mtime_ns
    assert simulator.build(VERILOG, "tiny", waves=None) == tiny
    assert binary.stat().st_mtime_ns == built_at


def test_verilog_that_does_not_compile_is_reported():
    with pytest.raises(simulator.SimulationError, match="building broken failed"):
        simulator.build("module broken(input clk) nonsense", "broken", waves=None)
