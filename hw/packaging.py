"""What goes with a tile's Verilog for the tools of an RTL flow: file list, core file, constraints, README."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from hw.registers import VERSION
from hw.tile import Tile
from hw.tile_manifest import tile_ports

__all__ = ["IO_SHARE", "core_text", "file_list", "readme_text", "sdc_text"]

IO_SHARE = Fraction(3, 10)  #: Of the clock period, taken by what is in front of an input or behind an output.

_CLOCK = "aclk"


def file_list(name: str) -> str:
    """The text of NAME.f: sources, relative to the folder that they are in."""
    return f"{name}.v\n"


def core_name(name: str) -> str:
    """Vendor, library, name, version, as FuseSoC calls the core."""
    return f"fmaq::{name}:{VERSION}"


def core_text(name: str) -> str:
    """The text of NAME.core: FuseSoC, CAPI2."""
    return f"""\
CAPI=2:

name: "{core_name(name)}"
description: Matrix multiplier with narrow accumulators, AXI4-Stream and AXI4-Lite

filesets:
  rtl:
    files: [{name}.v]
    file_type: verilogSource
  lint:
    files: [{name}.vlt]
    file_type: vlt
  testbench:
    files: [{name}_tb.v]
    file_type: verilogSource
  constraints:
    files: [{name}.sdc]
    file_type: SDC
  software:
    files:
      - {name}_registers.h: {{is_include_file: true}}
    file_type: user

targets:
  default: &default
    filesets: [rtl]
    toplevel: {name}
  lint:
    <<: *default
    description: verilator -Wall with explained waivers
    filesets: [lint, rtl]
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall]
  sim:
    description: self-checking testbench
    filesets: [rtl, testbench]
    toplevel: {name}_tb
    flow: sim
    flow_options:
      tool: icarus
      iverilog_options: [-g2005]
  constrained:
    <<: *default
    description: sources with timing constraints, for a flow that depends on this core
    filesets: [rtl, constraints]
"""


def sdc_text(tile: Tile, period_ns: Fraction) -> str:
    """The text of NAME.sdc. Every path is timed: there is one clock, and the reset is synchronous."""
    ports = [port for port in tile_ports(tile) if port["name"] != _CLOCK]
    delay, percent = _ns(period_ns * IO_SHARE), int(100 * IO_SHARE)

    def names(direction: str) -> str:
        chosen = (port for port in ports if port["direction"] == direction)
        return " ".join(port["name"] + ("[*]" if port["width"] > 1 else "") for port in chosen)

    return f"""\
# Timing of {tile.config.name}. Times are in ns.
# One clock. Outside, {percent} % of the period are spent before an input and after an output; put in what
# your system needs. Every AXI output is a register, and so is irq. aresetn is synchronous: let it go
# with the clock. There is no false path and no multicycle path.
create_clock -name {_CLOCK} -period {_ns(period_ns)} [get_ports {{{_CLOCK}}}]
set_input_delay {delay} -clock {_CLOCK} [get_ports {{{names("in")}}}]
set_output_delay {delay} -clock {_CLOCK} [get_ports {{{names("out")}}}]
"""


def _ns(time: Fraction) -> str:
    return f"{float(time):.3f}"


def readme_text(tile: Tile, period_ns: Fraction) -> str:
    """The text of NAME_README.md: what the folder holds, and the commands for it."""
    name, config = tile.config.name, tile.config
    output = "none: codes of the outer accumulator leave" if config.output is None else config.output.name
    template = Path(__file__).with_name("tile_readme.md").read_text()
    return template.format(
        name=name,
        core=core_name(name),
        array=config.array.name,
        rows=config.array.rows,
        cols=config.array.cols,
        depth=config.array.depth,
        x=config.array.silicon.config.x.name,
        w=config.array.silicon.config.w.name,
        outer=config.outer.name,
        output=output,
        period=_ns(period_ns),
    )
