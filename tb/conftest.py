"""pytest options and the fixture that runs a testbench."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from amaranth.lib import wiring

from hw.verilog import verilog_text
from tb import simulator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--waves",
        nargs="?",
        const="vcd",
        choices=tuple(simulator.WAVES),
        help="record waveforms under build/tb/runs: vcd unless said otherwise; fst needs liblz4-dev",
    )


@pytest.fixture
def simulate(request: pytest.FixtureRequest) -> Callable[[wiring.Component, str, str, dict], None]:
    """``simulate(component, name, module, parameters)``: run cocotb tests of ``module`` on the Verilog."""
    waves = request.config.getoption("waves", default=None)

    def simulate(component: wiring.Component, name: str, module: str, parameters: dict) -> None:
        folder = simulator.build(verilog_text(component, name), name, waves=waves)
        run_dir = simulator.run_folder(request.node.nodeid)
        simulator.run(folder, name, module, parameters, run_dir, waves=waves)

    return simulate
