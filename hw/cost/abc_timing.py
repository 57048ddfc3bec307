"""ABC's own delay of a mapped netlist, for where OpenSTA is missing.

ABC knows no flip-flop: what it times is the logic between them, from their outputs to their inputs, driven by
the library's smallest inverter. Clock-to-output and set-up are not in its figure.
"""

from __future__ import annotations

import re

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.flow import SynthesisError, liberty_options, run_yosys, sources
from hw.cost.netlist import ONE, ZERO, FlatNetlist, parse_netlist

__all__ = ["abc_delay", "last_delay_ps"]

_DELAY = re.compile(r"Delay =\s*([\d.]+) ps")
#: What the pass that calls ABC is given to map, since it takes no netlist of cells.
_DECOY = "module decoy(input a, input b, output y); assign y = a & b; endmodule"
#: Times the netlist, and goes back to the decoy, for the pass takes no other answer.
_SCRIPT = "strash;&get,-n;read_blif,netlist.blif;topo;stime,-p;&put;amap"


def last_delay_ps(log: str) -> float:
    """The delay that ABC's ``stime`` reported last. Raises :class:`SynthesisError` where it did not."""
    found = _DELAY.findall(log)
    if not found:
        raise SynthesisError(f"ABC reports no delay: {log[-500:]}")
    return float(found[-1])


def abc_delay(netlist: str, library: Library) -> float:
    """ABC's delay of the logic between flip-flops of a flat netlist, in ps.

    Raises :class:`ConfigError` if the library has no timing.
    """
    if not library.has_timing:
        raise ConfigError(f"{library.name} has no timing; name a technology that has, such as sky130hd")
    commands = [
        "read_verilog design.v",
        "synth -top decoy",
        f"abc {liberty_options(library)} -constr constraint -script +{_SCRIPT}",
    ]
    files = sources(_DECOY, library) | {"netlist.blif": _blif(parse_netlist(netlist, library), library)}
    return last_delay_ps(run_yosys(commands, files, ["yosys.log"])[0])


def _blif(netlist: FlatNetlist, library: Library) -> str:
    """The netlist with its flip-flops cut out: their outputs become inputs, and their inputs outputs."""
    inputs = {bit for bits in netlist.inputs.values() for bit in bits}
    outputs = {bit for bits in netlist.outputs.values() for bit in bits}
    gates = []
    for instance in netlist.instances:
        cell = library.cells[instance.cell]
        driven = [pin for pin, _ in cell.outputs if pin in instance.pins]
        if cell.flip_flop is not None:
            inputs |= {instance.pins[pin] for pin in driven}
            outputs |= {instance.pins[pin] for pin in cell.inputs}
        elif len(driven) > 1:
            raise ConfigError(f"{instance.cell} has two outputs, which ABC does not time; install OpenSTA")
        else:
            pins = " ".join(f"{pin}={net}" for pin, net in instance.pins.items())
            gates.append(f".gate {instance.cell} {pins}")
    outputs -= inputs | {ZERO, ONE}  # wires from register to register have no gate on them
    text = "\n".join(
        [
            ".model netlist",
            ".inputs " + " ".join(sorted(inputs - {ZERO, ONE})),
            ".outputs " + " ".join(sorted(outputs)),
            *gates,
        ]
    )
    # ABC takes no constant that drives nothing.
    constants = [f"\n.names {net}{value}" for net, value in ((ZERO, ""), (ONE, "\n1")) if f"={net}" in text]
    return text + "".join(constants) + "\n.end\n"
