"""Which module of a network is running: dotted names for products, by hooks on every module's call."""

from __future__ import annotations

import threading
from types import TracebackType
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.modules import module as hooks

__all__ = ["OUTSIDE", "ROOT", "ModuleNames"]

#: The name of products that the outermost module asks for itself.
ROOT = "(root)"

#: The name of products that no module asks for.
OUTSIDE = "(outside)"

#: What torch.compile calls the module inside its own.
_COMPILED = "_orig_mod"


class _Running(threading.local):
    """Of each thread the modules whose ``forward`` runs, innermost last: [name, products so far]."""

    def __init__(self):
        self.calls: list[list] = [[OUTSIDE, 0]]


class ModuleNames:
    """Inside the context, names what the code under it asks for.

    A name is the dotted one of the module whose ``forward`` runs: relative to ``model``, or else to the
    outermost module that is called. The second product of one call gets ``:1`` after it, the third ``:2``.
    """

    def __init__(self, model: nn.Module | None = None):
        self._names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._running = _Running()
        self._handles: list = []
        if model is not None:
            self._learn(model)

    def _learn(self, root: nn.Module) -> None:
        for name, each in root.named_modules():
            parts = [part for part in name.split(".") if part != _COMPILED]
            self._names.setdefault(each, ".".join(parts) or ROOT)

    @property
    def here(self) -> str:
        """The module that runs now."""
        return self._running.calls[-1][0]

    def next(self) -> str:
        """The name of the product that is asked for now; each call is another product."""
        running = self._running.calls[-1]
        name, index = running
        running[1] += 1
        return f"{name}:{index}" if index else name

    def _enters(self, module: nn.Module, _inputs) -> None:
        if module not in self._names:
            if len(self._running.calls) == 1:
                self._learn(module)
            else:  # made on the fly, by another module's forward
                self._names[module] = self._running.calls[-1][0]
        self._running.calls.append([self._names[module], 0])

    def _leaves(self, _module: nn.Module, _inputs, _outputs) -> None:
        if len(self._running.calls) > 1:
            self._running.calls.pop()

    def __enter__(self) -> ModuleNames:
        self._handles = [
            hooks.register_module_forward_pre_hook(self._enters),
            hooks.register_module_forward_hook(self._leaves, always_call=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        del self._running.calls[1:]
