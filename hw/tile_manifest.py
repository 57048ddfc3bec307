"""The description that goes with a tile's Verilog: what it is, how to connect it, where codes lie."""

from __future__ import annotations

from amaranth.hdl import Value
from amaranth.lib.wiring import In

from golden.config import MacConfig
from golden.tile import DIMENSION_BITS, lane_bits
from hw.array import K_BITS
from hw.manifest import offset_loads, plain, tool_versions
from hw.output import output_latency
from hw.tile import Tile

__all__ = ["tile_manifest", "tile_offsets", "tile_ports"]

_PORTS = {
    "aclk": "clock, rising edge",
    "aresetn": "synchronous reset, active low",
    "irq": "interrupt, see the register INTERRUPT; a register",
}

_INTERFACES = {
    "s_axi": "AXI4-Lite: the registers",
    "s_axis_weights": "AXI4-Stream: weights, a row of a tile of N a beat",
    "s_axis_activations": "AXI4-Stream: activations, a row of a pass of K a beat",
    "m_axis_results": "AXI4-Stream: results, a row of a tile of N a beat",
}


def tile_ports(tile: Tile) -> list[dict]:
    """Name, direction, width and meaning of each port."""
    return [
        {
            "name": name,
            "direction": "in" if member.flow == In else "out",
            "width": len(Value.cast(port)),
            "meaning": _PORTS.get(name) or _INTERFACES[name.rpartition("_")[0]],
        }
        for (name,), member, port in tile.signature.flatten(tile)
    ]


def tile_offsets(tile: Tile, mac: MacConfig) -> dict[str, dict]:
    """What each offset register gets for the biases of ``mac``, and the range that makes a difference."""
    return {name.upper(): entry for name, entry in offset_loads(tile.array, mac).items()}


def tile_manifest(tile: Tile, mac: MacConfig, sha256: dict[str, str]) -> dict:
    """The content of NAME_tile.json.

    Parameters
    ----------
    tile : Tile
        What was generated.
    mac : MacConfig
        The configuration with its biases.
    sha256 : dict
        Digest of each file that was generated.
    """
    config, array = tile.config, tile.config.array
    formats = {"s_axis_weights": mac.w, "s_axis_activations": mac.x, "m_axis_results": config.result}
    return {
        "name": config.name,
        "array": array.name,
        "mac": mac.name,
        "output": None if config.output is None else plain(config.output),
        "limits": {"m": 2**DIMENSION_BITS - 1, "n": config.max_n, "k": 2**K_BITS - 1},
        "ports": tile_ports(tile),
        "streams": {
            stream: {
                "lanes": array.rows if stream == "s_axis_activations" else array.cols,
                "lane_bits": lane_bits(number),
                "format": number.name,
            }
            for stream, number in formats.items()
        },
        "offsets": tile_offsets(tile, mac),
        "latency": {
            "unit": "cycles without stalls",
            "array": tile.array.timing.latency,
            "output_stage": output_latency(config),
        },
        "sha256": sha256,
        "versions": tool_versions(),
    }
