"""One dot product step by step, as golden computes it, beside the exact sum; where it first goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from golden import arith
from golden.config import Accumulator, FixedAccumulator, Format, MacConfig, Overflow
from golden.random_words import Stage
from golden.rounding import Unpacked, unpack

__all__ = ["Step", "first_wrong", "trace"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rounded addition: of a product to the sum of its chunk, or of a chunk's sum to the outer one."""

    k: int  #: The last product that is in the sum.
    inner: bool  #: A product was added; else a chunk's sum.
    x: Fraction | None  #: Operands, exact product and quantized product; None where a chunk's sum was added.
    w: Fraction | None
    product: Fraction | None
    addend: Fraction  #: What went to the adder.
    before: Fraction  #: The accumulator.
    after: Fraction
    before_code: int
    after_code: int
    total: Fraction  #: All that has been accumulated: chunks before this one and the sum of this one.
    exact: Fraction  #: The exact sum of the products so far.
    overflow: bool
    underflow: bool
    swamped: bool
    wraps: bool  #: An overflow would wrap; else it saturates.

    @property
    def saturated(self) -> bool:
        """Whether something was lost at the end of a range."""
        return self.overflow and not self.wraps

    @property
    def error(self) -> Fraction:
        """By how much the sum is wrong after this step."""
        return self.total - self.exact

    @property
    def own_error(self) -> Fraction:
        """What this step adds to the error."""
        wanted = self.addend if self.product is None else self.product
        return self.after - self.before - wanted

    @property
    def kind(self) -> str:
        """What happened, in a word."""
        if self.overflow:
            return "overflow"
        if self.underflow:
            return "underflow"
        if self.swamped:
            return "swamping"
        return "rounding" if self.own_error else "exact"

    def to_json(self) -> dict:
        """Values as floats; all of them are short enough but for long exact sums."""
        values = {
            name: None if (value := getattr(self, name)) is None else float(value)
            for name in ("x", "w", "product", "addend", "before", "after", "total", "exact", "error")
        }
        codes = {"before_code": self.before_code, "after_code": self.after_code}
        stage = "inner" if self.inner else "outer"
        return {"k": self.k, "stage": stage, "kind": self.kind, **values, **codes}


def _value(number: Unpacked) -> Fraction:
    magnitude = Fraction(number.significand) * Fraction(2) ** number.exponent
    return -magnitude if number.negative else magnitude


def _of_code(code: int, number: Format) -> Fraction:
    return _value(unpack(code, number))


def _wraps(accumulator: Accumulator) -> bool:
    return isinstance(accumulator, FixedAccumulator) and accumulator.overflow is Overflow.WRAP


def trace(
    x_codes: Sequence[int],
    w_codes: Sequence[int],
    config: MacConfig,
    words: Callable[[Stage, int, int], int] | None,
) -> list[Step]:
    """The steps of :func:`golden.arith.dot`, by the same functions."""
    inner, outer = config.accumulator.format, config.outer_accumulator.format
    steps: list[Step] = []
    out, exact = 0, Fraction(0)
    for chunk, indices in enumerate(arith.chunks(len(x_codes), config.chunk_size)):
        acc, before_chunk = 0, _of_code(out, outer)
        for k in indices:
            product_word = arith.word_of(words, Stage.PRODUCT, config.product, k)
            acc_word = arith.word_of(words, Stage.INNER, config.accumulator, k)
            arguments = (acc, x_codes[k], w_codes[k], config, product_word, acc_word)
            of_product, of_sum = arith.fmaq_events(*arguments)
            result = arith.fmaq(*arguments)
            product = _value(arith.multiply(x_codes[k], w_codes[k], config))
            exact += product
            flags = [each for each in (of_product, of_sum) if each is not None]
            steps.append(
                Step(
                    k=k,
                    inner=True,
                    x=_of_code(x_codes[k], config.x),
                    w=_of_code(w_codes[k], config.w),
                    product=product,
                    addend=_value(arith.addend_of(x_codes[k], w_codes[k], config, product_word)),
                    before=_of_code(acc, inner),
                    after=_of_code(result, inner),
                    before_code=acc,
                    after_code=result,
                    total=before_chunk + _of_code(result, inner),
                    exact=exact,
                    overflow=any(bool(each.overflow) for each in flags),
                    underflow=any(bool(each.underflow) for each in flags),
                    swamped=any(bool(each.swamped) for each in flags),
                    wraps=_wraps(config.accumulator),
                )
            )
            acc = result
        word = arith.word_of(words, Stage.OUTER, config.outer_accumulator, chunk)
        events = arith.chunk_events(out, acc, config, word)
        result = arith.chunk_add(out, acc, config, word)
        steps.append(
            Step(
                k=indices[-1],
                inner=False,
                x=None,
                w=None,
                product=None,
                addend=_of_code(acc, inner),
                before=before_chunk,
                after=_of_code(result, outer),
                before_code=out,
                after_code=result,
                total=_of_code(result, outer),
                exact=exact,
                overflow=bool(events.overflow),
                underflow=bool(events.underflow),
                swamped=bool(events.swamped),
                wraps=_wraps(config.outer_accumulator),
            )
        )
        out = result
    return steps


def first_wrong(steps: Sequence[Step]) -> int | None:
    """Index of the step at which a sum goes wrong; None if its result is exact.

    It is the first that overflows, where sums saturate: from there on products are lost for good. Without
    one, and where sums wrap, which is harmless if they wrap back, it is the first step after which the sum is
    off by more than half of what it is in the end: a wrapped sum jumps there, a truncated one creeps there.
    """
    if not steps or not steps[-1].error:
        return None
    lost = next((i for i, step in enumerate(steps) if step.saturated), None)
    if lost is not None:
        return lost
    limit = abs(steps[-1].error) / 2
    return next(i for i, step in enumerate(steps) if abs(step.error) > limit)
