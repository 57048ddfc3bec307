"""Technologies by name: cell libraries that are public, found on this machine or downloaded.

A named technology is one text for everybody: its files are known by the SHA-256 of what is in them, plain or
gzipped, wherever they were found. ``python -m hw.cost.technologies`` lists what is where, and fetches.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from golden.config import ConfigError
from hw.command_line import Parser
from hw.cost.cells import Library, builtin_library, liberty_library, read_liberty_text
from hw.files import write_files

__all__ = [
    "BUILTIN",
    "FOLDER_VARIABLE",
    "TECHNOLOGIES",
    "LibertyFile",
    "Technology",
    "add_technology_options",
    "chosen_library",
    "find_technology",
    "main",
    "technology_name",
]

#: Name of the area-only table that comes with the project.
BUILTIN = "builtin"

#: Names the folder that is looked through first.
FOLDER_VARIABLE = "FMAQ_LIBERTY_DIR"

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "liberty"
_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class LibertyFile:
    """One Liberty text: how its file may be called, and where it is public."""

    names: tuple[str, ...]  #: Of files, the first of which a download gets; with or without ``.gz``.
    addresses: tuple[str, ...]  #: Tried in turn, plain or gzipped.
    sha256: str  #: Of the text, uncompressed.


@dataclass(frozen=True, kw_only=True, slots=True)
class Technology:
    """A public cell library, in one or more parts."""

    name: str
    what: str
    licence: str
    files: tuple[LibertyFile, ...]


_RAW = "https://raw.githubusercontent.com/The-OpenROAD-Project"
_FLOW = f"{_RAW}/OpenROAD-flow-scripts/master/flow/platforms"


def _asap7(part: str, commit: str, sha256: str) -> LibertyFile:
    name = f"asap7_{part}.lib"
    return LibertyFile(names=(name,), addresses=(f"{_RAW}/OpenSTA/{commit}/test/{name}.gz",), sha256=sha256)


TECHNOLOGIES = {
    technology.name: technology
    for technology in (
        Technology(
            name="sky130hd",
            what="SkyWater 130 nm, sky130_fd_sc_hd, typical, 25 C, 1.80 V",
            licence="Apache-2.0",
            files=(
                LibertyFile(
                    names=("sky130hd_tt.lib", "sky130_fd_sc_hd__tt_025C_1v80.lib"),
                    addresses=(
                        f"{_FLOW}/sky130hd/lib/sky130_fd_sc_hd__tt_025C_1v80.lib",
                        f"{_RAW}/OpenSTA/b04def2de07e3bcec6a648c2d491e5fcff09ebd0/examples/sky130hd_tt.lib.gz",
                    ),
                    sha256="70a45bf9b5ea8f6a701dc34744b5c767b38e1af31b1d1f97309a97ec64603ecf",
                ),
            ),
        ),
        Technology(
            name="asap7",
            what="ASAP7 7 nm predictive, RVT, typical, simple gates, inverters and flip-flops",
            licence="BSD-3-Clause",
            files=(
                _asap7(
                    "simple",
                    "40f8453dc372b6fc73ef32debcc3071c5e7d774b",
                    "54b02517f11a890cb18a3082d4ba8d9dcb4bffddc259418fc829edb43841bd4c",
                ),
                _asap7(
                    "invbuf",
                    "f8a9e1771b80899ff43189362725dff70c2ed057",
                    "d24ebd84eec9b3dc6b20106253595cc2c84e51cc621a901712fc6b672a2bcb99",
                ),
                _asap7(
                    "seq",
                    "40f8453dc372b6fc73ef32debcc3071c5e7d774b",
                    "159d1249cd16e33521c5e53c6edd71d5c5b47465b552eab1ab175bac49e5af59",
                ),
            ),
        ),
    )
}


def download_folder() -> Path:
    """Where downloads are kept, of every copy of the project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fmaq" / "liberty"


def _places() -> list[Path]:
    """Folders in the order in which they are looked through."""
    given = os.environ.get(FOLDER_VARIABLE)
    return [*([Path(given)] if given else []), _BESIDE, download_folder()]


def _candidates(file: LibertyFile) -> Iterator[Path]:
    for place in _places():
        for name in file.names:
            yield from (path for path in (place / name, place / f"{name}.gz") if path.is_file())


def _is_text_of(file: LibertyFile, text: str) -> bool:
    return hashlib.sha256(text.encode()).hexdigest() == file.sha256


def locate(file: LibertyFile) -> Path | None:
    """The first file of these names that has this text, or None. One with another text is passed over."""
    for path in _candidates(file):
        if _is_text_of(file, read_liberty_text(path)):
            return path
    return None


def fetch(file: LibertyFile) -> Path:
    """Download the file, check its text, and keep it in :func:`download_folder`.

    Raises :class:`ConfigError` where no address has it.
    """
    failures = []
    for address in file.addresses:
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
                content = answer.read()
            text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        except (OSError, EOFError, ValueError, http.client.HTTPException) as error:
            failures.append(f"{address}: {error}")
            continue
        if hashlib.sha256(text).hexdigest() != file.sha256:
            failures.append(f"{address}: another text, by its SHA-256")
            continue
        name = f"{file.names[0]}.gz"
        write_files({name: gzip.compress(text, mtime=0)}, download_folder())
        return download_folder() / name
    raise ConfigError(
        f"{file.names[0]} is not on this machine and could not be downloaded ({'; '.join(failures)}); put it "
        f"into a folder that {FOLDER_VARIABLE} names, or use the technology {BUILTIN!r}, which has areas only"
    )


@cache
def _read_library(paths: tuple[Path, ...], _stamps: tuple[int, ...]) -> Library:
    return liberty_library(paths)


def _library(paths: Sequence[Path]) -> Library:
    """The library of these files, read once in a process unless they change."""
    return _read_library(
        tuple(paths), tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in paths)
    )


def find_technology(name: str) -> Library:
    """The cells of a technology: a name of :data:`TECHNOLOGIES`, ``builtin``, or paths of Liberty files.

    Paths are joined by ``:`` where a library comes in parts. Raises :class:`ConfigError` if there is none
    such, or if a named one is neither on this machine nor to be downloaded.
    """
    if name == BUILTIN:
        return builtin_library()
    if name in TECHNOLOGIES:
        return _library([locate(file) or fetch(file) for file in TECHNOLOGIES[name].files])
    paths = [Path(part) for part in name.split(":") if part]
    if not paths or not any(mark in name for mark in "./"):
        known = ", ".join([*TECHNOLOGIES, BUILTIN])
        raise ConfigError(f"no technology called {name!r}; use {known}, or the path of a Liberty file")
    return _library(paths)


def add_technology_options(parser: argparse.ArgumentParser, *, default: str) -> None:
    """``--tech`` and ``--liberty``, which :func:`chosen_library` reads."""
    parser.add_argument(
        "--tech",
        metavar="NAME",
        help=f"a technology: {', '.join([*TECHNOLOGIES, BUILTIN])}, or Liberty files joined by ':' "
        f"(default {default})",
    )
    parser.add_argument(
        "--liberty",
        action="append",
        type=Path,
        metavar="FILE",
        help="a cell library, plain or gzipped, in place of a technology; once for each of its parts",
    )
    parser.set_defaults(default_technology=default)


def technology_name(options: argparse.Namespace) -> str:
    """What :func:`find_technology` takes, from options. Raises :class:`ConfigError` where both are given."""
    if options.liberty and options.tech:
        raise ConfigError(f"--tech {options.tech} and --liberty are two libraries; give one of them")
    if options.liberty:
        return ":".join(str(path if len(path.parts) > 1 else Path(".", path)) for path in options.liberty)
    return options.tech or options.default_technology


def chosen_library(options: argparse.Namespace) -> Library:
    """The library that the options of :func:`add_technology_options` name."""
    if options.liberty and not options.tech:
        return _library(options.liberty)
    return find_technology(technology_name(options))


def _listing() -> str:
    lines = [f"{BUILTIN}: areas of sky130_fd_sc_hd, no timing; comes with the project"]
    for technology in TECHNOLOGIES.values():
        lines.append(f"{technology.name}: {technology.what} ({technology.licence})")
        for file in technology.files:
            found = locate(file)
            lines.append(
                f"  {file.names[0]}: {found or f'not on this machine; public at {file.addresses[0]}'}"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = Parser(
        prog="python -m hw.cost.technologies",
        description="List cell libraries by name, with where each was found; or fetch one.",
    )
    parser.add_argument(
        "--fetch", nargs="+", choices=list(TECHNOLOGIES), default=[], metavar="NAME", help="download these"
    )
    options = parser.parse_args(arguments)
    try:
        for name in options.fetch:
            for file in TECHNOLOGIES[name].files:
                if locate(file) is None:
                    fetch(file)
        print(_listing())
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
