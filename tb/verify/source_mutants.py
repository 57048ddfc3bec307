"""Mutations of Python that describes hardware, drawn up from its syntax tree, and modules loaded with one.

A mutation changes one expression: an operator, a comparison, a constant, a condition, the arms of a
multiplexer. What only refuses wrong arguments, annotations and names are left alone.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from tb.mutants import ChangedModule
from tb.verify.rows import ROOT

__all__ = ["Mutation", "mutations"]

_OPERATORS = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add},
    **{ast.LShift: ast.RShift, ast.RShift: ast.LShift},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr},
}
_COMPARISONS = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutation(ChangedModule):
    """One expression of a module of ``hw`` replaced by another."""

    module: str
    place: str  #: Class and function.
    old: str
    new: str
    number: int  #: Which of those that read the same, from 1.
    line: str  #: Of the source, where the expression begins.
    source: str  #: Of the whole module, changed.

    @property
    def name(self) -> str:
        number = "" if self.number == 1 else f" ({self.number})"
        return f"{self.place}: {self.old} -> {self.new}{number}"

    def changed(self, text: str) -> str:
        return self.source


def mutations(module: str) -> list[Mutation]:
    """All of a module, in the order of its text."""
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    text = path.read_text()
    seen: Counter[tuple[str, str, str]] = Counter()
    found = []
    for place, node, new in _sites(ast.parse(text), ""):
        old = ast.unparse(node)
        key = (place, old, new)
        seen[key] += 1
        line = text.splitlines()[node.lineno - 1].strip()
        found.append(Mutation(module, *key, seen[key], line, _replaced(text, node, new)))
    return found


def _sites(node: ast.AST, place: str) -> Iterator[tuple[str, ast.expr, str]]:
    """(class and function, expression, what takes its place) below a node."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                for part in child.body:
                    yield from _sites(ast.Module([part], []), f"{place}.{name}".strip("."))
            case ast.Raise() | ast.Import() | ast.ImportFrom():
                continue
            case ast.If(body=[ast.Raise()]):
                continue
            case ast.AnnAssign(value=value):
                if place and value is not None:
                    yield from _sites(ast.Module([ast.Expr(value)], []), place)
            case ast.JoinedStr():
                continue
            case _:
                if place and isinstance(child, ast.expr):
                    yield from ((place, child, new) for new in _changes(child))
                if (
                    place
                    and isinstance(child, ast.If | ast.IfExp)
                    and not isinstance(child.test, ast.Compare | ast.BoolOp | ast.UnaryOp)  # done above
                ):
                    yield place, child.test, f"not ({ast.unparse(child.test)})"
                yield from _sites(child, place)


def _changes(node: ast.expr) -> Iterator[str]:
    """Texts of what may stand in place of an expression."""
    changed = deepcopy(node)
    match node:
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            changed.op = _OPERATORS[type(op)]()
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            changed.ops = [_COMPARISONS[type(op)]()]
        case ast.BoolOp(op=op):
            changed.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.UnaryOp(op=ast.Invert() | ast.Not(), operand=operand):
            changed = operand
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            changed = operand
        case ast.Call(func=ast.Name(id="Mux"), args=[condition, yes, no]):
            changed.args = [condition, no, yes]
        case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            changed.func.id = _FUNCTIONS[name]
        case ast.Call(func=ast.Attribute(attr=name)) if name in _FUNCTIONS:
            changed.func.attr = _FUNCTIONS[name]
        case ast.Call(func=ast.Attribute(attr="If" | "Elif"), args=[condition]):
            changed.args = [ast.UnaryOp(ast.Invert(), condition)]
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            yield str(value + 1)
            if value > 0:
                yield str(value - 1)
            return
        case _:
            return
    yield ast.unparse(ast.fix_missing_locations(changed))


def _replaced(text: str, node: ast.expr, new: str) -> str:
    """The text with the node's part replaced; columns are of UTF-8."""
    lines = text.encode().splitlines(keepends=True)
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (before + f"({new})".encode() + after).decode()
