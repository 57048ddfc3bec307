"""Catches every matrix product of a torch network, below autograd, whoever asks for it.

There nn.Linear, functional.conv2d, ``@`` and einsum have all become a handful of operators. Of those that
multiply and are not replaced, none passes unnoticed.
"""

from __future__ import annotations

import re
import threading
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from golden.config import ConfigError
from sim.backends import Conv2dGeometry
from sim.module_names import OUTSIDE, ModuleNames

__all__ = ["Product", "ProductMode", "UnreplacedProductError", "caught", "is_computing"]

#: Names of operators that multiply and add up and are not replaced. The fused ones have a form made of
#: matmul: attention is sent there, the others have a module setting for it.
_OTHER_PRODUCTS = re.compile(
    r"(^|_)(\w*mm|mv|addmv|v?dot|matmul|linear|conv|convolution|conv\d\w*|conv_\w*|depthwise\w*"
    r"|trilinear|rnn|gru|lstm|euclidean_dist)(_|$)"
    r"|attention|transformer_encoder|^_?cslt_sparse|^_?linalg_(?!vector_norm|norm|cross|diagonal)"
)


class UnreplacedProductError(RuntimeError):
    """A product that would have been computed in float. The message names the operator and the module."""


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

    @property
    def columns(self) -> int:
        """N, the columns of the output: a convolution's output channels."""
        return self.w.shape[-1] if self.geometry is None else len(self.w)

    @property
    def not_finite(self) -> str | None:
        """The operand that has NaN or infinity, if one has."""
        operands = {"left": self.x, "right": self.w}
        return next((side for side, each in operands.items() if not bool(each.isfinite().all())), None)

    def need_finite(self) -> None:
        """Raise ConfigError where an operand cannot be quantized."""
        if self.not_finite:
            raise ConfigError("a tensor with NaN or infinity cannot be quantized")


class _Computing(threading.local):
    """Whether a product is being computed: what torch multiplies for that is nobody's product."""

    now = False


_computing = _Computing()


def is_computing() -> bool:
    """Whether this thread is computing a product that was caught."""
    return _computing.now


class ProductMode(TorchDispatchMode):
    """Hands every product of the code run under it to :meth:`compute`.

    ``strict``: an operator that multiplies and is not replaced raises :class:`UnreplacedProductError`;
    otherwise it runs in float and its name is added to ``unreplaced``. Inside :func:`caught` the mode knows
    the module that asks; by itself every name is :data:`sim.module_names.OUTSIDE`.
    """

    def __init__(self, *, strict: bool):
        super().__init__()
        self.strict = strict
        self.unreplaced: list[str] = []
        self.where = (
            OUTSIDE  #: The name of the product that is computed: ``layer1.0.conv1``, ``attention:1``.
        )
        self.operator = ""  #: The operator that asks for it: ``mm``, ``addmm``, ``convolution``.
        self.names = ModuleNames()

    @abstractmethod
    def compute(self, product: Product) -> Tensor:
        """The product's result, in the operands' type or float64."""

    def unreplaced_at(self, name: str, args: tuple) -> None:
        """Told of an operator that multiplies and is not replaced, before it runs in float."""

    def _compute(self, product: Product) -> Tensor:
        self.where = self.names.next()
        _computing.now = True
        try:
            return self.compute(product).to(product.x.dtype)
        except ConfigError as error:
            if product.not_finite is None:
                raise
            raise ConfigError(f"{error}: the {product.not_finite} operand of layer {self.where}") from error
        finally:
            _computing.now = False

    def _matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return self._compute(Product(x=a, w=b, geometry=None))

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
        result = self._compute(Product(x=images, w=weight, geometry=geometry))
        if bias is not None:
            result = result + bias[:, None, None]
        return result.squeeze(-2) if flat else result

    def replacement(self, name: str, args: tuple, factors: dict) -> Tensor:
        """The result of the operator called ``name``, or NotImplemented if it is not one of ours."""
        if any(isinstance(each, Tensor) and each.layout is not torch.strided for each in args):
            return NotImplemented
        self.operator = name
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
        if _computing.now:
            return func(*args, **(kwargs or {}))
        factors = dict(kwargs or {})
        out = factors.pop("out", None)
        name = func.overloadpacket.__name__
        if func.namespace == "aten":
            result = self.replacement(name.removesuffix("_"), args, factors)
            if result is not NotImplemented:
                target = args[0] if name.endswith("_") else out
                return result if target is None else target.resize_(result.shape).copy_(result)
        with self:  # composite operators reach here whole under inference_mode
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        if _multiplies(func, name, args):
            self.refuse(
                str(func), args, "use its form made of matmul, linear, conv1d or conv2d on dense tensors"
            )
        return func(*args, **(kwargs or {}))

    def refuse(self, operator: str, args: tuple, instead: str) -> None:
        """Raise :class:`UnreplacedProductError` if the mode is strict, else list the operator."""
        if self.strict:
            raise UnreplacedProductError(
                f"{operator} in {self.names.here} multiplies matrices and is not replaced; {instead}, or "
                "strict=False to leave it in float"
            )
        self.unreplaced.append(operator)
        self.unreplaced_at(operator, args)


def _multiplies(func, name: str, args: tuple) -> bool:
    """Whether an operator that is not replaced is a product, as far as its name and operands tell."""
    if name.startswith("_embedding_bag"):
        return any(isinstance(each, Tensor) and each.is_floating_point() for each in args[1:])
    return _OTHER_PRODUCTS.search(name) is not None


@contextmanager
def caught(mode: ProductMode, model: nn.Module | None = None) -> Iterator[None]:
    """Run the code inside under the mode, with fused operators off that have a form made of products.

    Names of products are relative to ``model``, or else to the outermost module that is called.
    """
    mode.names = ModuleNames(model)
    with _unfused(), mode.names, mode:
        yield


class _Recurrence(TorchFunctionMode):
    """Sends recurrent layers to the form made of products, not to a library's own kernel."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", None) not in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
            return func(*args, **(kwargs or {}))
        enabled = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
        torch._C._set_mkldnn_enabled(False)
        torch._C._set_cudnn_enabled(False)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            torch._C._set_mkldnn_enabled(enabled[0])
            torch._C._set_cudnn_enabled(enabled[1])


@contextmanager
def _unfused() -> Iterator[None]:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _Recurrence():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
