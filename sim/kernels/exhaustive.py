"""Every triple (x, w, acc) of e3m4 x e3m4 into e4m7, 2**28 of them, through the kernels and through golden.

    python -m sim.kernels.exhaustive

A product of a few steps has any accumulator in between: the first steps of a row add it up out of parts that
the product quantizer holds, times one; the last step is x times w. The operands' format holds both the FP8
numbers and the parts. It is done by the steps on integers and by each way in vectors that is proved for such
operands, on each instruction set of this machine.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from golden.arith import fmaq
from golden.catalog import FP8
from golden.codes import decode
from golden.config import FloatFormat, MacConfig
from golden.random_words import RandomWords
from hw.command_line import Parser
from hw.files import write_files
from sim.kernels.library import instruction_sets
from sim.kernels.plan import ways
from sim.kernels.product import extent_of, multiply

__all__ = ["Triples", "main"]

_WIDE = "e8m7"
_WORDS = RandomWords(seed=0, call=0)
_PARTS = 5  #: Of an accumulator: it reaches four times as far as a product.


class Triples:
    """All x and w of e3m4 with given accumulators, in one product whose last step they are."""

    def __init__(self, product: str, accumulator: str):
        self.config = MacConfig.parse(f"{FP8.name}_{FP8.name}_p_{product}_a_{accumulator}_c{_PARTS + 1}")
        self.wide = MacConfig.parse(f"{_WIDE}_{_WIDE}_p_{product}_a_{accumulator}_c{_PARTS + 1}")
        self.number = self.config.accumulator.format
        self.codes = torch.arange(2**FP8.code_bits)
        self.compared: Counter[str] = Counter()  #: Triples by way.

    def golden(self, accs: Tensor) -> Tensor:
        """What the step is, of accumulator codes [a]: values [a, x, w]."""
        codes = fmaq(accs[:, None, None], self.codes[:, None], self.codes, self.config)
        return decode(codes, self.number)

    def operands(self, accs: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [a * x, steps] and columns [steps, w]."""
        x = decode(self.codes, FP8)
        largest = self.number.max_value
        if self.config.product is not None:
            largest = self.config.product.format.max_value
        parts = accumulator_parts(decode(accs, self.number), self.number, largest)
        rows = torch.cat(
            [parts[:, None].expand(-1, len(x), -1), x[None, :, None].expand(len(accs), -1, 1)], dim=2
        )
        columns = torch.ones(_PARTS + 1, len(x), dtype=torch.float64)
        columns[-1] = x
        return rows.flatten(0, 1), columns

    def compare(self, accs: Tensor, isas: tuple[str, ...] | None = None) -> list[str]:
        """What differs from golden, by way; on these instruction sets, or on all that the machine has."""
        rows, columns = self.operands(accs)
        x, w = extent_of(rows, self.wide.x), extent_of(columns, self.wide.w)
        expected, found = self.golden(accs), []
        for isa in isas or instruction_sets():
            for plan in ways(self.wide, len(columns), x, w, isa=isa)[0]:
                if plan.path.value == "scalar" and isa not in ("generic", instruction_sets()[0]):
                    continue  # the same source, compiled twice already
                values, _ = multiply(rows, columns, self.wide, None, _WORDS, isa=isa, plan=plan)
                values = values.reshape(expected.shape)
                self.compared[f"{isa} {plan.path.value}"] += values.numel()
                if not torch.equal(values, expected):
                    at = tuple(int(i) for i in (values != expected).nonzero()[0])
                    found.append(
                        f"{isa} {plan.path.value}: acc {int(accs[at[0]]):#x}, x {at[1]:#x}, w {at[2]:#x}: "
                        f"{values[at].item()!r}, golden {expected[at].item()!r}"
                    )
        return found


def accumulator_parts(values: Tensor, number: FloatFormat, largest: float) -> Tensor:
    """Numbers [..., parts] of magnitudes up to ``largest`` that add up to the values without a rounding."""
    exponent = (values.frexp()[1] - 1).clamp(min=-number.bias)
    grid = torch.exp2((exponent - number.man_bits).double())
    piece = (largest / grid).floor() * grid
    parts, left = [], values
    for _ in range(_PARTS):
        parts.append(left.clamp(-piece, piece))
        left = left - parts[-1]
    if left.any():
        raise ValueError(f"{_PARTS} products of at most {largest} do not reach every number of {number.name}")
    return torch.stack(parts, dim=-1)


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.kernels.exhaustive", description=__doc__.split("\n")[0])
    parser.add_argument("--product", default="e4m7b12_rz", help="product quantizer, or exact (%(default)s)")
    parser.add_argument("--accumulator", default="e4m7b10_rz", help="float accumulator (%(default)s)")
    parser.add_argument("--block", type=int, default=16, help="accumulators at a time (%(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take one block of so many (%(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file for what was compared")
    options = parser.parse_args(arguments)
    try:
        triples = Triples(options.product, options.accumulator)
        triples.operands(torch.arange(triples.number.max_magnitude_code + 1))
    except ValueError as error:
        parser.error(str(error))
    blocks = torch.arange(2**triples.number.code_bits).split(options.block)[:: options.every]
    failures = 0
    for accs in tqdm(blocks, desc="accumulators", unit="block", disable=None):
        for line in triples.compare(accs):
            print(line, flush=True)
            failures += 1
    for way, count in sorted(triples.compared.items()):
        print(f"{way}: {count} triples")
    if options.output is not None:
        results = {"configuration": triples.config.name, "triples": dict(sorted(triples.compared.items()))}
        text = json.dumps({**results, "blocks_that_differ": failures}, indent=1) + "\n"
        write_files({options.output.name: text}, options.output.parent)
    print(f"{triples.config.name}: {failures} blocks differ from golden")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
