"""What a proof is made of: rows, each of one method on one subject.

A module of methods has ``METHODS``, a dict from a method's name to the sentences that explain it in
docs/verification.md, and ``rows()``, which lists its rows without building or running anything. The modules
are named in ``tb.verify.matrix.MODULES``.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hw.verilator_env import tool_versions

__all__ = [
    "ARITHMETIC",
    "ROOT",
    "Outcome",
    "Row",
    "Task",
    "python_versions",
    "simulator_versions",
    "sources",
]

ROOT = Path(__file__).resolve().parents[2]

#: The files by which golden says what a step gives.
ARITHMETIC = tuple(f"golden/{name}.py" for name in ("arith", "rounding", "integers"))


@dataclass(frozen=True, kw_only=True)
class Task:
    """How much of a row to run, and whom to tell how far it is."""

    share: float  #: 1: all of it. Less: about so much of the comparisons, chosen by the seed.
    seed: int  #: Of everything random; 0 in ``make verify``.
    report: Callable[
        [float], None
    ]  #: Takes the part that is done, from 0 to 1; call it as often as you like.

    @property
    def whole(self) -> bool:
        return self.share >= 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a row compared. It is green if something was compared and nothing differed.

    ``differences`` counts every kind of failure: comparisons that differ, mutants that survive without an
    explanation, events that were not hit, proofs that were not found. ``details`` goes into the JSON as it is
    (numbers, texts, lists and dicts; nothing that changes from run to run, such as dates or paths);
    ``details["first_difference"]``, a sentence with inputs and both answers, is printed if there is one.
    """

    compared: int
    differences: int
    details: dict = field(default_factory=dict)

    @property
    def green(self) -> bool:
        return self.compared > 0 and self.differences == 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one subject.

    ``subject`` is a configuration's canonical name (``Silicon.mac_name``, ``ArrayConfig.name``, ...) or the
    name of what is tried. Method and subject together are the row's key, and stay the same for ever.

    ``what`` says in a few words what is compared with what: "RTL with golden, all (x, w, acc)".

    ``depends`` gives a text of all that the outcome depends upon: the generated Verilog, source files
    (:func:`sources`; :data:`ARITHMETIC` is golden's), and a version of the method that is raised when what
    it does changes. Its digest is kept; a row whose digest or whose versions have changed is stale and runs
    again. It may take a second or so; what is slower is for ``run``.

    ``run`` does the work in this process. It raises if it cannot (a tool is missing, a build fails): nothing
    is then recorded. It must not print. At ``task.share`` below 1 it takes about that part of its time, for
    the tests; a row that cannot be divided runs whole.

    ``versions`` are those of the tools: :func:`simulator_versions`, :func:`python_versions`.

    ``seconds`` is a guess at the time of the whole, for the order of rows and the time left until it has
    been measured. ``divides`` says whether a small share is quick: the tests re-run only such rows.
    """

    method: str
    subject: str
    what: str
    depends: Callable[[], str]
    run: Callable[[Task], Outcome]
    versions: Callable[[], dict[str, str]]
    seconds: float
    divides: bool

    @property
    def key(self) -> str:
        return f"{self.method} {self.subject}"

    def digest(self) -> str:
        """A short fingerprint of the row and of what it depends upon."""
        return hashlib.sha256(f"{self.key}\0{self.depends()}".encode()).hexdigest()[:16]


def sources(files: Iterable[str]) -> str:
    """What files of the repository say, by path from its root; of Python, without layout and comments."""
    texts = []
    for file in sorted(set(files)):
        text = (ROOT / file).read_text()
        texts.append(f"{file}\0{_code(text) if file.endswith('.py') else text}")
    return "\0".join(texts)


def _code(text: str) -> str:
    """Python without comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def simulator_versions() -> dict[str, str]:
    """Versions of Verilator and the compiler, and of what writes the Verilog."""
    return {**tool_versions(), **python_versions("amaranth", "pyosys")}


def python_versions(*packages: str) -> dict[str, str]:
    """Versions of installed Python packages, and of Python itself."""
    return {"python": ".".join(map(str, sys.version_info[:3]))} | {
        package: importlib.metadata.version(package) for package in packages
    }
