"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from errno import EISDIR
from pathlib import Path

__all__ = ["write_files"]


def write_files(files: dict[str, str | bytes], folder: Path, *, option: str = "-o") -> None:
    """Write the files, or, where one cannot be written, none. A reader never sees a part of one.

    ``option``: of the command, by which its user names another folder. Raises OSError that says so.
    """
    try:
        _write(files, folder)
    except OSError as error:
        raise type(error)(
            f"cannot write to {folder}: {error.strerror}; name another folder with {option}"
        ) from error


def _write(files: dict[str, str | bytes], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if (folder / file).is_dir():
            raise IsADirectoryError(EISDIR, f"{file} is a folder there")
    scratch = {file: folder / f".{file}.{os.getpid()}" for file in files}
    try:
        for file, content in files.items():
            scratch[file].write_bytes(content.encode() if isinstance(content, str) else content)
        for file, temporary in scratch.items():
            temporary.replace(folder / file)
    finally:
        for temporary in scratch.values():
            temporary.unlink(missing_ok=True)
