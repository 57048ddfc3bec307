"""Products caught above autograd: while a context is open, aten's operators that multiply ask it first.

torch's own implementation of autograd for ``mm``, ``convolution`` and their like is replaced in the
dispatcher, beneath the operators that are composed of them, so that F.linear, einsum and attention come by.
What the context does not take goes to the implementation that was there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from golden.config import ConfigError

__all__ = ["OPERATORS", "overridden"]

#: The operators of :meth:`sim.product_mode.ProductMode.replacement` that have derivatives of their own, and
#: those that write their result into their first operand.
OPERATORS = (
    *("mm", "bmm", "mv", "dot", "convolution"),
    *("addmm", "baddbmm", "addmv", "addmm_", "baddbmm_", "addmv_"),
)

_KEYS = ("AutogradCPU", "AutogradCUDA")

#: (operator's name, operands, options) -> the result, or NotImplemented.
Taker = Callable[[str, tuple, dict[str, Any]], Tensor]


class _Registered:
    """One registration for all contexts that are open, in whatever threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.contexts = 0
        self.library: torch.library.Library | None = None

    def open(self, find: Callable[[], Taker | None]) -> None:
        with self.lock:
            if self.contexts == 0:
                self.library = _register(find)
            self.contexts += 1

    def close(self) -> None:
        with self.lock:
            self.contexts -= 1
            if self.contexts == 0:
                self.library._destroy()  # else it lasts until it is collected
                self.library = None


_registered = _Registered()


def _register(find: Callable[[], Taker | None]) -> torch.library.Library:
    if not hasattr(torch.library, "get_kernel"):
        raise ConfigError(
            f"gradients through an accumulator need torch 2.9 or later, and this is {torch.__version__}; "
            "leave out gradient=, or update torch"
        )
    library = torch.library.Library("aten", "IMPL")
    for name in OPERATORS:
        for key in _KEYS:
            before = torch.library.get_kernel(f"aten::{name}", key)
            library.impl(name, _asking(name, before, find), key, with_keyset=True)
    return library


def _asking(name: str, before, find: Callable[[], Taker | None]) -> Callable:
    def ask(keys, *args, **options):
        taker = find()
        if taker is not None:
            result = taker(name, args, options)
            if result is not NotImplemented:
                return result
        return before.call_boxed(keys, *args, **options)

    return ask


@contextmanager
def overridden(find: Callable[[], Taker | None]) -> Iterator[None]:
    """While it is open, products ask ``find()`` who takes them. All contexts must bring the same function.

    ``find`` is called in the thread of the product, and gives None where nobody is there to take it.
    """
    _registered.open(find)
    try:
        yield
    finally:
        _registered.close()
