"""A flat netlist whose cells still say which part of the design they are of.

In the netlist that counts, logic of several parts is shared, and its cells belong to nobody. Here every part
is mapped with its borders kept, and flattened afterwards: a second netlist, a little larger and slower than
the first, which tells how delay and energy divide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from hw.cost.abc_timing import abc_delay, last_delay_ps
from hw.cost.cells import Library
from hw.cost.flow import (
    RECIPES,
    area_script,
    instances,
    liberty_options,
    read_design,
    run_yosys,
    sources,
    to_gates,
)
from hw.cost.opensta import opensta, slowest_through

__all__ = ["GLUE", "REGISTERS", "parted_netlist"]

GLUE = "glue"  #: Cells outside of all parts.
REGISTERS = "registers"  #: Flip-flops outside of all parts.

#: Cheaper than what maps the whole, in which parts find what they share.
_FAST = (
    "strash; &get -n; &fraig -x; &put; scorr; dc2; dc2; if -g -K 6; strash; dc2; dch -f; "
    "map -B 0.9 -D {map_ps}; topo; buffer -c -N 10; topo; upsize -c -D {ps}; dnsize -c -D {ps}; stime -p"
)
_QUICK = (
    "strash; &get -n; &fraig -x; &put; scorr; dc2; dc2; dch -f; amap; topo; buffer -c -N 10; topo; "
    "upsize -c -D 100000; dnsize -c -D 100000; stime -p"
)
_MAP_SLACK = 1.8  # see hw.cost.speed.candidates
_MARK = "PART "


def parted_netlist(verilog: str, top: str, library: Library, recipe: str, delay_ps: float | None) -> str:
    """Verilog of ``top``, flat, with cells named ``PART.number`` after the submodule that they are from.

    Parameters
    ----------
    recipe : str
        One of :data:`hw.cost.flow.RECIPES`: how multipliers are built.
    delay_ps : float or None
        About what the netlist's delay is to be: parts on slower paths get faster in proportion, all others
        are mapped for least area. None: all are.

    Raises :class:`hw.cost.flow.SynthesisError` if it cannot be mapped.
    """
    modules = instances(verilog)
    names = {kind: name for kind, name in modules[top] if kind in modules}
    run = partial(_mapped, verilog, top, library, recipe, sorted(names))
    small = dict.fromkeys([*sorted(names), top], area_script(library))
    if delay_ps is None or not library.has_timing:
        return run(small)[0]
    netlist, log = run(dict.fromkeys(small, _QUICK))
    slowest = _slowest(netlist, top, library, {**names, top: GLUE})
    scripts = {}
    for module, text in re.findall(rf"^{_MARK}(\w+)$(.*?)(?=^{_MARK}|\Z)", log, re.MULTILINE | re.DOTALL):
        share = delay_ps / slowest.get(module, delay_ps)
        if share < 1 and "Delay =" in text:  # a part of wires has none
            ps = round(share * last_delay_ps(text))
            scripts[module] = _FAST.format(ps=ps, map_ps=round(_MAP_SLACK * ps))
    return run(small | scripts)[0]


def _slowest(netlist: str, top: str, library: Library, names: Mapping[str, str]) -> dict[str, float]:
    """The delay of the slowest path through each module, by the timer; without OpenSTA of any path."""
    if opensta() is None:
        return dict.fromkeys(names, abc_delay(netlist, library))
    found = slowest_through(netlist, top, library, list(names.values()))
    return {module: found[name] for module, name in names.items() if name in found}


def _mapped(
    verilog: str, top: str, library: Library, recipe: str, parts: Sequence[str], scripts: Mapping[str, str]
) -> tuple[str, str]:
    """The netlist and the log. ``scripts``: of each part and of ``top``."""
    constraint = " -constr constraint" if library.has_timing else ""
    commands = [*read_design(top), *(f"setattr -mod -set keep_hierarchy 1 {part}" for part in parts)]
    commands += to_gates(top, library, RECIPES[recipe])
    for module, script in scripts.items():
        script = script.replace("; ", ";").replace(" ", ",")
        commands += [
            f"log {_MARK}{module}",
            f"abc {liberty_options(library)}{constraint} -script +{script} {module}",
        ]
    registers = [cell.name for cell in library.cells.values() if cell.flip_flop is not None]
    commands += [
        f"log {_MARK}",
        *(f"rename -enumerate -pattern {REGISTERS}._%_ {top}/t:{cell}" for cell in registers),
        f"rename -enumerate -pattern {GLUE}._%_ {top}",
        *(f"rename -enumerate -pattern _%_ {part}" for part in parts),
        *(f"setattr -mod -unset keep_hierarchy {part}" for part in parts),
        "flatten",
        "opt_clean -purge",
        "write_verilog -noattr -noexpr parted.v",
    ]
    netlist, log = run_yosys(commands, sources(verilog, library), ["parted.v", "yosys.log"])
    return netlist, log
