"""Fingerprints of what results depend on beside their arguments: what code does, not how it is written.

Of accuracy: the sources that train, calibrate and judge, comments aside, and what a configuration makes of
some fixed operands and of a small network, so that a faster kernel, or a new option of what puts networks on
an accumulator, leaves results valid. Of cost: the sources that generate, map and measure, and the tools'
versions.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

from golden.config import MacConfig

__all__ = ["Fingerprints", "import_closure", "source_text"]

ROOT = Path(__file__).resolve().parents[2]

#: What decides an accuracy beside the arithmetic of one product.
_ACCURACY_SOURCES = (
    *("sim/calibrate.py", "sim/operands.py", "sim/evaluate.py"),
    *("sim/data.py", "sim/benchmark_data.py", "sim/models.py", "sim/networks/resnet.py"),
    *("sim/zero_shot/benchmarks.py", "sim/zero_shot/rows.py"),
)

#: Raise it with any change of :mod:`sim.sweep.accuracy` after which it would give another result.
ACCURACY_VERSION = 1

#: Where the closure of a cost's sources begins, and the folders that it stays in.
_COST_ROOT = "sim.sweep.cost"
_COST_PACKAGES = ("hw", "golden")

#: Modules among them that are commands: nothing but the vectors of the proof is taken from them.
_COST_APART = ("hw.cost.synth", "hw.cost.timing_report")

#: Makes what MACs are driven with, by the calibration that accuracies have.
_STIMULI = "sim/activity.py"

_DIGITS = 24


class Fingerprints:
    """Fingerprints of this process's code."""

    @staticmethod
    @cache
    def accuracy(config: MacConfig | None) -> str:
        """Of results by a configuration's arithmetic, or by float32 (None)."""
        return _digest(_accuracy_sources(), "" if config is None else _probe(config))

    @staticmethod
    @cache
    def cost() -> str:
        """Of all costs."""
        sources = import_closure(_COST_ROOT, _COST_PACKAGES, _COST_APART).values()
        return _digest(*sources, _accuracy_sources(), source_text(ROOT / _STIMULI), _cost_versions())


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:_DIGITS]


@cache
def _accuracy_sources() -> str:
    texts = [source_text(ROOT / name) for name in _ACCURACY_SOURCES]
    return "\0".join([*texts, f"{ACCURACY_VERSION} torch {importlib.metadata.version('torch')}"])


def _probe(config: MacConfig) -> str:
    """What the arithmetic makes of operands of three sizes, and of a network: a digest."""
    import torch

    from sim.backends import find_backend
    from sim.inject import accumulate
    from sim.operands import quantize_operand

    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    digest = hashlib.sha256()
    for scale in (0.25, 1.0, 8.0):
        x, w = (
            quantize_operand(random(*shape) * scale, part, 1 / 16)
            for shape, part in (((16, 40), config.x), ((40, 8), config.w))
        )
        digest.update(find_backend("cpu").matmul(x, w, config).double().numpy().tobytes())
    functional = torch.nn.functional
    with accumulate(config), torch.no_grad():
        images = functional.conv2d(random(2, 3, 6, 6), random(4, 3, 3, 3), random(4), padding=1).relu()
        attention = images.flatten(2) @ images.flatten(2).transpose(1, 2)
        output = functional.linear(attention.flatten(1), random(5, 16), random(5))
    digest.update(output.double().numpy().tobytes())
    return digest.hexdigest()


def source_text(path: Path) -> str:
    """A module's code without comments, docstrings and layout."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            body[0] = ast.Pass()
    return ast.unparse(tree)


def import_closure(module: str, packages: tuple[str, ...], apart: tuple[str, ...] = ()) -> dict[str, str]:
    """Code of a module, and of all that it imports from these packages, by name, in order of names.

    ``apart``: modules that are left out, with what only they import.
    """
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = ROOT / f"{name.replace('.', '/')}.py"
        if name in found or name in apart or not path.is_file():
            continue
        found[name] = source_text(path)
        for node in ast.walk(ast.parse(found[name])):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
            elif isinstance(node, ast.Import):
                waiting += [each.name for each in node.names]
        waiting = [each for each in waiting if each.split(".")[0] in packages]
    return {name: found[name] for name in sorted(found)}


def _cost_versions() -> str:
    from hw.cost.timing import timer_name

    return f"pyosys {importlib.metadata.version('pyosys')}, {timer_name()}"
