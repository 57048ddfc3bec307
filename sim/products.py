"""Lists every matrix product of a network: ``python -m sim.products MODEL [--config C]``.

One batch is run in float32. Each product stands with the layer that asks for it and whether an accumulator
computes it under :func:`sim.inject.accumulate`; one that it does not is an error unless that is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from golden.config import MAX_OPERAND_FIXED_BITS, ConfigError, MacConfig
from hw.command_line import Parser
from hw.files import write_files
from sim.layers import Layers, extents, resolved
from sim.operands import LayerConfig, fit_operands
from sim.product_mode import Product, ProductMode, caught
from sim.workloads import find_workload

__all__ = ["ListedProduct", "list_products", "table"]


@dataclass(frozen=True, kw_only=True)
class ListedProduct:
    """One product of a forward pass. Fields that an operator hides, or that nobody asked for, are None."""

    layer: str  #: The module that asks for it, as products are named.
    operator: str  #: torch's.
    x: list[int] | None  #: Shape of the left operand, or of the images.
    w: list[int] | None  #: Shape of the right operand, or of the weights.
    length: int | None  #: K, the products in a sum.
    macs: int | None  #: In this batch.
    replaced: bool  #: Whether an accumulator computes it.
    reason: str  #: Why not, if it does not.
    x_format: str | None  #: The operands' formats under the configuration, fitted to this batch,
    w_format: str | None
    config: str | None  #: and the whole configuration.


class _ListMode(ProductMode):
    """Runs products in float and lists them."""

    def __init__(self, layers: Any):
        super().__init__(strict=False)
        self.layers = layers
        self.products: list[ListedProduct] = []

    def compute(self, product: Product) -> Tensor:
        if self.layers is not None:
            product.need_finite()
        x, w, geometry = product.x, product.w, product.geometry
        if geometry is None:
            result = x @ w
        else:
            options = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
            result = torch.conv2d(x, w, None, *options)
        config = self._config(product)
        self.products.append(
            ListedProduct(
                layer=self.where,
                operator=self.operator,
                x=list(x.shape),
                w=list(w.shape),
                length=product.length,
                macs=result.numel() * product.length,
                replaced=True,
                reason="",
                x_format=config and config.x.name,
                w_format=config and config.w.name,
                config=config and config.name,
            )
        )
        return result

    def _config(self, product: Product) -> MacConfig | None:
        match self.layers:
            case None:
                return None
            case MacConfig() as config:
                pass
            case list() | tuple() as plan:
                layer: LayerConfig = plan[sum(each.replaced for each in self.products) % len(plan)]
                return layer.config
            case by_name:
                config = by_name.config_of(self.where)
        largest = extents(product.x, product.w)
        return fit_operands(config, *largest, int_bits=MAX_OPERAND_FIXED_BITS, length=None).config

    def unreplaced_at(self, name: str, args: tuple) -> None:
        shapes = [list(each.shape) for each in args if isinstance(each, Tensor)]
        self.products.append(
            ListedProduct(
                layer=self.names.next(),
                operator=name.removeprefix("aten.").removesuffix(".default"),
                x=shapes[0] if shapes else None,
                w=shapes[1] if len(shapes) > 1 else None,
                length=None,
                macs=None,
                replaced=False,
                reason=_reason(name),
                x_format=None,
                w_format=None,
                config=None,
            )
        )


def _reason(operator: str) -> str:
    if "convolution" in operator:
        return "only convolutions of one and two dimensions that are not transposed are replaced"
    if "sparse" in operator or "embedding_bag" in operator:
        return "operands are not dense; use a dense matmul"
    return "this operator is not made of matmul or conv2d; write it with them"


@torch.no_grad()
def list_products(model: nn.Module, *arguments, layers: Layers | None = None) -> list[ListedProduct]:
    """Every product of ``model(*arguments)``, in the order of the forward pass.

    ``layers``: as :func:`sim.inject.accumulate` takes them, for the operands' formats.
    """
    mode = _ListMode(None if layers is None else resolved(layers))
    with caught(mode, model):
        model(*arguments)
    return mode.products


def table(products: Sequence[ListedProduct]) -> str:
    """The products as aligned text, and their number and MACs below."""
    head = ["layer", "operator", "x", "w", "K", "MACs", "x format", "w format", "replaced"]
    rows = [
        [
            each.layer,
            each.operator,
            _shape(each.x),
            _shape(each.w),
            _number(each.length),
            _number(each.macs),
            each.x_format or "-",
            each.w_format or "-",
            "yes" if each.replaced else f"no: {each.reason}",
        ]
        for each in products
    ]
    formats = any(each.x_format for each in products)
    shown = [place for place in range(len(head)) if formats or place not in (6, 7)]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    numbers = (4, 5)
    lines = [
        "  ".join(
            row[place].rjust(widths[place]) if place in numbers else row[place].ljust(widths[place])
            for place in shown
        ).rstrip()
        for row in [head, *rows]
    ]
    replaced = sum(each.replaced for each in products)
    macs = sum(each.macs or 0 for each in products)
    return "\n".join([*lines, "", f"{len(products)} products, {replaced} replaced, {_number(macs)} MACs"])


def _number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}".replace(",", " ")


def _shape(shape: list[int] | None) -> str:
    return "-" if shape is None else "x".join(map(str, shape)) or "scalar"


def main(arguments: Sequence[str] | None = None) -> None:
    """List every matrix product of a network, and whether an accumulator computes it."""
    parser = Parser(prog="python -m sim.products", description=main.__doc__)
    parser.add_argument("model", help="digits, resnet20, ..., file.py:function or model.onnx")
    parser.add_argument("--config", help="configuration, accumulator such as e5m10, or TOML file of layers")
    parser.add_argument("--json", metavar="FILE", help="write the list there as well")
    parser.add_argument("--seed", type=int, default=0, help="of training and random inputs (default: 0)")
    parser.add_argument(
        "--allow-unreplaced",
        action="store_true",
        help="do not end with an error where a product stays in float",
    )
    options = parser.parse_args(arguments)
    try:
        workload = find_workload(options.model, count=1, seed=options.seed)
        products = list_products(workload.model, *workload.batches[0], layers=options.config)
    except ConfigError as error:
        parser.error(str(error))
    shapes = [_shape(list(each.shape)) for each in workload.batches[0] if isinstance(each, Tensor)]
    print(f"{workload.description}; inputs {', '.join(shapes)}\n")
    print(table(products))
    if options.json:
        path = Path(options.json)
        text = json.dumps([asdict(each) for each in products], indent=1) + "\n"
        try:
            write_files({path.name: text}, path.parent, option="--json")
        except OSError as error:
            parser.error(str(error))
    left = [each for each in products if not each.replaced]
    if left and not options.allow_unreplaced:
        parser.error(
            f"{len(left)} of {len(products)} products would stay in float, first {left[0].operator} in "
            f"{left[0].layer} ({left[0].reason}); replace it, or use --allow-unreplaced"
        )


if __name__ == "__main__":
    main()
