"""Words that arrive later."""

from __future__ import annotations

from amaranth import Module, Signal, Value

__all__ = ["delayed"]


def delayed(m: Module, word: Value, *, cycles: int, en: Value, reset_less: bool, name: str) -> Value:
    """The word of ``cycles`` enabled cycles ago, through as many registers; the word itself if 0.

    ``reset_less`` suits data that something with a reset declares valid. The registers are called
    ``name_1``, ``name_2`` and so on.
    """
    for cycle in range(1, cycles + 1):
        register = Signal(word.shape(), name=f"{name}_{cycle}", reset_less=reset_less)
        with m.If(en):
            m.d.sync += register.eq(word)
        word = register
    return word
