"""A design with registers as Python: a cycle in some tens of microseconds, ready in a second.

For trying many designs on few cycles each, where to compile each one would take longer than to run it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tb.verify.aig import Aig, Net

__all__ = ["Machine"]

_CONTROLS = ("clk", "rst")


class Machine:
    """Runs a clock cycle at a time. Registers are 0 until they are written or reset.

    Parameters
    ----------
    gates : Gates
        With all registers hidden.
    """

    def __init__(self, gates: Aig):
        gates = gates.with_constants({"clk": 0} if "clk" in gates.inputs else {})
        self.inputs = [port for port in gates.inputs if port != "HIDDEN_held"]
        self.widths = {port: len(gates.inputs[port]) for port in self.inputs}
        self.outputs = [port for port in gates.outputs if port != "HIDDEN_next"]
        self._function = _compiled(gates, self.inputs, self.outputs)
        self._state = (0,) * len(gates.inputs.get("HIDDEN_held", ()))
        self._next = self._state

    def evaluate(self, inputs: Mapping[str, int]) -> dict[str, int]:
        """The outputs by port, for inputs by port; ``rst`` is 0 unless given."""
        values = (inputs[port] if port != "rst" else inputs.get(port, 0) for port in self.inputs)
        outputs, self._next = self._function(self._state, *values)
        return dict(zip(self.outputs, outputs, strict=True))

    def clock(self) -> None:
        """The edge at the end of the cycle that was evaluated last."""
        self._state = self._next


def _compiled(gates: Aig, inputs: list[str], outputs: list[str]) -> Callable:
    held = "".join(f"n{net}," for net in gates.inputs.get("HIDDEN_held", ()))
    lines = [f"def cycle(state,{','.join(f'p{i}' for i in range(len(inputs)))}):"]
    lines += [f" {held}=state"] if held else []
    for i, port in enumerate(inputs):
        lines += [f" n{net}=p{i}>>{bit}&1" for bit, net in enumerate(gates.inputs[port])]
    for output, *taken in gates.gates:
        value = f"n{taken[0]}&n{taken[1]}" if len(taken) == 2 else f"n{taken[0]}^1"
        lines.append(f" n{output}={value}")
    words = ("|".join(f"{_name(net)}<<{i}" for i, net in enumerate(gates.outputs[port])) for port in outputs)
    following = "".join(f"{_name(net)}," for net in gates.outputs.get("HIDDEN_next", ()))
    lines.append(f" return ({''.join(f'{word},' for word in words)}),({following})")
    namespace: dict = {}
    exec(compile("\n".join(lines), "<gates>", "exec"), namespace)
    return namespace["cycle"]


def _name(net: Net) -> str:
    return str(net) if net < 2 else f"n{net}"
