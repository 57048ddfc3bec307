"""The certificate of a network: layers, ranges, claims, and the integer weights beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from golden.config import Accumulator, FixedAccumulator, FloatQuantizer, Format, MacConfig
from hw.files import write_files
from sim.certify import fixed, floating
from sim.certify.layers import Layer, integer_range, layers_of
from sim.certify.observe import observe
from sim.certify.witness import witnesses
from sim.workloads import Workload
from sim.zero_shot.measure import environment

__all__ = ["certify", "write"]

Report = Callable[[str, int, int], None]


def certify(
    workload: Workload,
    config: MacConfig,
    *,
    calibrated: bool,
    observed: bool,
    seed: int,
    command: str,
    report: Report,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The certificate, and the integer weights by the name of their tensor.

    ``observed``: also what happens on the workload's test inputs. ``report`` is told what is being done, how
    much of it is done, and how much there is.
    """
    layers = layers_of(
        workload,
        config,
        calibrated=calibrated,
        seed=seed,
        report=lambda done, of: report("calibration", done, of),
    )
    is_fixed = isinstance(config.accumulator, FixedAccumulator)
    derive = (fixed if is_fixed else floating).claim
    told, tensors = [], {}
    for place, layer in enumerate(layers):
        ranges = {"format": integer_range(layer.config.x), "calibrated": layer.x_range}
        claims = {name: derive(layer, each) for name, each in ranges.items()}
        told.append(_layer(layer, place, claims, tensors))
        report("bounds", place + 1, len(layers))
    if observed:
        bounds = [each["claims"]["format"] for each in told]
        seen = observe(workload, layers, bounds, report=lambda done, of: report("test inputs", done, of))
        for each, happened in zip(told, seen, strict=True):
            each["observed"] = happened
    certificate = {
        "certificate": "fixed" if is_fixed else "float",
        "model": workload.name,
        "description": workload.description,
        "config": config.name,
        "calibrated": calibrated,
        "command": command,
        "seed": seed,
        "n": workload.n if observed else 0,
        "unit": workload.unit,
        "made_by": environment("cpu"),
        "weights": "",
        "check": "",
        "layers": told,
    }
    return certificate, tensors


def _layer(
    layer: Layer, place: int, claims: dict[str, Any], tensors: dict[str, np.ndarray]
) -> dict[str, Any]:
    config = layer.config
    about: dict[str, Any] = {
        "name": layer.name,
        "config": config.name,
        "length": layer.length,
        "channels": layer.channels,
        "x": _operand(config.x),
        "w": _operand(config.w),
        "scales": [layer.plan.x_scale, layer.plan.w_scale],
        "product": None if config.product is None else _stage(config.product),
        "inner": _stage(config.accumulator),
        "outer": _stage(config.outer_accumulator),
        "chunk": config.chunk_size,
        "tensor": None,
        "sha256": None,
    }
    if layer.weights is not None:
        tensor = _narrow(layer.weights)
        about["tensor"] = f"{place}.{layer.name}"
        about["sha256"] = hashlib.sha256(tensor.tobytes()).hexdigest()
        tensors[about["tensor"]] = tensor
    if isinstance(config.accumulator, FixedAccumulator):
        about["summary"] = fixed.summary(layer, claims)
    else:
        about["witnesses"] = witnesses(layer, claims["format"]["possible"])
    return about | {"claims": claims}


def _narrow(integers: np.ndarray) -> np.ndarray:
    """The same in the narrowest type that holds them."""
    most = max(int(integers.max(initial=0)), -int(integers.min(initial=0)))
    kind = next(kind for kind in (np.int8, np.int16, np.int32, np.int64) if most <= np.iinfo(kind).max)
    return np.ascontiguousarray(integers, dtype=np.dtype(kind).newbyteorder("<"))


def _operand(number: Format) -> dict[str, Any]:
    low, high = integer_range(number)
    return {
        "format": number.name,
        "low": low,
        "high": high,
        "lsb": number.lsb_exponent,
        "bits": number.significand_bits,
        "least": floating.least_integer(number),
    }


def _stage(part: FloatQuantizer | Accumulator) -> dict[str, Any]:
    number = part.format
    about = {"name": part.name, "rounding": part.rounding.value, "lsb": number.lsb_exponent}
    if isinstance(part, FixedAccumulator):
        return about | {"bits": number.bits, "overflow": part.overflow.value}
    return about | {
        "bits": number.significand_bits,
        "least": floating.least_integer(number),
        "high": number.max_magnitude,
        "subnormals": number.subnormals,
        "guard": getattr(part, "alignment_bits", None),
    }


def write(certificate: dict[str, Any], tensors: dict[str, np.ndarray], path: Path) -> None:
    """Write the certificate and, beside it, its weights."""
    weights = path.with_suffix(".safetensors")
    certificate["weights"] = weights.name
    certificate["check"] = f"python sim/certify/check_{certificate['certificate']}.py {path}"
    files = {
        weights.name: safetensors.numpy.save(tensors),
        path.name: json.dumps(certificate, indent=1) + "\n",
    }
    write_files(files, path.parent)
