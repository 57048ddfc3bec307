"""pytest options and the fixture that runs a testbench."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count

import pytest
from amaranth.lib import wiring

from hw.verilog import verilog_text
from tb import simulator
from tb.kept_verilog import kept_verilog
from tb.waves import AGAIN, explain

#: A component, or what makes the Verilog.
Design = wiring.Component | Callable[[], str]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--waves",
        nargs="?",
        const="vcd",
        choices=tuple(simulator.WAVES),
        help="record all waveforms under build/tb/runs: vcd unless said otherwise; fst needs liblz4-dev",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A component whose Verilog was kept is made to be described, and never becomes gates.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")


@pytest.fixture
def simulate(request: pytest.FixtureRequest) -> Callable[[Design, str, str, dict], None]:
    """``simulate(design, name, module, parameters)``: run cocotb tests of ``module`` on the design.

    Its top level is called ``name``. What it is may depend on the test, on ``parameters`` and on how often
    the test has simulated before, and on nothing else: its Verilog and its build are kept.
    What fails is run again with waves around the first wrong result, and the failure says where they are.
    """
    waves = request.config.getoption("waves", default=None)
    calls = count()

    def simulate(design: Design, name: str, module: str, parameters: dict) -> None:
        def make() -> str:
            return verilog_text(design, name) if isinstance(design, wiring.Component) else design()

        about = (request.node.nodeid, str(next(calls)), json.dumps(parameters))
        verilog = kept_verilog(make, name, *about)
        folder = simulator.build(verilog, name, waves=waves)
        run_dir = simulator.run_folder(request.node.nodeid)
        try:
            simulator.run(folder, name, module, parameters, run_dir, waves=waves)
        except simulator.SimulationError as error:
            if not error.failures:
                raise
            again = explain(error, verilog, name, module, parameters, run_dir / AGAIN, waves or "vcd")
            raise simulator.SimulationError(f"{error}\n{again}", error.failures) from None

    return simulate
