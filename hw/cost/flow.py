"""Yosys and ABC runs that map Verilog to cells for least area; :mod:`hw.cost.speed` has those for a clock.

Everything is deterministic: each run is a process of its own, since Yosys numbers names by what its
process did before (it also prints to file descriptor 1, and ends its process on an error).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hw.cost.cells import Library

__all__ = [
    "AREA_REWRITING",
    "FLOW_VERSION",
    "LOAD_FF",
    "RECIPES",
    "SynthesisError",
    "area_script",
    "cell_counts",
    "flat_netlists",
    "instances",
    "liberty_options",
    "map_to_cells",
    "module_counts",
    "read_design",
    "run_yosys",
    "sources",
    "to_gates",
]

#: Part of every cache key: raise it with any change of what is done below.
FLOW_VERSION = 2

#: A clock that no unit here misses: where there is timing, gates are sized for loads, not for speed.
_RELAXED_PS = 100_000
LOAD_FF = 5.0  #: On every output, in fF.

_RESUB = (
    "dc2; balance -l; resub -K 6 -l; rewrite -l; resub -K 6 -N 2 -l; refactor -l; resub -K 8 -l; balance -l; "
    "resub -K 8 -N 2 -l; rewrite -l; resub -K 10 -l; rewrite -z -l; resub -K 10 -N 2 -l; balance -l; "
    "resub -K 12 -l; refactor -z -l; resub -K 12 -N 2 -l; rewrite -z -l; balance -l"
)
#: Few gates, however deep.
AREA_REWRITING = f"strash; &get -n; &fraig -x; &put; scorr; {_RESUB}; {_RESUB}; dc2"
_AREA_MAPPING = f"{AREA_REWRITING}; dc2; dch -f; amap; topo"
_SIZING = f"; buffer -c -N 10; topo; upsize -c -D {_RELAXED_PS}; dnsize -c -D {_RELAXED_PS}"

#: How Yosys builds multipliers -> its option. Both are tried.
RECIPES = {"array": "", "booth": "-booth"}

_YOSYS = """
import os
os.dup2(os.open("yosys.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
from pyosys import libyosys
design = libyosys.Design()
for command in open("commands").read().splitlines():
    design.run_pass(command)
"""


class SynthesisError(RuntimeError):
    """Yosys or ABC could not map a design. The message is the end of their log."""


_INSTANCE = re.compile(r"^  (\\?\S+) (\\?\S+)  ?\($", re.MULTILINE)  # two blanks after an escaped name
_MODULE = re.compile(r"^module (\w+)\(.*?^endmodule$", re.MULTILINE | re.DOTALL)


def instances(verilog: str) -> dict[str, list[tuple[str, str]]]:
    """What each module of Yosys' Verilog instantiates: (kind, name of the instance), in order."""
    return {match[1]: _INSTANCE.findall(match[0]) for match in _MODULE.finditer(verilog)}


def cell_counts(netlist: str) -> Counter[str]:
    """How many instances of each kind there are in a netlist of one module."""
    return Counter(kind for kind, _ in _INSTANCE.findall(netlist))


def run_yosys(commands: Sequence[str], files: Mapping[str, str], outputs: Sequence[str]) -> list[str]:
    """Run Yosys passes in a folder that holds ``files``; the texts of the files written there.

    ``yosys.log`` is one that is always written.

    Raises :class:`SynthesisError` if Yosys stops.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {**files, "commands": "\n".join(commands)}.items():
            Path(folder, name).write_text(text)
        yosys = subprocess.run(
            [sys.executable, "-c", _YOSYS],
            cwd=folder,
            env={**os.environ, "TMPDIR": folder},  # it keeps a digest of every Liberty file there, for good
            capture_output=True,
            text=True,
            check=False,
        )
        if yosys.returncode or not all(Path(folder, name).is_file() for name in outputs):
            log = Path(folder, "yosys.log")
            tail = log.read_text(errors="replace").splitlines()[-5:] if log.is_file() else []
            raise SynthesisError("synthesis failed: " + "\n".join([yosys.stderr.strip(), *tail]))
        return [Path(folder, name).read_text() for name in outputs]


def sources(verilog: str, library: Library) -> dict[str, str]:
    """Files that every run of Yosys here starts from: ``design.v``, ``constraint``, and the library's."""
    constraint = f"set_driving_cell {library.inverter.name}\nset_load {LOAD_FF}\n"
    return {"design.v": verilog, "constraint": constraint} | dict(
        zip(_library_files(library), library.texts, strict=True)
    )


def _library_files(library: Library) -> list[str]:
    return [f"library{i}.lib" for i in range(len(library.texts))]


def liberty_options(library: Library, *, registers: bool = False) -> str:
    """Options of the passes that map: files, and cells of theirs that logic must not use."""
    files = [f"-liberty {file}" for file in _library_files(library)]
    return " ".join(files + [f"-dont_use {cell}" for cell in library.unused if not registers])


def read_design(top: str) -> list[str]:
    """Passes that read ``design.v``."""
    return [
        "read_verilog design.v",
        f"hierarchy -check -top {top}",
        "proc",
        "setattr -unset init",  # a flip-flop wakes up in any state; only reset is worth gates
    ]


def to_gates(top: str, library: Library, options: str) -> list[str]:
    """Down to gates, with flip-flops of the library."""
    return [
        f"synth -flatten {options} -top {top}",
        f"dfflibmap {liberty_options(library, registers=True)}",
        "opt_clean -purge",
    ]


def area_script(library: Library) -> str:
    """What ABC does for least area."""
    return _AREA_MAPPING + (_SIZING if library.has_timing else "")


def map_to_cells(library: Library, script: str, output: str) -> list[str]:
    """From gates to cells by a script of ABC's, with "; " between its commands; written as ``output``."""
    constraint = " -constr constraint" if library.has_timing else ""
    commands = script.replace("; ", ";").replace(" ", ",")
    return [
        f"abc {liberty_options(library)}{constraint} -script +{commands}",
        "opt_clean -purge",
        f"write_verilog -noattr -noexpr {output}",
    ]


def flat_netlists(verilog: str, top: str, library: Library) -> dict[str, str]:
    """Netlists of ``top`` with everything in it flattened, by recipe."""
    commands = [*read_design(top), "design -save read"]
    for recipe, option in RECIPES.items():
        commands += [
            "design -load read",
            *to_gates(top, library, option),
            *map_to_cells(library, area_script(library), f"{recipe}.v"),
        ]
    texts = run_yosys(commands, sources(verilog, library), [f"{recipe}.v" for recipe in RECIPES])
    return dict(zip(RECIPES, texts, strict=True))


def module_counts(
    verilog: str,
    top: str,
    library: Library,
    recipe: str,
    *,
    kept: Sequence[str],
    left_out: Sequence[str],
    memories: Sequence[tuple[str, str]],
) -> dict[str, Counter[str]]:
    """Cells of ``top`` and of modules inside it, each mapped apart from what contains it.

    Parameters
    ----------
    kept : Sequence[str]
        Modules that stay; all others are flattened into what instantiates them.
    left_out : Sequence[str]
        Modules whose inside is not mapped.
    memories : Sequence[tuple[str, str]]
        (module, memory): each becomes a module ``module_memory``, which is kept. It is made of
        flip-flops and multiplexers.

    Returns
    -------
    dict[str, Counter[str]]
        For each module that stays, instances by kind: cells, and modules kept or left out.
    """
    commands = [*read_design(top), *(f"blackbox {module}" for module in left_out)]
    if memories:
        commands.append("memory -nomap")
    commands += [f"submod -name {module}_{memory} {module}/{memory}" for module, memory in memories]
    stay = [*kept, *(f"{module}_{memory}" for module, memory in memories)]
    commands += [f"setattr -mod -set keep_hierarchy 1 {module}" for module in stay]
    # Yosys would run ABC once for every word of a memory, for a minute, ahead of the run that counts.
    options = RECIPES[recipe] + (" -noabc" if memories else "")
    commands += [*to_gates(top, library, options), *map_to_cells(library, area_script(library), "parts.v")]
    (netlist,) = run_yosys(commands, sources(verilog, library), ["parts.v"])
    return {
        module: Counter(kind for kind, _ in found)
        for module, found in instances(netlist).items()
        if module not in left_out
    }
