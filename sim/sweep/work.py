"""What a worker does: an item becomes a result, or a sentence that says why there is none."""

from __future__ import annotations

import importlib
import json
import time
from dataclasses import dataclass
from typing import Any

from sim.sweep.items import Item

__all__ = ["Outcome", "work"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of an item: a result or, where there is none, a sentence."""

    item: Item
    result: dict[str, Any] | None
    sentence: str
    seconds: float


def work(item: Item) -> Outcome:
    """Compute one item."""
    started = time.perf_counter()
    try:
        module, _, name = item.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        result, sentence = function(**json.loads(item.arguments)), ""
    except Exception as error:  # kept with its item; the others go on
        result, sentence = None, f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Outcome(item=item, result=result, sentence=sentence, seconds=time.perf_counter() - started)
