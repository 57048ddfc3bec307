"""Boolean functions as Liberty writes them: read, evaluated, and written as Verilog."""

from __future__ import annotations

import re
from collections.abc import Mapping

from golden.config import ConfigError

__all__ = ["Expression", "evaluate", "parse_function", "to_verilog", "truth_table"]

#: A pin's name; or an operator, "!", "&", "|", "^" or "0", "1", before its operands.
Expression = str | tuple

_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[01()!'^&*|+])")


def parse_function(text: str) -> Expression:
    """The expression of ``A & !B``, ``(A * B) + C'`` or ``A B``: ' and ! bind tightest, then ^, and, or.

    Raises :class:`ConfigError` if ``text`` is not a function.
    """
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConfigError(f"{text!r} is not a Liberty function: {text[position:]!r} cannot be read")
        tokens.append(match[1])
        position = match.end()
    expression = _binary(tokens, 0)
    if tokens:
        raise ConfigError(f"{text!r} is not a Liberty function: {' '.join(tokens)!r} is left over")
    return expression


_LEVELS = ((("|", "+"), "|"), (("&", "*"), "&"), (("^",), "^"))
_STARTS_OPERAND = re.compile(r"[A-Za-z_01(!]")


def _binary(tokens: list[str], level: int) -> Expression:
    if level == len(_LEVELS):
        return _unary(tokens)
    signs, operator = _LEVELS[level]
    left = _binary(tokens, level + 1)
    while tokens:
        if tokens[0] in signs:
            tokens.pop(0)
        elif not (operator == "&" and _STARTS_OPERAND.match(tokens[0])):  # "A B" is A and B
            break
        left = (operator, left, _binary(tokens, level + 1))
    return left


def _unary(tokens: list[str]) -> Expression:
    if not tokens:
        raise ConfigError("a Liberty function ends where an operand is due")
    token = tokens.pop(0)
    if token == "!":
        return ("!", _unary(tokens))
    if token == "(":
        inner = _binary(tokens, 0)
        if not tokens or tokens.pop(0) != ")":
            raise ConfigError("a Liberty function leaves a parenthesis open")
    elif token in "01":
        inner = (token,)
    elif token[0].isalpha() or token[0] == "_":
        inner = token
    else:
        raise ConfigError(f"a Liberty function has {token!r} where an operand is due")
    while tokens and tokens[0] == "'":
        tokens.pop(0)
        inner = ("!", inner)
    return inner


def evaluate(expression: Expression, pins: Mapping[str, bool]) -> bool:
    """The value under an assignment of the pins."""
    match expression:
        case str(pin):
            return pins[pin]
        case ("0",) | ("1",):
            return expression[0] == "1"
        case ("!", operand):
            return not evaluate(operand, pins)
        case ("&", left, right):
            return evaluate(left, pins) and evaluate(right, pins)
        case ("|", left, right):
            return evaluate(left, pins) or evaluate(right, pins)
        case ("^", left, right):
            return evaluate(left, pins) != evaluate(right, pins)
    raise AssertionError(f"no such expression: {expression!r}")


def truth_table(expression: Expression, inputs: tuple[str, ...]) -> int:
    """Bit i is the value where input j is bit j of i. ``inputs`` has at most 6 names or so."""
    rows = range(2 ** len(inputs))
    values = (evaluate(expression, {pin: bool(i >> j & 1) for j, pin in enumerate(inputs)}) for i in rows)
    return sum(value << i for i, value in enumerate(values))


def to_verilog(expression: Expression) -> str:
    """The same in Verilog, with every operator in parentheses."""
    match expression:
        case str(pin):
            return pin
        case ("0",) | ("1",):
            return f"1'b{expression[0]}"
        case ("!", operand):
            return f"~{to_verilog(operand)}"
        case (operator, left, right):
            return f"({to_verilog(left)} {operator} {to_verilog(right)})"
    raise AssertionError(f"no such expression: {expression!r}")
