"""One-hidden-layer ReLU networks with their neurons in the open, and what weight decay asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from golden.config import ConfigError

__all__ = ["ReluNetwork"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReluNetwork:
    """y -> sum over k of a_k [w_k . y + b_k]_+ + c, in float64.

    The terms are in the order in which a sum takes them.
    """

    a: Tensor  #: float64 [k, outputs].
    w: Tensor  #: float64 [k, inputs].
    b: Tensor  #: float64 [k].
    c: Tensor  #: float64 [outputs].

    def __post_init__(self) -> None:
        k, outputs = self.a.shape
        if self.w.shape[0] != k or self.b.shape != (k,) or self.c.shape != (outputs,):
            raise ConfigError(
                f"a network of neurons a[k, outputs] has w[k, inputs], b[k] and c[outputs]; for a of "
                f"{list(self.a.shape)} these are {list(self.w.shape)}, {list(self.b.shape)}, "
                f"{list(self.c.shape)}"
            )

    def __len__(self) -> int:
        return len(self.b)

    def hidden(self, y: Tensor) -> Tensor:
        """What the neurons give: [n, inputs] of any float type -> float64 [n, k]."""
        return (y.double() @ self.w.T + self.b).clamp(min=0)

    def __call__(self, y: Tensor) -> Tensor:
        """[n, inputs] of any float type -> float64 [n, outputs]."""
        return self.hidden(y) @ self.a + self.c

    @property
    def cost(self) -> float:
        """Sum of |a_k| |w_k|: the least 1/2 sum(|a_k|**2 + |w_k|**2) of all networks of the same function
        that scale neurons of this one; biases are free.
        """
        return float((self.a.norm(dim=1) * self.w.norm(dim=1)).sum())

    @property
    def weight_decay(self) -> float:
        """1/2 sum(|a_k|**2 + |w_k|**2) as the neurons are."""
        return float((self.a.square().sum() + self.w.square().sum()) / 2)

    def balanced(self) -> ReluNetwork:
        """The same function with |a_k| = |w_k|, so that ``weight_decay`` is ``cost``."""
        scale = (self.a.norm(dim=1) / self.w.norm(dim=1)).sqrt()
        return replace(self, a=self.a / scale[:, None], w=self.w * scale[:, None], b=self.b * scale)

    def ordered(self, order: Sequence[int]) -> ReluNetwork:
        """The same function with its terms in another order."""
        picked = torch.as_tensor(order)
        if picked.sort().values.tolist() != list(range(len(self))):
            raise ConfigError(f"an order of {len(self)} terms has each of 0 to {len(self) - 1} once")
        return replace(self, a=self.a[picked], w=self.w[picked], b=self.b[picked])
