"""Plain Verilog from an Amaranth component, byte for byte the same whenever and wherever it is made.

Amaranth writes RTLIL, Yosys (pyosys) turns that into Verilog. In between, modules that are equal but
for their instance are merged, and every name becomes a plain identifier, so that a 16x16 array reads
as one MAC that is instantiated 256 times. No attribute, no path and no version enters the text.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from amaranth.lib import wiring

from hw.library import ModuleLibrary

__all__ = ["lint_waivers", "verilog_text"]

#: Runs in an interpreter of its own: Yosys numbers and orders names by what its process did before,
#: prints to file descriptor 1, and ends the process on an error.
_YOSYS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    design.run_pass(command)
"""

_PASSES = (
    "read_rtlil design.il",
    "proc -norom",
    "memory_collect",
    "techmap -map +/pmux2mux.v",  # else Verilog functions, which linters and readers dislike
    "wreduce",  # else operators as wide as Amaranth makes them
    "opt_expr -fine",  # else comparisons whose outcome is known, which linters dislike too
    "opt_clean -purge",  # drops the aliases Amaranth makes at every boundary
    "write_verilog -noattr design.v",
)

#: What Verilator -Wall says of such text that is no fault of the design.
_WAIVERS = (
    ("WIDTHEXPAND", "operands of different widths: Verilog extends the narrower one, which is meant"),
    ("WIDTHTRUNC", "! of a word means == 0; of some sums the top bits are known not to be needed"),
    ("UNUSEDSIGNAL", "a part is handed a whole word or bus, of which it may need only some"),
    ("UNOPTFLAT", "words that depend on each other by bits that do not: there is no loop of gates"),
    ("PROCASSINIT", "a register states its power-up value, which is its reset value"),
    ("DECLFILENAME", "one file holds a design with all its parts"),
)

_MODULE = re.compile(r"(?:^attribute [^\n]*\n)*^module \\(\S+)\n.*?^end\n", re.MULTILINE | re.DOTALL)
#: All-zero contents, one line a word. An array writes a word before it reads it.
_ZERO_MEMORY = re.compile(
    r"^  cell \$meminit_v2 \S+\n(?:    [^\n]*\n)*?    connect \\DATA \d+'0+\n(?:    [^\n]*\n)*  end\n",
    re.MULTILINE,
)
_INSTANCE = re.compile(r"^  cell \\(\S+) \\(\S+)\n((?:    [^\n]*\n)*)  end\n", re.MULTILINE)
_CONNECT = re.compile(r"^    connect \\(\S+)")
_NAME = re.compile(r"\\([A-Za-z_$][\w$.\[\]]*)")


def verilog_text(component: wiring.Component, name: str) -> str:
    """Verilog of ``component`` as module ``name``, with its submodules, called ``name_...``, after it.

    Ports are those of the component's signature, joined with two underscores (``job__payload``), and
    ``clk`` and ``rst`` (synchronous, active high) if it has registers. The text is Verilog-2001. It
    passes ``verilator --lint-only -Wall`` with :func:`lint_waivers`.

    A memory that is initialized to zeros is left uninitialized, as RAM is.

    Raises ``RuntimeError`` with Yosys' message if Yosys refuses the design.
    """
    design = _ZERO_MEMORY.sub("", ModuleLibrary(name).convert(component))
    design = _shared_modules(design, name)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "design.il").write_text(design)
        yosys = subprocess.run(
            [sys.executable, "-c", _YOSYS, *_PASSES], cwd=folder, capture_output=True, text=True, check=False
        )
        if yosys.returncode:
            raise RuntimeError(f"Yosys could not write {name}: {yosys.stderr.strip()}")
        verilog = Path(folder, "design.v").read_text()
    _banner, _, body = verilog.partition("\n\n")
    return body


def _shared_modules(design: str, top: str) -> str:
    """The RTLIL ``design`` with equal modules merged and all names plain identifiers.

    A submodule is called ``top_leaf``, ``leaf`` being its name in its parent without a trailing
    number; different modules of one leaf are numbered from the second on.
    """
    modules = [(match[1], match[0]) for match in _MODULE.finditer(design)]
    names_by_body: dict[str, str] = {}
    names: dict[str, str] = {}
    ports: dict[str, dict[str, str]] = {}  # of each module so far: old name -> new name
    kept = []

    def instance(match: re.Match) -> str:
        child = match[1]
        connects = sorted(
            _CONNECT.sub(lambda port: f"    connect \\{ports[child].get(port[1], port[1])}", line)
            for line in match[3].splitlines(keepends=True)
        )
        return f"  cell \\{names[child]} \\{match[2]}\n{''.join(connects)}  end\n"

    for name, text in reversed(modules):  # Amaranth writes a parent before its children
        body = _INSTANCE.sub(instance, text.replace(f"module \\{name}\n", "module \\\n"))
        ports[name] = _plain_names(body)
        body = _NAME.sub(lambda match, plain=ports[name]: f"\\{plain.get(match[1], match[1])}", body)
        if body not in names_by_body:
            new_name = top if name == top else _fresh(f"{top}_{_leaf(name)}", names_by_body.values())
            names_by_body[body] = new_name
            kept.append(body.replace("module \\\n", f"module \\{new_name}\n"))
        names[name] = names_by_body[body]
    return "\n".join(reversed(kept))


def _leaf(path: str) -> str:
    leaf = path.rpartition(".")[2]
    return re.sub(r"\W", "_", re.sub(r"(_?\d+)+$", "", leaf)) or "part"


def _fresh(name: str, taken: Collection[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _plain_names(body: str) -> dict[str, str]:
    """New names for ``name$12``, ``name.field`` and ``name[3]``, numbered in the order in which they appear.

    Amaranth's own numbers, of nets in the whole design, would tell equal modules apart.
    """
    names = dict.fromkeys(_NAME.findall(body))
    taken = {name for name in names if re.fullmatch(r"\w+", name)}
    plain: dict[str, str] = {}
    for name in names:
        if name not in taken:
            plain[name] = _fresh(re.sub(r"\W+", "_", re.sub(r"\$\d+", "", name)).strip("_"), taken)
            taken.add(plain[name])
    return plain


def lint_waivers(name: str) -> str:
    """The text of ``name.vlt``: what ``verilator -Wall`` is to overlook in ``name.v``, and why."""
    lines = ["`verilator_config"]
    for rule, reason in _WAIVERS:
        lines += [f"// {reason}", f'lint_off -rule {rule} -file "*{name}.v"']
    return "\n".join(lines) + "\n"
