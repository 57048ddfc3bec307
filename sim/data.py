"""Images to classify: handwritten digits, which come with scikit-learn, and Fashion-MNIST where it is.

Data sets that pretrained networks are judged on are in :mod:`sim.benchmark_data`.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["FASHION_HELP", "DataError", "Images", "digits_folds", "fashion_mnist", "find_fashion_mnist"]

BUILD = Path(__file__).resolve().parent.parent / "build"

#: Each digit is tested once, by a network that was trained on the other two thirds.
DIGIT_FOLDS = 3

_FASHION_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

#: File -> SHA-256 of what it holds, decompressed: repackaging changes a gzip file's bytes.
_FASHION_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

FASHION_HELP = (
    "install Debian's dataset-fashion-mnist, set FASHION_MNIST_DIR to a folder with its four .gz files, "
    f"or allow a download from {_FASHION_ADDRESS}"
)


class DataError(RuntimeError):
    """A data set that is not here, or not what it should be. The message says how to get it."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """A training set and a test set of small grey images."""

    train_images: Tensor  #: float32 [n, 1, rows, columns], from 0 to 1.
    train_labels: Tensor  #: int64 [n].
    test_images: Tensor
    test_labels: Tensor


def digits_folds() -> list[Images]:
    """The 1797 handwritten 8x8 digits, split three ways by index modulo 3; each part is a test set once."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target, dtype=torch.int64)
    folds = []
    for fold in range(DIGIT_FOLDS):
        tested = torch.arange(len(labels)) % DIGIT_FOLDS == fold
        folds.append(
            Images(
                train_images=images[~tested],
                train_labels=labels[~tested],
                test_images=images[tested],
                test_labels=labels[tested],
            )
        )
    return folds


def find_fashion_mnist() -> Path | None:
    """The first folder that has Fashion-MNIST: FASHION_MNIST_DIR, Debian's package, our own download."""
    given = os.environ.get("FASHION_MNIST_DIR")
    if given and not _is_complete(Path(given)):
        raise DataError(
            f"FASHION_MNIST_DIR is {given}, and that has not all of {', '.join(_FASHION_FILES)}, as .gz"
        )
    places = [Path(given)] if given else []
    places += [Path("/usr/share/datasets/fashion-mnist"), BUILD / "fashion-mnist"]
    for place in places:
        if _is_complete(place):
            return place
    return None


def _is_complete(folder: Path) -> bool:
    return all((folder / f"{name}.gz").is_file() for name in _FASHION_FILES)


def fashion_mnist(*, train: int, test: int, download: bool) -> Images:
    """The first ``train`` of 60 000 training and ``test`` of 10 000 test images of clothing, 28x28.

    Raises :class:`DataError` where they are not found (and not to be downloaded, or cannot be), or where
    a file's content has another SHA-256 than the published data.
    """
    folder = find_fashion_mnist()
    if folder is None and download:
        folder = _download(BUILD / "fashion-mnist")
    if folder is None:
        raise DataError(f"Fashion-MNIST is not on this machine; {FASHION_HELP}")
    contents = {name: _read(folder / f"{name}.gz", name) for name in _FASHION_FILES}

    def images(name: str, count: int) -> Tensor:
        pixels = np.frombuffer(contents[name], np.uint8, offset=16).reshape(-1, 1, 28, 28)[:count]
        return torch.tensor(pixels, dtype=torch.float32) / 255

    def labels(name: str, count: int) -> Tensor:
        return torch.tensor(np.frombuffer(contents[name], np.uint8, offset=8)[:count], dtype=torch.int64)

    return Images(
        train_images=images("train-images-idx3-ubyte", train),
        train_labels=labels("train-labels-idx1-ubyte", train),
        test_images=images("t10k-images-idx3-ubyte", test),
        test_labels=labels("t10k-labels-idx1-ubyte", test),
    )


def _read(path: Path, name: str) -> bytes:
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked ({error}); {FASHION_HELP}") from error
    if hashlib.sha256(content).hexdigest() != _FASHION_FILES[name]:
        raise DataError(f"{path} is not the published {name}: its SHA-256 differs; {FASHION_HELP}")
    return content


def _download(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FASHION_FILES:
        try:
            with urllib.request.urlopen(f"{_FASHION_ADDRESS}{name}.gz", timeout=60) as answer:
                packed = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise DataError(f"Fashion-MNIST could not be downloaded ({error}); {FASHION_HELP}") from error
        scratch = folder / f".{name}.{os.getpid()}"
        try:
            scratch.write_bytes(packed)
            _read(scratch, name)
            scratch.replace(folder / f"{name}.gz")
        finally:
            scratch.unlink(missing_ok=True)
    return folder
