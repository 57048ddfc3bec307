"""A failing product made small, and written as a program that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from golden import accumulate as golden
from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.kernels.plan import Plan, ways
from sim.kernels.product import extent_of, multiply

__all__ = ["Case", "find_plan", "shrink", "snippet"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A product by one way on one instruction set."""

    config: MacConfig
    a: Tensor  #: [m, k]
    b: Tensor  #: [k, n]
    words: RandomWords
    isa: str
    path: str  #: The value of a :class:`sim.kernels.plan.Path`.

    @property
    def macs(self) -> int:
        return self.a.numel() * self.b.shape[1]

    def values(self) -> Tensor | None:
        """The results, or None where the way is not proved for such operands."""
        plan = find_plan(self.config, self.a, self.b, self.isa, self.path)
        if plan is None:
            return None
        return multiply(self.a, self.b, self.config, None, self.words, isa=self.isa, plan=plan)[0]

    def expected(self) -> Tensor:
        return golden.matmul(self.a, self.b, self.config, None, self.words)

    def differs(self) -> bool:
        """Whether the way is taken, and wrong; a way that raises is wrong, too."""
        try:
            values = self.values()
        except Exception:
            return True
        return values is not None and not torch.equal(values, self.expected())


def find_plan(config: MacConfig, a: Tensor, b: Tensor, isa: str, path: str) -> Plan | None:
    """The plan of that path for these operands, if there is one."""
    x, w = extent_of(a, config.x), extent_of(b, config.w)
    plans, _ = ways(config, a.shape[-1], x, w, isa=isa)
    return next((plan for plan in plans if plan.path.value == path), None)


def shrink(case: Case, differs: Callable[[Case], bool] = Case.differs) -> Case:
    """A smaller case of which ``differs`` holds, too: fewer rows, columns and steps, simpler values."""
    while True:
        before = _size(case)
        for cut in (_rows, _columns, _steps):
            case = _fewer(case, cut, differs)
        case = _simpler(case, differs)
        if _size(case) == before:
            return case


def _size(case: Case) -> tuple[int, int, float]:
    values = torch.cat([case.a.flatten(), case.b.flatten()])
    return case.macs, int((values != 0).sum()), float((values.frexp()[0].abs() != 0.5).sum())


def _rows(case: Case, keep: Tensor) -> Case:
    return replace(case, a=case.a[keep])


def _columns(case: Case, keep: Tensor) -> Case:
    return replace(case, b=case.b[:, keep])


def _steps(case: Case, keep: Tensor) -> Case:
    return replace(case, a=case.a[:, keep], b=case.b[keep])


def _fewer(case: Case, cut: Callable, differs: Callable[[Case], bool]) -> Case:
    """Leaves out parts of an axis, large ones first."""
    length = {_rows: case.a.shape[0], _columns: case.b.shape[1], _steps: case.a.shape[1]}[cut]
    part = length // 2
    while part:
        start = 0
        while start < length and length > 1:
            keep = torch.cat([torch.arange(start), torch.arange(min(start + part, length), length)])
            smaller = cut(case, keep) if len(keep) else case
            if len(keep) and differs(smaller):
                case, length = smaller, len(keep)
            else:
                start += part
        part //= 2
    return case


def _simpler(case: Case, differs: Callable[[Case], bool]) -> Case:
    """Zero, then a power of two in place of each value; skipped where there are too many."""
    for field, number in (("a", case.config.x), ("b", case.config.w)):
        values = getattr(case, field)
        if values.numel() > 4096:
            continue
        for i, value in enumerate(values.flatten().tolist()):
            power = float(torch.tensor(value, dtype=torch.float64).frexp()[0].sign()) * _power_below(value)
            for simple in (0.0, power):
                if value in (0.0, simple):
                    break
                changed = values.flatten().clone()
                changed[i] = simple
                candidate = replace(case, **{field: changed.reshape(values.shape)})
                if _holds(number, simple) and differs(candidate):
                    case, values = candidate, getattr(candidate, field)
                    break
    return case


def _power_below(value: float) -> float:
    if value == 0:
        return 0.0
    return 2.0 ** (int(torch.tensor(value, dtype=torch.float64).frexp()[1]) - 1)


def _holds(number, value: float) -> bool:
    try:
        extent_of(torch.tensor([value], dtype=torch.float64), number)
    except ValueError:
        return False
    return True


def snippet(case: Case) -> str:
    """A program that fails while the case does."""
    return f"""import torch
from golden.accumulate import matmul
from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.kernels.product import multiply
from sim.kernels.shrink import find_plan

config = MacConfig.parse("{case.config.name}")
words = RandomWords(seed={case.words.seed}, call={case.words.call})
a = torch.tensor({case.a.tolist()}, dtype={case.a.dtype})
b = torch.tensor({case.b.tolist()}, dtype={case.b.dtype})
plan = find_plan(config, a, b, "{case.isa}", "{case.path}")
values, _ = multiply(a, b, config, None, words, isa="{case.isa}", plan=plan)
expected = matmul(a, b, config, None, words)
assert torch.equal(values, expected), f"{{values}}\\nis not\\n{{expected}}\\n{{plan.reason}}"
"""
