"""An ONNX network that others trained: Magika, on the files of a Python installation.

Magika (Apache-2.0) tells the type of a file from 1024 bytes of its start and as many of its end; the network
comes inside the PyPI package magika. It is judged on files of this Python installation whose names tell what
they are.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from golden.config import ConfigError
from sim.onnx_import import load_onnx
from sim.workload import Classification

__all__ = ["MAGIKA_HELP", "MagikaWorkload", "find_magika", "magika_workload", "pretrained_magika", "tokens"]

MAGIKA_HELP = "run pip install --no-deps magika==1.0.3 (its own dependencies are not needed)"

_FOLDER = Path("models", "standard_v3_3")
_SHA256 = {
    "model.onnx": "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    "config.min.json": "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
}

#: Bytes that are looked at, at either end, before white space is cut off; tokens of either end; and no byte.
_BLOCK, _SIDE, _PADDING = 4096, 1024, 256

#: Smaller files say too little.
_SMALLEST = 64

#: Files in a batch, and files that calibration sees.
_AT_ONCE, _CALIBRATION = 25, 50

#: Endings that leave no doubt -> the network's name of the type.
_TYPES = {
    **{f".{name}": name for name in ("css", "csv", "gif", "html", "ini", "json", "npy", "npz", "pdf", "pem")},
    **{
        f".{name}": name for name in ("png", "proto", "rst", "svg", "toml", "ttf", "wav", "xml", "xz", "yaml")
    },
    **{f".{name}": name for name in ("c", "cmake", "cpp", "onnx")},
    **{".py": "python", ".pyc": "pythonbytecode", ".so": "elf", ".exe": "pebin", ".md": "markdown"},
    **{
        ".gz": "gzip",
        ".bz2": "bzip",
        ".jpg": "jpeg",
        ".js": "javascript",
        ".f90": "fortran",
        ".v": "verilog",
    },
}


def find_magika() -> Path | None:
    """The folder of the installed package's model, or None. Nothing of the package is run."""
    spec = importlib.util.find_spec("magika")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / _FOLDER


def _published(name: str) -> Path:
    folder = find_magika()
    if folder is None:
        raise ConfigError(f"Magika is not on this machine; {MAGIKA_HELP}")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise ConfigError(f"{folder / name} cannot be read ({error}); {MAGIKA_HELP}") from error
    if hashlib.sha256(content).hexdigest() != _SHA256[name]:
        raise ConfigError(f"{folder / name} is not the published one: its SHA-256 differs; {MAGIKA_HELP}")
    return folder / name


def pretrained_magika() -> Path:
    """The published network's file.

    Raises :class:`ConfigError` where the package is not installed or has another.
    """
    return _published("model.onnx")


def tokens(start: bytes, end: bytes) -> list[int]:
    """What the network reads of a file's first and last 4096 bytes: 2048 numbers, 256 where nothing is."""
    start, end = start[:_BLOCK].lstrip()[:_SIDE], end[-_BLOCK:].rstrip()[-_SIDE:]
    padding = [_PADDING] * (2 * _SIDE - len(start) - len(end))
    return [*start, *padding, *end]


def _files(seed: int, per_type: int) -> Iterator[tuple[str, list[int]]]:
    """Type and tokens of up to so many different files of each type, in a random order."""
    roots = {Path(sysconfig.get_paths()[part]) for part in ("stdlib", "purelib")}
    paths = {
        path.relative_to(root): path
        for root in sorted(roots)
        for path in root.rglob("*")
        if path.suffix in _TYPES
    }
    order = np.random.default_rng(seed).permutation(len(paths))
    names = sorted(paths)
    count, seen = Counter(), set()
    for place in order:
        path = paths[names[place]]
        kind = _TYPES[path.suffix]
        if count[kind] >= per_type or not path.is_file() or path.stat().st_size < _SMALLEST:
            continue
        with path.open("rb") as file:
            start = file.read(_BLOCK)
            file.seek(max(0, path.stat().st_size - _BLOCK))
            read = tokens(start, file.read())
        if tuple(read) not in seen:
            seen.add(tuple(read))
            count[kind] += 1
            yield kind, read


def magika_workload(*, per_type: int, seed: int) -> MagikaWorkload:
    """The network on up to ``per_type`` files of each type.

    Raises :class:`ConfigError` where the package is not installed or has another network.
    """
    names = json.loads(_published("config.min.json").read_bytes())["target_labels_space"]
    files = list(_files(seed, per_type))
    if len(files) <= _CALIBRATION:
        raise ConfigError(f"this Python installation has {len(files)} files to tell; use a larger --per-type")
    labels = torch.tensor([names.index(kind) for kind, _ in files])
    inputs = torch.tensor([read for _, read in files], dtype=torch.int32)
    return MagikaWorkload(load_onnx(pretrained_magika()), inputs, labels, names)


class MagikaWorkload(Classification):
    """Files by type, the largest output without thresholds; the last ones are for calibration."""

    def __init__(self, model: torch.nn.Module, inputs: Tensor, labels: Tensor, names: Sequence[str]):
        n = len(labels) - _CALIBRATION
        super().__init__(
            name="magika",
            description="Magika 1.0.3 (standard_v3_3) on files of a Python installation",
            model=model,
            batches=[(part,) for part in inputs[:n].split(_AT_ONCE)],
            labels=labels[:n],
            calibration=[(part,) for part in inputs[n:].split(_AT_ONCE)],
            calibration_labels=labels[n:],
            unit="files",
        )
        self.types = Counter(names[label] for label in self.labels.tolist())
        self.digest = hashlib.sha256(inputs[:n].numpy().tobytes() + labels[:n].numpy().tobytes()).hexdigest()
