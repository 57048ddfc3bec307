"""Every matrix product of a torch network through the accumulator, with gradients if wanted.

:func:`accumulate` catches products below autograd, and above it where a gradient rule is asked for;
:func:`convert` makes a module of the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn

from golden.config import ConfigError, MacConfig
from golden.gradients import GradientRule
from sim.accumulate_mode import AccumulateMode, taker
from sim.autograd_override import overridden
from sim.backends import Backend, find_backend
from sim.layers import Layers, LayersByName, extents, largest, named_config, resolved
from sim.orders import Order, Orders
from sim.product_mode import Product, ProductMode, UnreplacedProductError, caught

__all__ = [
    "AccumulateMode",
    "Accumulated",
    "LayersByName",
    "Product",
    "ProductMode",
    "UnreplacedProductError",
    "accumulate",
    "convert",
    "extents",
    "largest",
    "named_config",
    "resolved",
]


@contextmanager
def accumulate(
    layers: Layers,
    *,
    backend: str | Backend = "cpu",
    strict: bool = True,
    count_events: bool = False,
    seed: int = 0,
    gradient: GradientRule | str | None = None,
    backward: MacConfig | str | None = None,
    order: str | Order | Orders | None = None,
    model: nn.Module | None = None,
) -> Iterator[AccumulateMode]:
    """Run every matrix product of the code inside through an accumulator, bit for bit.

    Operands are quantized to their formats, the result is scaled back, and biases are added in the
    tensors' own type. The mode that is given back has ``calls``, ``seen`` (their names), ``events`` and
    ``unreplaced``. Contexts may be nested: the innermost one computes.

    Parameters
    ----------
    layers : str, MacConfig, mapping or sequence of LayerConfig
        One for all products, as :func:`named_config` reads it or made already, each operand's bias or scale
        fitted to its tensor; or by the names of layers, a mapping or a file that ends in ``.toml``; or one
        for each product in the order in which a forward pass asks for them, as
        :func:`sim.calibrate.calibrate` gives.
    backend : str or Backend
        Who computes: ``cpu``, ``golden``, ``cuda`` or ``rtl``, or a backend that was made already.
    strict : bool
        Raise :class:`UnreplacedProductError` where an operator multiplies and is not replaced.
    count_events : bool
        Count overflow, underflow and swamping, which takes longer. Not with gradients.
    seed : int
        Of the random words of stochastic roundings; their ``call`` is the product's number.
    gradient : GradientRule, str or None
        How gradients pass the chain of sums, such as ``recursive/of``; they pass straight through the
        operands' rounding. None: products are for inference, and a backward pass after the context computes
        torch's own gradients of the products of unrounded operands, silently.
    backward : MacConfig, str or None
        The configuration of the products of the backward pass. None: float32.
    order : str, function, Orders or None
        The order in which each sum takes its products, of :mod:`sim.orders`: a name, or a function that gives
        it for a product's k and n; an ``Orders`` has one for the forward product and two for those of the
        backward pass. Float32 products of a backward pass have none. None: ascending. ConfigError for
        anything else, and where a function gives no tensor.
    model : Module, optional
        What names of layers are relative to, where it is not the outermost module that is called.
    """
    if isinstance(gradient, str):
        gradient = GradientRule.parse(gradient)
    if gradient is None and backward is not None:
        raise ConfigError("backward= is the arithmetic of gradients, and there are none; give gradient= too")
    if gradient is not None and count_events:
        raise ConfigError("events are counted in inference; leave out count_events or gradient")
    mode = AccumulateMode(
        resolved(layers),
        find_backend(backend),
        strict=strict,
        count_events=count_events,
        seed=seed,
        gradient=gradient,
        backward=named_config(backward) if isinstance(backward, str) else backward,
        orders=Orders.of(order),
    )
    with caught(mode, model), overridden(taker) if gradient is not None else nullcontext():
        yield mode
    mode.check()


def convert(
    model: nn.Module,
    layers: Layers,
    *,
    backend: str | Backend = "cpu",
    gradient: GradientRule | str | None = None,
    backward: MacConfig | str | None = None,
    order: str | Order | Orders | None = None,
) -> Accumulated:
    """The network with every product through an accumulator, as a module; see :func:`accumulate`."""
    options = {"backend": backend, "gradient": gradient, "backward": backward, "order": order}
    return Accumulated(model, layers, options)


class Accumulated(nn.Module):
    """A network whose forward pass runs under :func:`accumulate`, strictly.

    It can be copied, saved and trained as the network can; ``state_dict`` is the network's, so that
    checkpoints of either fit the other.
    """

    def __init__(self, model: nn.Module, layers: Layers, options: dict[str, Any]):
        super().__init__()
        self.model = model
        self.layers = layers
        self.options = options
        self.train(model.training)
        self.register_load_state_dict_pre_hook(_put_names_under_model)

    def forward(self, *inputs, **options):
        """What the network gives, by the accumulator's arithmetic."""
        with accumulate(self.layers, model=self.model, **self.options):
            return self.model(*inputs, **options)

    def state_dict(self, *, destination=None, prefix: str = "", keep_vars: bool = False):
        """The network's."""
        return self.model.state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)


def _put_names_under_model(module: Accumulated, state: dict, prefix: str, *_others) -> None:
    for name in [each for each in state if each.startswith(prefix)]:
        state[f"{prefix}model.{name.removeprefix(prefix)}"] = state.pop(name)
