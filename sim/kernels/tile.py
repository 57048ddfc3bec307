"""One tile of outputs, computed along k step by step: values, and counts of events if asked."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from golden.arith import chunks
from golden.config import MacConfig
from sim.kernels import steps
from sim.kernels.plan import FixedStep, FloatStep, Plan
from sim.kernels.steps import Scratch

__all__ = ["Tile"]


class Tally:
    """Counts over the steps of one kind. An event is a difference of two counts that are cheap."""

    def __init__(self) -> None:
        self.addends = 0  #: That were not zero.
        self.sums = 0  #: That were not zero when still exact,
        self.results = 0  #: and after their rounding.
        self.changes = 0  #: Results that differ from the accumulator before them.
        self.overflow = 0

    @property
    def underflow(self) -> int:
        return self.sums - self.results  # an exact zero stays one

    @property
    def swamped(self) -> int:
        return self.addends - self.changes  # adding zero changes nothing


class Tile:
    """Outputs out[r, c] = dot(left[:, r], right[:, c]) of a plan.

    Parameters
    ----------
    left, right : Tensor
        [k, r] and [k, c], in the plan's lane, x already divided by 2**inner_unit. Which of the two is x
        makes no difference.
    count : bool
        Count events in ``product``, ``inner`` and ``outer``.
    """

    def __init__(self, left: Tensor, right: Tensor, config: MacConfig, plan: Plan, *, count: bool):
        self.left, self.right, self.config, self.plan = left, right, config, plan
        self.shape = (left.shape[1], right.shape[1])
        self.addend, self.total, *self.scratch = (Scratch(self.shape, plan.lane) for _ in range(5))
        self.nonzero = (left.count_nonzero(1) * right.count_nonzero(1)).tolist()
        self.product, self.inner, self.outer = (Tally(), Tally(), Tally()) if count else (None, None, None)

    def run(self) -> Tensor:
        """The values, float64, in units of 2**outer_unit."""
        plan = self.plan
        left, right = self.left[:, :, None].unbind(), self.right[:, None, :].unbind()
        largest = (self.left.abs().amax(1) * self.right.abs().amax(1)).tolist()
        fused = self.inner is None and plan.product is None and _plain(plan.inner)
        out, acc = Scratch(self.shape, plan.lane), Scratch(self.shape, plan.lane)
        for indices in chunks(len(left), self.config.chunk_size):
            may_leave = not self._stays_in_range(indices)
            if plan.additive and (not may_leave or (plan.inner.wrap and self.inner is None)):
                acc.f.copy_(self._chunk_product(indices))
            else:
                acc.f.zero_()
                for k in indices:
                    if fused:
                        acc.f.addcmul_(left[k], right[k])
                        if isinstance(plan.inner, FloatStep):
                            steps.round_significand(acc, plan.inner.round_to, self.scratch[0])
                            steps.flush(acc.f, plan.inner.round_to, out=acc.f)
                        self._limit(acc, plan.inner, may_leave)
                    else:
                        torch.mul(left[k], right[k], out=self.addend.f)
                        self._round_product(largest[k])
                        acc = self._add(acc, self.addend, plan.inner, may_leave, self.inner)
                if plan.lazy_wrap and self.inner is None:
                    steps.wrap(acc.f, plan.inner, self.scratch[0].f)
            if plan.inner_unit != plan.outer_unit:
                acc.f.mul_(2.0 ** (plan.inner_unit - plan.outer_unit))
            out = self._add_chunk(out, acc)
        self._count_products()
        return out.f.double()

    def _add_chunk(self, out: Scratch, acc: Scratch) -> Scratch:
        if self.outer is not None:
            self.outer.addends += int(acc.f.count_nonzero())
        self.addend.f.copy_(acc.f)
        return self._add(out, self.addend, self.plan.outer, True, self.outer)

    def _stays_in_range(self, indices: range) -> bool:
        """No running sum of this chunk can leave the accumulator's range: sums of magnitudes bound it."""
        plan, count = self.plan, len(indices)
        span = slice(indices.start, indices.stop)
        magnitudes = self.left[span].abs().double().t() @ self.right[span].abs().double()
        bound = float(magnitudes.max()) * (1 + count * 2.0**-50)  # this product rounds, too
        if isinstance(plan.inner, FixedStep):
            return bound + (count if plan.inner.cut else 0) <= plan.inner.high
        target = plan.inner.round_to
        growth = count * target.growth + (plan.product.growth if plan.product else 0)
        return bound * math.exp(growth) <= target.maximum

    def _chunk_product(self, indices: range) -> Tensor:
        span = slice(indices.start, indices.stop)
        sums = self.left[span].double().t() @ self.right[span].double()
        if self.plan.inner.wrap:
            steps.wrap(sums, self.plan.inner, torch.empty_like(sums))
        if self.inner is not None:  # nothing is cut, and so every addend changes the sum
            self.inner.changes += sum(self.nonzero[span])
        return sums

    def _round_product(self, largest: float) -> None:
        target, addend = self.plan.product, self.addend
        if target is None:
            return
        steps.round_significand(addend, target, self.scratch[0])
        if largest > target.maximum:
            if self.product is not None:
                self.product.overflow += self._count(torch.gt, addend.f.abs(), target.maximum)
            steps.saturate(addend.f, target.maximum)
        steps.flush(addend.f, target, out=addend.f)
        if self.product is not None:
            self.inner.addends += self._count(torch.ne, addend.f, 0)

    def _add(
        self, acc: Scratch, addend: Scratch, step: FloatStep | FixedStep, may_leave: bool, tally: Tally | None
    ) -> Scratch:
        """One rounded addition. Returns where the result is: in ``acc``, or the spare if events count."""
        total = acc if tally is None else self.total
        if isinstance(step, FixedStep):
            self._add_fixed(total, acc, addend, step, tally)
        else:
            self._add_float(total, acc, addend, step, tally)
        if tally is not None and may_leave:
            tally.overflow += self._count_outside(total, step)
        self._limit(total, step, may_leave)
        if tally is not None:
            tally.changes += self._count(torch.ne, total.f, acc.f)
            self.total = acc
        return total

    def _add_float(
        self, total: Scratch, acc: Scratch, addend: Scratch, step: FloatStep, tally: Tally | None
    ) -> None:
        exact = total if _plain(step) else self.scratch[0]
        if tally is not None and exact is not total:
            torch.add(acc.f, addend.f, out=exact.f)
            tally.sums += self._count(torch.ne, exact.f, 0)
        steps.add_float(total, acc, addend, step, self.scratch)
        if tally is not None and exact is total:
            tally.sums += self._count(torch.ne, total.f, 0)
        steps.round_significand(total, step.round_to, self.scratch[0])
        steps.flush(total.f, step.round_to, out=total.f)
        if tally is not None:
            tally.results += self._count(torch.ne, total.f, 0)

    def _add_fixed(
        self, total: Scratch, acc: Scratch, addend: Scratch, step: FixedStep, tally: Tally | None
    ) -> None:
        if tally is not None and step.cut is not None:
            torch.add(acc.f, addend.f, out=self.scratch[0].f)
            tally.sums += self._count(torch.ne, self.scratch[0].f, 0)
        steps.add_fixed(total.f, acc.f, addend.f, step)
        if tally is not None and step.cut is not None:
            tally.results += self._count(torch.ne, total.f, 0)

    def _limit(self, total: Scratch, step: FloatStep | FixedStep, may_leave: bool) -> None:
        """Saturate or wrap."""
        if isinstance(step, FloatStep):
            if may_leave:
                steps.saturate(total.f, step.round_to.maximum)
        elif step.wrap:
            if may_leave and not (self.plan.lazy_wrap and self.inner is None and step is self.plan.inner):
                steps.wrap(total.f, step, self.scratch[0].f)
        elif may_leave:
            total.f.clamp_(step.low, step.high)

    def _count_outside(self, total: Scratch, step: FloatStep | FixedStep) -> int:
        if isinstance(step, FloatStep):
            return self._count(torch.gt, torch.abs(total.f, out=self.scratch[0].f), step.round_to.maximum)
        above = self._count(torch.gt, total.f, step.high)
        return above + self._count(torch.lt, total.f, step.low)

    def _count(self, compare, values: Tensor, other: Tensor | float) -> int:
        """How many outputs satisfy the comparison; its answers as floats are the fast way in torch."""
        return int(compare(values, other, out=self.scratch[-1].f).sum())

    def _count_products(self) -> None:
        """What follows from the operands alone: exact products that are not zero."""
        if self.inner is None:
            return
        self.product.sums = sum(self.nonzero)
        if self.plan.product is None:
            self.inner.addends = self.product.sums
        self.product.results = self.inner.addends


def _plain(step: FloatStep | FixedStep) -> bool:
    """Whether acc + x * w is exact as it stands."""
    if isinstance(step, FixedStep):
        return step.cut is None
    return step.guarded_bits is None and not step.corrected
