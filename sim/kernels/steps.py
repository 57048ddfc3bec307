"""The steps of the contract on tiles of outputs, in place, in a lane that a plan has proved exact.

Every function works on whole tensors and leaves its result in the first argument. Results are those of
:mod:`golden.arith`; zeros may have either sign until the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from golden.config import Rounding
from sim.kernels.plan import FixedStep, FloatStep, RoundTo
from sim.kernels.reach import Lane

__all__ = ["Scratch", "add_fixed", "add_float", "flush", "round_significand", "saturate", "wrap"]

_hardshrink = torch.ops.aten.hardshrink.out


class Scratch:
    """A tensor of a lane, seen as numbers (``f``) and as their bits (``i``)."""

    def __init__(self, shape: tuple[int, int], lane: Lane):
        self.lane = lane
        self.f = torch.zeros(shape, dtype=lane.dtype)
        self.i = self.f.view(lane.int_dtype)


def round_significand(values: Scratch, target: RoundTo, scratch: Scratch) -> None:
    """Round to the target's mantissa bits, exponent unbounded.

    To nearest even: adding 1.5 * 2**(k + bits to lose), k = floor(log2), leaves no room for the low bits,
    so that the lane's own rounding is the one wanted; subtracting it again is exact.
    """
    if target.keep_mask is not None:
        values.i.bitwise_and_(target.keep_mask)
        return
    torch.bitwise_and(values.i, values.lane.exponent_mask, out=scratch.i)
    values.f.add_(scratch.f, alpha=target.magic)
    values.f.sub_(scratch.f, alpha=target.magic)


def flush(values: Tensor, target: RoundTo, out: Tensor) -> None:
    """+0 for what is too small."""
    _hardshrink(values, target.flush, out=out)


def saturate(values: Tensor, maximum: float) -> None:
    values.clamp_(-maximum, maximum)


def add_float(total: Scratch, acc: Scratch, addend: Scratch, step: FloatStep, scratch: list[Scratch]) -> None:
    """``total`` = the sum as the rounder has to see it: exact, aligned, or rounded to odd.

    ``total`` may be ``acc``; ``addend`` is spent.
    """
    if step.guarded_bits is not None:
        _add_aligned(total, acc, addend, step.guarded_bits, scratch)
    elif step.corrected:
        _add_to_odd(total, acc, addend, scratch)
    else:
        torch.add(acc.f, addend.f, out=total.f)


def _add_aligned(
    total: Scratch, acc: Scratch, addend: Scratch, guarded_bits: int, scratch: list[Scratch]
) -> None:
    """Both cut toward zero to 2**(k - guarded_bits), k = floor(log2) of the larger magnitude."""
    lane, (power, inverse) = acc.lane, scratch[:2]
    torch.abs(acc.f, out=power.f)
    torch.abs(addend.f, out=inverse.f)
    torch.maximum(power.f, inverse.f, out=power.f)
    power.f.clamp_(min=2.0 ** (guarded_bits + lane.min_exponent))  # where both are zero
    power.i.bitwise_and_(lane.exponent_mask).sub_(guarded_bits << lane.man_bits)
    # Of a power of two, -e: the exponent codes of the two add up to twice the code of 1.
    torch.neg(power.i, out=inverse.i).add_(2 * lane.max_exponent << lane.man_bits)
    addend.f.mul_(inverse.f).trunc_()
    torch.mul(acc.f, inverse.f, out=total.f)
    total.f.trunc_().add_(addend.f).mul_(power.f)


def _add_to_odd(total: Scratch, acc: Scratch, addend: Scratch, scratch: list[Scratch]) -> None:
    """Round the sum to odd: the last bit of an inexact sum is 1, as if sticky bits were ORed in.

    The error of a float addition is itself a float (Knuth's two-sum).
    """
    rounded, error, part = scratch[:3]
    torch.add(acc.f, addend.f, out=rounded.f)
    torch.sub(rounded.f, acc.f, out=part.f)  # the addend as it went into the sum
    torch.sub(rounded.f, part.f, out=error.f)
    torch.sub(acc.f, error.f, out=error.f)
    addend.f.sub_(part.f)
    error.f.add_(addend.f)
    torch.sign(rounded.f, out=part.f)
    error.f.mul_(part.f).sign_()
    part.i.copy_(error.f)  # -1: the sum was rounded away from zero; 0: it is exact
    total.i.copy_(rounded.i)
    total.i.add_(part.i.clamp(max=0)).bitwise_or_(part.i.abs_())


def add_fixed(total: Tensor, acc: Tensor, addend: Tensor, step: FixedStep) -> None:
    """``total`` = acc + cut(addend), in units of the lsb, not yet saturated; ``addend`` is spent."""
    if step.cut is Rounding.TOWARD_ZERO:
        addend.trunc_()
    elif step.cut is Rounding.FLOOR:
        addend.floor_()
    elif step.cut is Rounding.NEAREST_EVEN:
        addend.round_()
    torch.add(acc, addend, out=total)


def wrap(values: Tensor, step: FixedStep, scratch: Tensor) -> None:
    """Reduce integers to low .. high modulo their count."""
    modulus = step.high - step.low + 1
    torch.add(values, -step.low, out=scratch)
    scratch.mul_(1.0 / modulus).floor_()
    values.sub_(scratch, alpha=modulus)
