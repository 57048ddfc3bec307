"""Components that an array has hundreds of: converted once, instantiated often. Seconds, not minutes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from amaranth import ClockSignal, Instance, ResetSignal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["ModuleLibrary", "written_once"]

_CONTROLS = {"clk": ClockSignal, "rst": ResetSignal}
_CONTROL_PORT = re.compile(r"^  wire width 1 input \d+  \\(clk|rst)$", re.MULTILINE)


class _Module(NamedTuple):
    name: str
    controls: list[str]  #: Which of clk and rst it takes.


class ModuleLibrary:
    """RTLIL of a component and, apart, of those parts that are :func:`written_once`.

    It is passed as Amaranth's ``platform``, by which such a part learns to stand in as an instance.
    """

    def __init__(self, top: str):
        self._top = top
        self._modules: dict[tuple, _Module] = {}  # by what tells parts apart
        self._texts: list[str] = []
        self._written: wiring.Component | None = None  # the one that is to show its inside

    def convert(self, component: wiring.Component) -> str:
        """The design: a module comes before the modules that it instantiates."""
        self._write(component, self._top)
        return "\n".join(reversed(self._texts))

    def instance(self, part: wiring.Component, parameters: tuple) -> Instance | None:
        """An instance that stands in for the part; None for the one that is being written."""
        if part is self._written:
            self._written = None
            return None
        key = (type(part), *parameters)
        if key not in self._modules:
            leaf = re.sub(r"(?<!^)(?=[A-Z])", "_", type(part).__name__).lower()
            name = f"{self._top}.{leaf}_{len(self._modules)}"
            self._modules[key] = _Module(name, self._write(part, name))
        module = self._modules[key]
        connections = {f"i_{control}": _CONTROLS[control]() for control in module.controls}
        for path, member, value in part.signature.flatten(part):
            connections[f"{'i' if member.flow == In else 'o'}_{'__'.join(map(str, path))}"] = value
        return Instance(module.name, **connections)

    def _write(self, component: wiring.Component, name: str) -> list[str]:
        """Append the component's text. Returns which of clk and rst it takes."""
        self._written = component
        text = rtlil.convert(component, name=name, platform=self, emit_src=False)
        self._texts.append(text)
        return _CONTROL_PORT.findall(text[: text.index("\nend\n")])


def written_once(*parameters: str) -> Callable[[type[wiring.Component]], type[wiring.Component]]:
    """Class decorator: components equal in the attributes ``parameters`` share one module in the Verilog."""

    def decorate(component: type[wiring.Component]) -> type[wiring.Component]:
        elaborate = component.elaborate

        def elaborate_or_instantiate(self, platform):
            if isinstance(platform, ModuleLibrary):
                instance = platform.instance(self, tuple(getattr(self, name) for name in parameters))
                if instance is not None:
                    return instance
            return elaborate(self, platform)

        component.elaborate = elaborate_or_instantiate
        # Amaranth warns of components never elaborated, as are those inside one that was instantiated.
        component._MustUse__silence = True
        return component

    return decorate
