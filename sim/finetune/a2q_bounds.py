"""What sums of integer products can reach, channel by channel, in Python integers."""

from __future__ import annotations

from torch import Tensor

__all__ = ["least_bits", "reach"]


def reach(weight: Tensor, most: int) -> list[tuple[int, int]]:
    """The least and the largest of all partial sums of each output channel, in any order and any chunks.

    ``weight``: integers [o, ...]. Activations are integers from 0 to ``most``, each its own.
    """
    channels = [[int(each) for each in channel] for channel in weight.flatten(1).tolist()]
    return [
        (most * sum(w for w in channel if w < 0), most * sum(w for w in channel if w > 0))
        for channel in channels
    ]


def least_bits(low: int, high: int) -> int:
    """Bits of the narrowest two's complement that holds all integers from ``low`` <= 0 to ``high`` >= 0."""
    return 1 + max((-1 - low).bit_length() if low < 0 else 0, high.bit_length())
