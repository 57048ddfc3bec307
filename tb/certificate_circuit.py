"""Circuits of AND gates that are made step by step, and their satisfiability by ABC's solvers."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from golden.config import FixedFormat, Format
from tb.verify.aig import Aig

__all__ = ["Circuit", "Literal", "UndecidedError"]

Literal = int  #: Twice a variable, plus 1 where it is inverted; 0 is false and 1 is true.

FALSE, TRUE = 0, 1


class UndecidedError(RuntimeError):
    """A solver that neither proved nor refuted within its time."""


class Circuit:
    """AND gates over free inputs, equal ones made once."""

    def __init__(self):
        self._inputs: list[Literal] = []
        self._gates: list[tuple[Literal, Literal]] = []
        self._known: dict[tuple[Literal, Literal], Literal] = {}
        self._literal: dict[Literal, Literal] = {}

    def free(self, width: int) -> list[Literal]:
        """New inputs, the lowest bit first. All are made before the first gate, as AIGER numbers them."""
        if self._gates:
            raise ValueError("inputs are made before gates")
        made = [2 * (len(self._inputs) + i + 1) for i in range(width)]
        self._inputs += made
        return made

    def both(self, a: Literal, b: Literal) -> Literal:
        """A AND b."""
        a, b = sorted((a, b))
        if a == FALSE or a == b ^ 1:
            return FALSE
        if a in (TRUE, b):
            return b
        if (a, b) not in self._known:
            self._gates.append((a, b))
            self._known[a, b] = 2 * (len(self._inputs) + len(self._gates))
        return self._known[a, b]

    def either(self, a: Literal, b: Literal) -> Literal:
        return self.both(a ^ 1, b ^ 1) ^ 1

    def any(self, literals: Iterable[Literal]) -> Literal:
        found = FALSE
        for each in literals:
            found = self.either(found, each)
        return found

    def at_most(self, bits: Sequence[Literal], limit: int) -> Literal:
        """Whether an unsigned number, its lowest bit first, is ``limit`` or less."""
        found = TRUE
        for i, bit in enumerate(bits):
            found = (self.either if limit >> i & 1 else self.both)(bit ^ 1, found)
        return found

    def within(self, code: Sequence[Literal], number: Format, low: int, high: int) -> Literal:
        """Whether a code's value lies from that of the code ``low`` to that of ``high``.

        In a signed format the ends are not above and not below 0.
        """
        if isinstance(number, FixedFormat) and not number.signed:
            return self.both(self.at_most(code, high), self.at_most(code, low - 1) ^ 1 if low else TRUE)
        *magnitude, sign = code
        below = low - 2 ** (len(code) - 1)  # of the code ``low`` without its sign
        if isinstance(number, FixedFormat):
            negative = self.at_most([bit ^ 1 for bit in magnitude], 2 ** len(magnitude) - 1 - below)
        else:
            negative = self.at_most(magnitude, max(below, 0))
        if below < 0:  # the range has no negative number
            negative = FALSE if isinstance(number, FixedFormat) else self.at_most(magnitude, 0)
        return self.either(self.both(sign ^ 1, self.at_most(magnitude, high)), self.both(sign, negative))

    def place(self, aig: Aig, inputs: Mapping[str, Sequence[Literal]]) -> dict[str, list[Literal]]:
        """A copy of a combinational design on these inputs; its outputs by port."""
        of = {0: FALSE, 1: TRUE}
        for port, nets in aig.inputs.items():
            of |= dict(zip(nets, inputs[port], strict=True))
        for output, *taken in aig.gates:
            of[output] = of[taken[0]] ^ 1 if len(taken) == 1 else self.both(of[taken[0]], of[taken[1]])
        return {port: [of[net] for net in nets] for port, nets in aig.outputs.items()}

    def solve(self, goal: Literal, *, seconds: float, model: bool) -> dict[Literal, bool] | None:
        """An input for which ``goal`` is true, or None: proved that there is none.

        Kissat decides; the input, if one is wanted, is MiniSat's. Raises :class:`UndecidedError` after so
        many seconds.
        """
        if goal == FALSE:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "goal.aig").write_bytes(self._aiger(goal))
            if not model:
                told = _abc(folder, "&r goal.aig; &kissat", seconds)
                if "Result: Unsatisfiable" in told:
                    return None
                if "Result: Satisfiable" in told:
                    return {}
                # What ABC simplifies to a constant or to an input is not handed to Kissat.
            told = _abc(folder, "read goal.aig; sat; write_cex -f found", seconds)
            if "UNSATISFIABLE" in told:
                return None
            if "SATISFIABLE" not in told:
                raise UndecidedError(told[-500:])
            values = (folder / "found").read_text().strip()
        return {literal: bit == "1" for literal, bit in zip(self._inputs, values, strict=True)}

    def _aiger(self, goal: Literal) -> bytes:
        variables = len(self._inputs) + len(self._gates)
        header = f"aig {variables} {len(self._inputs)} 0 1 {len(self._gates)}\n{goal}\n"
        body = bytearray()
        for i, (a, b) in enumerate(self._gates, len(self._inputs) + 1):
            for delta in (2 * i - b, b - a):
                while delta > 127:
                    body.append(delta & 127 | 128)
                    delta >>= 7
                body.append(delta)
        return header.encode() + bytes(body)

    @property
    def size(self) -> int:
        """Gates."""
        return len(self._gates)


def _abc(folder: Path, commands: str, seconds: float) -> str:
    from pyosys import libyosys  # where its ABC is

    abc = Path(libyosys.__file__).with_name("yosys-abc")
    try:
        run = subprocess.run(
            [abc, "-c", commands], cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise UndecidedError(f"{commands} did not end in {seconds} s") from None
    return run.stdout
