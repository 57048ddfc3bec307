"""ONNX models as torch modules, whose every operator is a module with the name that it has in the file.

Conversion is by onnx2fx; the extra ``fmaq[onnx]`` brings it along.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from golden.config import ConfigError
from sim.workload import Arguments, Likeness, Workload

__all__ = ["load_onnx", "onnx_workload"]

_HELP = "run pip install 'fmaq[onnx]'"

#: Random inputs of a model that comes without any: so many along a dimension that the file leaves open,
#: integers below so much.
_OPEN, _BELOW = 8, 8


class _Operator(nn.Module):
    """One operator of the file, by the function that stands for it."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *operands, **options) -> Any:
        return self.function(*operands, **options)


def load_onnx(path: Path | str) -> nn.Module:
    """The network of an ONNX file, in eval mode.

    Its float initializers of more than one element are parameters, so that it can be trained; other constants
    are buffers. Raises :class:`ConfigError` where the packages are not installed, the file cannot be read or
    an operator is not known.
    """
    try:
        import onnx
        import onnx2fx
        from onnx2fx.exceptions import Onnx2FxError
    except ImportError as error:
        raise ConfigError(
            f"{path} needs the package {error.name}, which is not installed; {_HELP}"
        ) from error
    if not Path(path).is_file():
        raise ConfigError(f"there is no file {path}")
    try:
        model = onnx2fx.convert(onnx.load(str(path)))
    except Onnx2FxError as error:
        raise ConfigError(f"{path} cannot be converted: {error}; export it without that operator") from error
    except Exception as error:  # of protobuf and onnx, whatever the file's bytes make of them
        raise ConfigError(f"{path} cannot be read as ONNX ({type(error).__name__}: {error})") from error
    for name, buffer in list(model.named_buffers()):
        if buffer.is_floating_point() and buffer.numel() > 1:
            delattr(model, name)
            model.register_parameter(name, nn.Parameter(buffer.clone()))
    _name_operators(model)
    return model.eval()


def _name_operators(model: torch.fx.GraphModule) -> None:
    """Turn the graph's functions into modules with the operators' names."""
    taken: set[str] = set()
    for node in model.graph.nodes:
        if node.op != "call_function":
            continue
        path = _path(node.meta.get("onnx_name") or node.name)
        if isinstance(getattr(model, path.partition(".")[0], None), Tensor):
            path = f"operator.{path}"
        while path in taken:
            path += "_"
        taken.add(path)
        operator = _Operator(node.target)
        if path in dict(model.named_modules()):  # made as the parent of another operator
            operator._modules.update(model.get_submodule(path)._modules)
        model.add_submodule(path, operator)
        node.op, node.target = "call_module", path
    model.recompile()


def _path(name: str) -> str:
    """An operator's name as a dotted path of modules."""
    parts = [re.sub(r"\W", "_", part) for part in re.split(r"[/.]+", name) if part]
    return ".".join(f"{part}_" if hasattr(nn.Module, part) else part for part in parts)


def onnx_workload(path: Path, *, seed: int) -> Workload:
    """The file's network on random inputs, judged by likeness to its own float32 outputs."""
    model = load_onnx(path)
    try:
        batches = [_random_inputs(path, seed + i) for i in range(2)]
        return Likeness(
            name=path.stem,
            description=f"{path.name} on random inputs",
            model=model,
            batches=batches[:1],
            calibration=batches[1:],
            n=len(batches[0][0]) if batches[0][0].ndim else 1,
            unit="random inputs",
        )
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{path} does not run on random inputs ({type(error).__name__}: {error}); write a function that "
            "returns (sim.onnx_import.load_onnx(path), inputs), and name it as file.py:function"
        ) from error


def _random_inputs(path: Path, seed: int) -> Arguments:
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    constants = {each.name for each in graph.initializer}
    generator = torch.Generator().manual_seed(seed)
    inputs = [each for each in graph.input if each.name not in constants]
    if not inputs:
        raise ConfigError(f"{path} has no inputs")
    return tuple(_random_input(each, generator) for each in inputs)


def _random_input(value, generator: torch.Generator) -> Tensor:
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = value.type.tensor_type
    shape = [dim.dim_value or _OPEN for dim in kind.shape.dim]
    dtype = torch.from_numpy(np.zeros(1, tensor_dtype_to_np_dtype(kind.elem_type))).dtype
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    high = 2 if dtype is torch.bool else _BELOW
    return torch.randint(high, shape, generator=generator).to(dtype)
