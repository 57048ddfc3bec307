"""The worked numbers of docs/arithmetic.md, read from the page: golden and oracle both give them."""

import ast
import operator
import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from golden.accumulate import matmul
from golden.codes import decode
from golden.config import MacConfig, parse_format
from golden.datapath import exact_accumulator, offset_ranges
from tests import oracle
from tests.test_golden_codes import OUTSIDE

PAGE = Path(__file__).parent.parent / "docs" / "arithmetic.md"
HEADER = ["quantity", "of", "x", "w", "is"]
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def worked_rows() -> list[list[str]]:
    """Cells of the table under HEADER."""
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    start = rows.index(HEADER) + 2
    return [row for row in rows[start:] if len(row) == len(HEADER)]


def number(text: str) -> Fraction:
    """A formula of the page, such as ``2^-10 · (1 + 2^-7)``."""

    def evaluate(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value):
                return Fraction(str(value))
            case ast.UnaryOp(ast.USub(), operand):
                return -evaluate(operand)
            case ast.BinOp(left, op, right):
                return OPERATORS[type(op)](evaluate(left), evaluate(right))
        raise ValueError(f"cannot read {text!r}")

    return evaluate(ast.parse(text.replace("^", "**").replace("·", "*"), mode="eval").body)


def numbers(text: str) -> list[Fraction]:
    """Items of a list; ``3 of 1`` is three ones."""
    items = []
    for item in text.split(","):
        count, _, value = item.rpartition(" of ")
        items += [number(value.strip())] * (int(count) if count else 1)
    return items


def by_golden(quantity: str, of: str, x: str, w: str) -> Fraction:
    if quantity == "largest":
        return Fraction(parse_format(of).max_value)
    if quantity == "smallest":
        return Fraction(decode(torch.tensor(1), parse_format(of)).item())
    if quantity.startswith("exact"):
        x_name, w_name = of.split("_")
        made = exact_accumulator(parse_format(x_name), parse_format(w_name), len(numbers(x))).format
        return Fraction({"bits": made.bits, "lsb": made.lsb}[quantity.split()[1]])
    config = MacConfig.parse(of)
    if quantity.startswith("offset"):
        return Fraction(getattr(getattr(offset_ranges(config), x), quantity.split()[1]))
    assert quantity == "dot"
    a = torch.tensor([[float(value) for value in numbers(x)]], dtype=torch.float64)
    b = torch.tensor([[float(value)] for value in numbers(w)], dtype=torch.float64)
    return Fraction(matmul(a, b, config).item())


@pytest.mark.parametrize("row", worked_rows(), ids=lambda row: "-".join(row[:3]))
def test_golden_gives_the_worked_number(row):
    *question, answer = row
    assert by_golden(*question) == number(answer)


@pytest.mark.parametrize("row", [row for row in worked_rows() if row[0] == "dot"], ids=lambda row: row[1])
def test_the_oracle_gives_the_worked_number(row):
    _, name, x, w, answer = row

    def words(stage: int, bits: int, k: int) -> int:
        return oracle.random_word(0, 0, stage, bits, m=0, n=0, k=k)

    got = oracle.dot(numbers(x), numbers(w), MacConfig.parse(name), oracle.Tally(), words)
    assert got == number(answer)


@pytest.mark.parametrize("row", [row for row in worked_rows() if row[0] in ("largest", "smallest")], ids=str)
def test_the_oracle_gives_the_ends_of_the_range(row):
    quantity, name, *_, answer = row
    end = oracle.largest_of(parse_format(name)) if quantity == "largest" else None
    assert (end or oracle.value_of(1, parse_format(name))) == number(answer)


def test_the_table_was_found():
    quantities = {row[0] for row in worked_rows()}
    assert quantities == {
        "largest",
        "smallest",
        "dot",
        "exact bits",
        "exact lsb",
        "offset low",
        "offset high",
    }


def test_outside_formats_are_those_that_torch_is_compared_with():
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| `(\w+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: getattr(torch, theirs) for name, theirs in rows} == OUTSIDE


def test_names_in_the_grammar_table_are_names():
    text = PAGE.read_text(encoding="utf-8")
    grammar = text.split("## Names")[1].split("## Rounding")[0]
    assert MacConfig.parse("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16").name in grammar
    for name in ("e4m7", "e4m7b10", "e4m7bn3", "e4m7sb10", "e4m3fn", "int8", "uint8", "int20ln8"):
        assert f"`{name}`" in grammar and parse_format(name).name == name
