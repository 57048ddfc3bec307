"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from errno import EISDIR
from pathlib import Path

__all__ = ["write_files"]


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write the files, or, where one cannot be written, none. A reader never sees a part of one."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if (folder / file).is_dir():
            raise IsADirectoryError(EISDIR, f"{file} is a folder there")
    scratch = {file: folder / f".{file}.{os.getpid()}" for file in files}
    try:
        for file, text in files.items():
            scratch[file].write_text(text)
        for file, temporary in scratch.items():
            temporary.replace(folder / file)
    finally:
        for temporary in scratch.values():
            temporary.unlink(missing_ok=True)
