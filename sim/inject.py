"""Every matrix product of a torch network through the accumulator, whoever asks for it.

Products are caught below autograd, where nn.Linear, functional.conv2d, ``@`` and einsum have all become
a handful of operators. Of those that multiply and are not replaced, none passes unnoticed.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from golden.accumulate import Events
from golden.config import MAX_OPERAND_FIXED_BITS, ConfigError, MacConfig
from golden.random_words import RandomWords
from sim.backends import Backend, Conv2dGeometry, find_backend
from sim.operands import LayerConfig, fit_operands, quantize_operand

__all__ = ["Accumulated", "Product", "ProductMode", "UnreplacedProductError", "accumulate", "convert"]

#: Names of operators that multiply and add up and are not replaced. The fused ones have a form made of
#: matmul: attention is sent there, the others have a module setting for it.
_OTHER_PRODUCTS = re.compile(
    r"(^|_)(\w*mm|mv|addmv|v?dot|matmul|linear|conv|convolution|conv\d\w*|conv_\w*|depthwise\w*"
    r"|trilinear|rnn|gru|lstm|euclidean_dist)(_|$)"
    r"|attention|transformer_encoder|^_?cslt_sparse|^_?linalg_(?!vector_norm|norm|cross|diagonal)"
)


class UnreplacedProductError(RuntimeError):
    """A product that would have been computed in float. The message names the operator."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """One product as the network asks for it: x @ w, or images convolved with a weight."""

    x: Tensor  #: [..., m, k], or images [i, c, h, w].
    w: Tensor  #: [..., k, n], or weights [o, c / groups, kh, kw].
    geometry: Conv2dGeometry | None  #: None: a matrix product.

    @property
    def length(self) -> int:
        """K, the products in a sum."""
        return self.w.shape[-2] if self.geometry is None else self.w[0].numel()


class ProductMode(TorchDispatchMode):
    """Hands every product of the code run under it to :meth:`compute`.

    ``strict``: an operator that multiplies and is not replaced raises :class:`UnreplacedProductError`;
    otherwise it runs in float and its name is added to ``unreplaced``.
    """

    def __init__(self, *, strict: bool):
        super().__init__()
        self.strict = strict
        self.unreplaced: list[str] = []

    @abstractmethod
    def compute(self, product: Product) -> Tensor:
        """The product's result, in the operands' type or float64."""

    def _matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return self.compute(Product(x=a, w=b, geometry=None)).to(a.dtype)

    def _added(self, base: Tensor, product: Tensor, *, beta=1, alpha=1) -> Tensor:
        base, product = (
            each if factor == 1 else factor * each for each, factor in ((base, beta), (product, alpha))
        )
        return base + product

    def _convolution(self, images, weight, bias, stride, padding, dilation, transposed, _output, groups):
        if transposed or images.ndim not in (3, 4):
            return NotImplemented
        flat = images.ndim == 3  # one-dimensional: a row of pixels
        if flat:
            images, weight = images.unsqueeze(-2), weight.unsqueeze(-2)
            stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
        pairs = [tuple(p) if len(p) == 2 else (p[0], p[0]) for p in (stride, padding, dilation)]
        geometry = Conv2dGeometry(stride=pairs[0], padding=pairs[1], dilation=pairs[2], groups=groups)
        result = self.compute(Product(x=images, w=weight, geometry=geometry)).to(images.dtype)
        if bias is not None:
            result = result + bias[:, None, None]
        return result.squeeze(-2) if flat else result

    def _replacement(self, name: str, args: tuple, factors: dict) -> Tensor:
        """The result of the operator called ``name``, or NotImplemented if it is not one of ours."""
        if any(isinstance(each, Tensor) and each.layout is not torch.strided for each in args):
            return NotImplemented
        match name:
            case "mm" | "bmm":
                return self._matmul(*args)
            case "mv":
                return self._matmul(args[0], args[1][:, None])[:, 0]
            case "dot":
                return self._matmul(args[0][None], args[1][:, None])[0, 0]
            case "addmm" | "baddbmm":
                return self._added(args[0], self._matmul(args[1], args[2]), **factors)
            case "addmv":
                return self._added(args[0], self._matmul(args[1], args[2][:, None])[:, 0], **factors)
            case "convolution":
                return self._convolution(*args)
        return NotImplemented

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        factors = dict(kwargs or {})
        out = factors.pop("out", None)
        name = func.overloadpacket.__name__
        if func.namespace == "aten":
            result = self._replacement(name.removesuffix("_"), args, factors)
            if result is not NotImplemented:
                target = args[0] if name.endswith("_") else out
                return result if target is None else target.resize_(result.shape).copy_(result)
        with self:  # composite operators reach here whole under inference_mode
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        if _multiplies(func, name, args):
            if self.strict:
                raise UnreplacedProductError(
                    f"{func} multiplies matrices and is not replaced; use its form made of matmul, linear, "
                    "conv1d or conv2d on dense tensors, or strict=False to leave it in float"
                )
            self.unreplaced.append(str(func))
        return func(*args, **(kwargs or {}))


def largest(tensor: Tensor) -> float:
    """The largest magnitude; 0 of no elements."""
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _multiplies(func, name: str, args: tuple) -> bool:
    """Whether an operator that is not replaced is a product, as far as its name and operands tell."""
    if name.startswith("_embedding_bag"):
        return any(isinstance(each, Tensor) and each.is_floating_point() for each in args[1:])
    return _OTHER_PRODUCTS.search(name) is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Weight:
    """A right operand and what it was quantized to. It holds the tensor, so that no other has its memory."""

    tensor: Tensor
    version: int
    quantized: Tensor

    def is_of(self, other: Tensor) -> bool:
        """Whether ``other`` is the same memory, seen the same way and not written since."""
        ours = self.tensor
        return (
            (ours.data_ptr(), ours.dtype, ours.shape) == (other.data_ptr(), other.dtype, other.shape)
            and ours.stride() == other.stride()
            and ours.storage_offset() == other.storage_offset()
            and self.version == other._version
        )


class _AccumulateMode(ProductMode):
    """Computes products through an accumulator; see :func:`accumulate`."""

    def __init__(
        self,
        layers: Sequence[LayerConfig] | MacConfig,
        backend: Backend,
        *,
        strict: bool,
        count_events: bool,
        seed: int,
    ):
        super().__init__(strict=strict)
        self.seed = seed
        self.layers = layers
        self.backend = backend
        self.count_events = count_events
        self._weights: dict[int, _Weight] = {}  # by the product's place in a forward pass
        self.calls = 0  #: Products so far.
        self.events: list[Events] = []  #: Of each of them, if they are counted.

    @torch.inference_mode(False)  # whose tensors other threads must not write
    @torch.no_grad()
    def compute(self, product: Product) -> Tensor:
        layer = self._layer(product)
        x = quantize_operand(product.x, layer.config.x, layer.x_scale)
        w = self._quantized_weight(product, layer)
        self.calls += 1
        if product.geometry is None:
            operation, arguments = "matmul", (x, w, layer.config)
        else:
            operation, arguments = "conv2d", (x, w, layer.config, product.geometry)
        random = RandomWords(seed=self.seed, call=self.calls - 1)
        scale = layer.x_scale * layer.w_scale
        if self.count_events:
            result, events = getattr(self.backend, f"{operation}_events")(*arguments, random=random)
            self.events.append(events)
        else:
            # A result that is to be scaled is rounded to the tensor's type after that.
            single = scale == 1 and product.x.dtype is torch.float32
            dtype = torch.float32 if single else torch.float64
            result = getattr(self.backend, operation)(*arguments, random=random, dtype=dtype)
        return result if scale == 1 else result * scale

    def _quantized_weight(self, product: Product, layer: LayerConfig) -> Tensor:
        """The quantized right operand; under a plan kept, in case the next pass has the same tensor here."""
        w = product.w
        batched = product.geometry is None and w.ndim > 2  # an activation
        if batched or isinstance(self.layers, MacConfig) or w.is_inference():  # which counts no changes
            return quantize_operand(w, layer.config.w, layer.w_scale)
        place = self.calls % len(self.layers)
        known = self._weights.get(place)
        if known is None or not known.is_of(w):
            quantized = quantize_operand(w, layer.config.w, layer.w_scale)
            known = self._weights[place] = _Weight(tensor=w, version=w._version, quantized=quantized)
        return known.quantized

    def _layer(self, product: Product) -> LayerConfig:
        if isinstance(self.layers, MacConfig):
            return fit_operands(
                self.layers,
                x_largest=largest(product.x),
                w_largest=largest(product.w),
                int_bits=MAX_OPERAND_FIXED_BITS,
                length=None,
            )
        layer = self.layers[self.calls % len(self.layers)]
        if layer.length not in (None, product.length):
            raise ConfigError(
                f"product {self.calls} sums {product.length} products, and its plan is for {layer.length}; "
                "calibrate the same network on the same path"
            )
        return layer


@contextmanager
def accumulate(
    layers: MacConfig | Sequence[LayerConfig],
    *,
    backend: str | Backend = "cpu",
    strict: bool = True,
    count_events: bool = False,
    seed: int = 0,
) -> Iterator[_AccumulateMode]:
    """Run every matrix product of the code inside through an accumulator, bit for bit.

    Operands are quantized to their formats, the result is scaled back, and biases are added in the
    tensors' own type. The mode that is given back has ``calls``, ``events`` and ``unreplaced``.

    Parameters
    ----------
    layers : MacConfig or sequence of LayerConfig
        A configuration for all products, each operand's bias or scale fitted to its tensor; or one for each
        product in the order in which a forward pass asks for them, as :func:`sim.calibrate.calibrate`
        gives.
    backend : str or Backend
        Who computes: ``cpu``, ``golden``, ``cuda`` or ``rtl``, or a backend that was made already.
    strict : bool
        Raise :class:`UnreplacedProductError` where an operator multiplies and is not replaced.
    count_events : bool
        Count overflow, underflow and swamping, which takes longer.
    seed : int
        Of the random words of stochastic roundings; their ``call`` is the product's number.
    """
    mode = _AccumulateMode(layers, find_backend(backend), strict=strict, count_events=count_events, seed=seed)
    with sdpa_kernel(SDPBackend.MATH), mode:
        yield mode
    if not isinstance(layers, MacConfig) and mode.calls % len(layers):
        raise ConfigError(
            f"the code asked for {mode.calls} products, and the plan is for {len(layers)} in each forward "
            "pass; calibrate the same network on the same path"
        )


def convert(
    model: nn.Module, layers: MacConfig | Sequence[LayerConfig], *, backend: str = "cpu"
) -> Accumulated:
    """The network with every product through an accumulator, as a module of its own."""
    return Accumulated(model, layers, backend)


class Accumulated(nn.Module):
    """A network whose forward pass runs under :func:`accumulate`, strictly."""

    def __init__(self, model: nn.Module, layers: MacConfig | Sequence[LayerConfig], backend: str):
        super().__init__()
        self.model = model
        self.layers = layers
        self.backend = backend

    def forward(self, *inputs, **options):
        """What the network gives, by the accumulator's arithmetic."""
        with accumulate(self.layers, backend=self.backend):
            return self.model(*inputs, **options)
