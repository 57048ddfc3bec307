"""The description that goes with generated Verilog: what it is, how to connect it, what to load."""

from __future__ import annotations

import importlib.metadata
from dataclasses import fields, is_dataclass
from enum import Enum

from amaranth.hdl import Shape, Value
from amaranth.lib import data
from amaranth.lib.wiring import In

from golden.config import MacConfig
from golden.datapath import offset_ranges
from golden.random_words import Stage
from hw.array import SystolicArray
from hw.selfcheck import offset_words

__all__ = ["manifest", "offset_loads", "plain", "tool_versions"]

#: The tools whose version decides the bytes of the Verilog.
_TOOLS = ("amaranth", "pyosys")

_STREAMS = {
    "job": "one tile of a matrix product, a[m_rows, K] @ b[K, cols]",
    "weights": "one row of b, padded with zero codes; row 0 of a pass first",
    "activations": "the part of one row of a that belongs to this pass, padded with zero codes",
    "results": "one row of the product",
}

_FIELDS = {
    "k": "length of the dot products, at least 1; a job takes K / rows passes, rounded up",
    "m_rows": "rows of a, 1 to depth",
    "product_offset": "bias of activations plus bias of weights, minus that of the product quantizer "
    "(without one: of the accumulator); a fixed-point format counts as bias -lsb",
    "acc_offset": "bias of the product quantizer minus that of the accumulator",
    "outer_offset": "bias of the accumulator minus that of the outer accumulator",
    "codes": "codes of the outer accumulator, column 0 in the lowest bits",
    "last": "this is the last row of the job",
    "overflow": "for each column: some rounding on the way to its sum overflowed",
    "underflow": "for each column: some rounding on the way to its sum gave zero for what was not",
    "m_base": "number of the job's first row in the whole product",
    "n_base": "number of the array's column 0 in the whole product",
} | {
    f"{stage.name.lower()}_{side}_key": f"golden.random_words.key(seed, call, {stage.name}, {i})"
    for stage in Stage
    for i, side in enumerate(("row", "column"))
}

_CODES = {
    "weights": "codes, column 0 in the lowest bits",
    "activations": "codes, row 0 in the lowest bits",
}

_SIGNALS = {
    "payload": "",
    "valid": "payload is there; it stays until ready",
    "ready": "payload is taken at this edge if valid",
}


def manifest(array: SystolicArray, mac: MacConfig, sha256: dict[str, str]) -> dict:
    """The content of NAME.json.

    Parameters
    ----------
    array : SystolicArray
        What was generated.
    mac : MacConfig
        The configuration with its biases.
    sha256 : dict
        Digest of each file that was generated.
    """
    config = array.config
    return {
        "name": config.name,
        "mac": plain(mac),
        "silicon": {
            "name": config.silicon.name,
            "mac_name": config.silicon.mac_name,
            "hardwired_offsets": config.silicon.hardwired,
        },
        "array": {
            "rows": config.rows,
            "cols": config.cols,
            "stages": config.stages,
            "depth": config.depth,
            "events": config.events,
            "passes_per_chunk": config.passes,
        },
        "ports": _ports(array),
        "latency": {
            "unit": "cycles without stalls",
            "mac": array.timing.acc_latency,
            "array": array.timing.latency,
            "weight_wait": array.timing.weight_wait,
            "sum_wait": array.timing.sum_wait,
        },
        "offsets": offset_loads(array, mac),
        "sha256": sha256,
        "versions": tool_versions(),
    }


def tool_versions() -> dict[str, str]:
    """Of the tools that decide the bytes of the Verilog."""
    return {tool: importlib.metadata.version(tool) for tool in _TOOLS}


def plain(part):
    """A configuration as JSON: its fields, and its name where it has one."""
    if isinstance(part, Enum):
        return part.value
    if not is_dataclass(part):
        return part
    named = {"name": part.name} if hasattr(part, "name") else {}
    return named | {field.name: plain(getattr(part, field.name)) for field in fields(part)}


def _ports(array: SystolicArray) -> list[dict]:
    ports = [
        {"name": "clk", "direction": "in", "width": 1, "meaning": "clock, rising edge"},
        {"name": "rst", "direction": "in", "width": 1, "meaning": "synchronous reset, active high"},
    ]
    for (stream, signal), member, port in array.signature.flatten(array):
        entry = {
            "name": f"{stream}__{signal}",
            "direction": "in" if member.flow == In else "out",
            "width": len(Value.cast(port)),
            "meaning": _SIGNALS[signal] or _STREAMS[stream],
        }
        if signal == "payload":
            entry["fields"] = _fields(port.shape(), stream)
        ports.append(entry)
    return ports


def _fields(layout: data.Layout, stream: str) -> list[dict]:
    """Where the parts of a payload lie."""
    if isinstance(layout, data.ArrayLayout):
        return [_field("codes", _CODES[stream], 0, layout)]
    return [_field(name, _FIELDS[name], field.offset, field.shape) for name, field in layout]


def _field(name: str, meaning: str, offset: int, shape) -> dict:
    if isinstance(shape, data.ArrayLayout):
        width = Shape.cast(shape.elem_shape).width
        return {"name": name, "lsb": offset, "width": width, "count": shape.length, "meaning": meaning}
    shape = Shape.cast(shape)
    return {"name": name, "lsb": offset, "width": shape.width, "signed": shape.signed, "meaning": meaning}


def offset_loads(array: SystolicArray, mac: MacConfig) -> dict[str, dict]:
    """What each offset register is loaded with for the biases of ``mac``, and what it could be."""
    ranges = offset_ranges(array.config.silicon.config)
    registers = {}
    for name, word in offset_words(array, mac).items():
        bounds = getattr(ranges, name.removesuffix("_offset"))
        registers[name] = {"load": word, "bits": bounds.width, "low": bounds.low, "high": bounds.high}
    return registers
