"""From a wrong answer to the layer, the output and the product at which an accumulator went wrong.

*Layer*: the first, in the order of the forward pass, whose accumulators make the answer wrong while all
layers before it have theirs and all after it add up exactly. Up to the layer before, the answer is still
right, so this one tips it.

*Output*: what that layer changes is its own results, on operands that are the same either way. Of these the
one is taken whose error moves the answer most against the right class, to first order: error times gradient
of the margin, through the float32 network. Making it exact alone says by how much it does.

*Product*: the first k that overflows, or after which the running sum is off by more than half of what it is
in the end, see :func:`sim.microscope.trace.first_wrong`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sim.backends import find_backend
from sim.microscope.operands import Dot, Operands, exact_result
from sim.microscope.runner import Runner
from sim.microscope.trace import Step, first_wrong, trace
from sim.mixed.products import as_arguments
from sim.operands import result_scale
from sim.workload import first_tensor

__all__ = ["Finding", "locate"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """Where one answer went wrong."""

    wanted: int  #: Class.
    got: int
    layer: str
    number: int  #: Of the layer in the forward pass, from 0,
    layers: int  #: of so many.
    margins: dict[str, float]  #: Wanted class over the other, by which accumulators are exact.
    by_gradient: bool  #: Whether the output was found by gradient; else by its error alone.
    outputs: int  #: Of the layer.
    enough: int  #: Of its outputs, the most harmful first, that have to be exact for the answer to be right.
    axes: tuple[str, ...]  #: What the numbers of the output's place mean.
    dot: Dot
    steps: list[Step]
    first: int  #: Index of the step that goes wrong.

    @property
    def step(self) -> Step:
        return self.steps[self.first]

    @property
    def events(self) -> dict[str, dict[str, int]]:
        """Kinds of event in the dot product: how many there are, and the k of the first."""
        found: dict[str, dict[str, int]] = {}
        for step in self.steps:
            if step.kind in ("overflow", "underflow", "swamping"):
                found.setdefault(step.kind, {"count": 0, "first_k": step.k})["count"] += 1
        return found

    def to_json(self) -> dict:
        """All of it, the steps as floats."""
        return {
            "wanted": self.wanted,
            "got": self.got,
            "layer": self.layer,
            "layer_number": self.number,
            "layers": self.layers,
            "margins": self.margins,
            "output_found_by": "gradient" if self.by_gradient else "error",
            "outputs": self.outputs,
            "outputs_to_restore": self.enough,
            "place": dict(zip(self.axes, self.dot.place, strict=True)),
            "config": self.dot.config.name,
            "result": float(self.steps[-1].after),
            "exact": float(self.steps[-1].exact),
            "first_wrong_step": self.first,
            "k": self.step.k,
            "kind": self.step.kind,
            "events": self.events,
            "steps": [step.to_json() for step in self.steps],
        }


def locate(runner: Runner, batch: tuple, wanted: int) -> Finding | None:
    """Look for the accumulator that makes the answer to one input wrong.

    ``batch`` is one input as the model takes it. None where the answer is right, or where it is wrong with
    exact accumulators as well: then the formats of the operands are to blame.
    """
    layers = runner.layers

    def logits(exact: list[str], **options) -> Tensor:
        return runner.run([batch], exact=exact, **options)[0][0].flatten()

    right_before = logits(layers)
    if int(right_before.argmax()) != wanted:
        return None
    number, after = 0, logits(layers[1:])
    while int(after.argmax()) == wanted:
        number, right_before = number + 1, after
        if number == len(layers):
            return None
        after = logits(layers[number + 1 :])
    layer = layers[number]
    got = int(after.argmax())

    def margin(answer: Tensor) -> float:
        return float(answer[wanted] - answer[got])

    kept = runner.run([batch], exact=layers[number:], keep=True)[1].kept[layer]
    operands = kept[0]
    results = _results(operands)
    exact = exact_result(operands.x, operands.w, operands.geometry, torch.float64)
    scale = result_scale(runner.config_of(layer), convolution=operands.geometry is not None)
    errors = ((results - exact) * scale).flatten()
    gradient = _gradient(runner, batch, layer, layers[number:], wanted, got, len(errors))
    harm = errors.abs() if gradient is None else -(gradient * errors)
    order = harm.argsort(descending=True)

    def restored(count: int) -> Tensor:
        picked = order[:count]
        return logits(layers[number + 1 :], patched={layer: (picked, exact.flatten()[picked])})

    enough = _least(lambda count: int(restored(count).argmax()) == wanted, len(order))
    place = tuple(int(i) for i in torch.unravel_index(order[0], operands.shape))
    dot = operands.dot(place)
    steps = trace(*dot.codes, dot.config, dot.words)
    first = first_wrong(steps)
    return Finding(
        wanted=wanted,
        got=got,
        layer=layer,
        number=number,
        layers=len(layers),
        margins={
            "float32": margin(runner.float32([batch])[0].flatten()),
            "all exact": margin(logits(layers)),
            "exact from this layer on": margin(right_before),
            "exact after this layer": margin(after),
            "this output exact, too": margin(restored(1)),
            "none exact": margin(logits([])),
        },
        by_gradient=gradient is not None,
        outputs=len(order),
        enough=enough,
        axes=operands.axes,
        dot=dot,
        steps=steps,
        first=0 if first is None else first,
    )


def _results(operands: Operands) -> Tensor:
    """The product by the accumulator."""
    cpu = find_backend("cpu")
    if operands.geometry is None:
        return cpu.matmul(operands.x, operands.w, operands.config, None, operands.random)
    return cpu.conv2d(operands.x, operands.w, operands.config, operands.geometry, None, operands.random)


def _least(works: Callable[[int], bool], most: int) -> int:
    """The least count that works, where ``most`` does, by halving: as if a larger one always did."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if works(middle):
            high = middle
        else:
            low = middle
    return high


def _gradient(
    runner: Runner, batch: tuple, layer: str, exact: list[str], wanted: int, got: int, size: int
) -> Tensor | None:
    """Of the margin, with respect to each of the layer's results: float64 [size]; or None.

    The layer gives what it does with exact sums; what follows it is the float32 network. None where the
    product is not a module's whole result, as in attention.
    """
    module = dict(runner.model.named_modules()).get(layer)
    if module is None:
        return None
    given: list[Tensor] = []
    handle = module.register_forward_hook(lambda _m, _a, result: given.append(result))
    try:
        runner.run([batch], exact=exact)
    finally:
        handle.remove()
    if len(given) != 1 or not isinstance(given[0], Tensor) or given[0].numel() != size:
        return None
    leaf = given[0].detach().clone().requires_grad_()
    handle = module.register_forward_hook(lambda _m, _a, _r: leaf.clone())
    try:
        with torch.enable_grad():
            answer = first_tensor(runner.model(*as_arguments(batch))).flatten()
            (gradient,) = torch.autograd.grad(answer[wanted] - answer[got], leaf, allow_unused=True)
    finally:
        handle.remove()
    return None if gradient is None else gradient.flatten().double()
