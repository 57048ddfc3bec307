"""Testbenches of tiles, many in one simulation: under Icarus Verilog if it is there, else Verilator."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from golden.tile import TileConfig
from hw.tile import Tile
from hw.tile_program import Program
from hw.tile_selfcheck import tile_testbench_text
from hw.verilog import verilog_text
from tb import simulator

__all__ = ["run_programs", "simulate"]

#: Ends the simulation when every testbench has.
_TOP = """
module {name};
{instances}
  initial begin
    wait ({all_done});
    $finish;
  end
endmodule
"""


def run_programs(programs: dict[str, Program], name: str) -> dict[str, str]:
    """Run each program on its tile and give what its testbench printed."""
    tiles: dict[TileConfig, str] = {}
    modules, texts = {}, []
    for i, (case, program) in enumerate(programs.items()):
        if program.config not in tiles:
            tiles[program.config] = f"{name}_dut_{len(tiles)}"
            texts.append(verilog_text(Tile(program.config), tiles[program.config]))
        modules[case] = module = f"{name}_{i}"
        testbench = tile_testbench_text(module, program)
        testbench = testbench.replace(f"  {module} dut (", f"  {tiles[program.config]} dut (", 1)
        # Each stops its clock when it ends, and the last one ends the simulation.
        testbench = testbench.replace("aclk = !aclk;", "if (!ended) aclk = !aclk;", 1)
        texts.append(re.sub(r"\$(finish|stop);", ";", testbench))
    top = _TOP.format(
        name=name,
        instances="\n".join(f"  {module}_tb tb_{i}();" for i, module in enumerate(modules.values())),
        all_done=" & ".join(f"tb_{i}.ended" for i in range(len(modules))),
    )
    printed = simulate("\n".join([*texts, top]), name)
    return {
        case: "\n".join(line for line in printed.splitlines() if re.search(rf"\b{module}\b", line))
        for case, module in modules.items()
    }


def simulate(verilog: str, name: str) -> str:
    """What module ``name`` prints until it ends."""
    if shutil.which("iverilog") is None:
        binary = simulator.build_program(verilog, name)
        command = [str(binary), "+verilator+rand+reset+2"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, f"{name}.v"), Path(folder, f"{name}.vvp")
        source.write_text(verilog)
        subprocess.run(["iverilog", "-g2005", "-s", name, "-o", program, source], check=True)
        return subprocess.run(["vvp", "-N", program], capture_output=True, text=True, check=True).stdout
