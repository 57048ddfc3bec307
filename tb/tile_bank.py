"""Many tiles in one top level of plain Verilog, each with its ports prefixed and all its buses watched.

One build then serves many cases. The watching is Verilog too: it sees every cycle, and costs the testbench
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from amaranth import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.verilog import verilog_text

__all__ = ["CHANNELS", "OPERANDS", "RESULTS", "bank_text"]

OPERANDS = ("s_axis_weights", "s_axis_activations")
RESULTS = "m_axis_results"

#: Every channel: prefix of its signals, and those that must not change while they wait.
CHANNELS = {
    "aw": ("s_axi_aw", ("prot", "addr")),
    "w": ("s_axi_w", ("strb", "data")),
    "b": ("s_axi_b", ("resp",)),
    "ar": ("s_axi_ar", ("prot", "addr")),
    "r": ("s_axi_r", ("resp", "data")),
    "weights": (f"{OPERANDS[0]}_t", ("last", "keep", "data")),
    "activations": (f"{OPERANDS[1]}_t", ("last", "keep", "data")),
    "results": (f"{RESULTS}_t", ("last", "keep", "data")),
}

#: A beat that waits must stay as it is; none may be offered in reset, once the clock has run in it.
_WATCH = """
module {name}_watch #(parameter WIDTH = 1) (
  input clk, input resetn, input valid, input ready, input [WIDTH-1:0] payload,
  output reg violated, output reg [31:0] beats, output reg [WIDTH-1:0] taken
);
  reg waiting, was_reset;
  reg [WIDTH-1:0] offered;
  initial begin
    violated = 0;
    beats = 0;
    waiting = 0;
    was_reset = 0;
  end
  always @(posedge clk) begin
    was_reset <= !resetn;
    waiting <= resetn & valid & !ready;
    offered <= payload;
    if (resetn & waiting & (!valid | payload != offered)) violated <= 1;
    if (!resetn & was_reset & valid) violated <= 1;
    if (resetn & valid & ready) begin
      beats <= beats + 1;
      taken <= payload;
    end
  end
endmodule
"""


def bank_text(tiles: Mapping[str, wiring.Component], name: str) -> str:
    """Verilog of module ``name`` with all the tiles.

    They share ``aclk``. Of each, ``PREFIX_aresetn`` resets the tile, ``PREFIX_senders_resetn`` (low, too)
    says that what sends operands is reset, which may then withdraw its beats. For each channel,
    ``PREFIX_CHANNEL_violated`` stays high after a breach of the protocol, ``PREFIX_CHANNEL_beats`` counts the
    beats and ``PREFIX_CHANNEL_taken`` is the last one, in the order of :data:`CHANNELS`.
    """
    ports, body, modules = ["input aclk"], [], [_WATCH.format(name=name)]
    for prefix, tile in tiles.items():
        module = f"{name}_{prefix}"
        modules.append(verilog_text(tile, module))
        members = {str(path[0]): member for path, member, _ in tile.signature.flatten(tile)}
        widths = {port: Shape.cast(member.shape).width for port, member in members.items()}
        ports.append(f"input {prefix}_senders_resetn")
        for port, member in members.items():
            if port != "aclk":
                direction = "input" if member.flow == In else "output"
                ports.append(f"{direction} [{widths[port] - 1}:0] {prefix}_{port}")
        connections = [f".{port}({'' if port == 'aclk' else prefix + '_'}{port})" for port in members]
        body.append(f"  {module} {prefix} ({', '.join(connections)});")
        watch = partial(_watch, name, prefix, widths)
        for channel in CHANNELS:
            width, text = watch(channel)
            body.append(text)
            ports += [
                f"output {prefix}_{channel}_violated",
                f"output [31:0] {prefix}_{channel}_beats",
                f"output [{width - 1}:0] {prefix}_{channel}_taken",
            ]
    top = f"module {name} (\n  " + ",\n  ".join(ports) + "\n);\n" + "\n".join(body) + "\nendmodule\n"
    return "\n".join([*modules, top])


def _watch(name: str, prefix: str, widths: Mapping[str, int], channel: str) -> tuple[int, str]:
    """The width of a channel's payload, and the instance that watches it."""
    signals, payload = CHANNELS[channel]
    fields = [f"{signals}{field}" for field in payload]
    width = sum(widths[field] for field in fields)
    reset = f"{prefix}_aresetn" + (f" & {prefix}_senders_resetn" if signals.startswith(OPERANDS) else "")
    joined = ", ".join(f"{prefix}_{field}" for field in fields)
    at = f"{prefix}_{channel}"
    return width, (
        f"  {name}_watch #({width}) {at}_watch (aclk, {reset}, {prefix}_{signals}valid, "
        f"{prefix}_{signals}ready, {{{joined}}}, {at}_violated, {at}_beats, {at}_taken);"
    )
