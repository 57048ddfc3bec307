"""``python -m hw.generate``: the Verilog of an array and of its tile, with everything that goes with it.

Of the bare array NAME.v, NAME.vlt (lint waivers), NAME_tb.v (self-checking testbench) and NAME.json (what
the hardware is, its ports, its latency, SHA-256 of the other files, versions of the tools). Of the tile,
NAME_tile..., the same, and a file list, a FuseSoC core, timing constraints, and the register map as JSON,
C header and Markdown. NAME_tile_README.md says how to lint, simulate, synthesise and use it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from golden.catalog import CATALOG
from golden.config import ConfigError
from hw.array import SystolicArray
from hw.design import Design, design
from hw.files import write_files
from hw.manifest import manifest
from hw.options import parser
from hw.packaging import core_text, file_list, readme_text, sdc_text
from hw.register_text import register_header, register_json, register_markdown
from hw.selfcheck import testbench_text
from hw.tile import Tile
from hw.tile_manifest import tile_manifest, tile_offsets
from hw.tile_program import shipped_program
from hw.tile_selfcheck import tile_testbench_text
from hw.verilog import lint_waivers, verilog_text

__all__ = ["generate", "main"]

LARGE = 32 * 32  # MACs; announced, since nothing long should run silently


def generate(wanted: Design) -> dict[str, str]:
    """The files of a design: name -> text. The same design gives the same bytes."""
    return _array_files(wanted) | _tile_files(wanted)


def _array_files(wanted: Design) -> dict[str, str]:
    name = wanted.array.name
    array = SystolicArray(wanted.array)
    files = {
        f"{name}.v": verilog_text(array, name),
        f"{name}.vlt": lint_waivers(name),
        f"{name}_tb.v": testbench_text(array, name, wanted.mac),
    }
    return files | {f"{name}.json": _json(manifest(array, wanted.mac, _digests(files)))}


def _tile_files(wanted: Design) -> dict[str, str]:
    name = wanted.tile.name
    tile = Tile(wanted.tile)
    offsets = tile_offsets(tile, wanted.mac)
    files = {
        f"{name}.v": verilog_text(tile, name),
        f"{name}.vlt": lint_waivers(name),
        f"{name}_tb.v": tile_testbench_text(name, shipped_program(wanted.tile, wanted.mac)),
        f"{name}.f": file_list(name),
        f"{name}.core": core_text(name),
        f"{name}.sdc": sdc_text(tile, wanted.period_ns),
        f"{name}_registers.json": _json(register_json(wanted.tile)),
        f"{name}_registers.h": register_header(wanted.tile, offsets),
        f"{name}_registers.md": register_markdown(wanted.tile, offsets),
        f"{name}_README.md": readme_text(tile, wanted.period_ns),
    }
    return files | {f"{name}.json": _json(tile_manifest(tile, wanted.mac, _digests(files)))}


def _digests(files: dict[str, str]) -> dict[str, str]:
    return {file: hashlib.sha256(text.encode()).hexdigest() for file, text in files.items()}


def _json(content: dict) -> str:
    return json.dumps(content, indent=2) + "\n"


def _list(*, as_json: bool) -> str:
    if as_json:
        return json.dumps({short: config.name for short, config in CATALOG.items()}, indent=2)
    width = max(map(len, CATALOG))
    return "\n".join(f"{short:{width}}  {config.name}" for short, config in CATALOG.items())


def _summary(description: dict, files: dict[str, str], folder: Path) -> str:
    array, latency = description["array"], description["latency"]
    (readme,) = (file for file in files if file.endswith("_README.md"))
    lines = [
        f"{array['rows']} x {array['cols']} array of {description['mac']['name']}",
        f"a row of results {latency['array']} cycles after its activations; "
        f"{latency['weight_wait']} from the first activation of a pass to the weights of the next",
        *(
            f"{register}: load {entry['load']} ({entry['bits']} bits, {entry['low']} to {entry['high']})"
            for register, entry in description["offsets"].items()
        ),
        f"beside it the tile with AXI streams and registers; {folder / readme} has the commands for all",
        *(str(folder / file) for file in files),
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    command = parser()
    options: argparse.Namespace = command.parse_args(arguments)
    if options.list:
        try:
            print(_list(as_json=options.json), flush=True)
        except BrokenPipeError:  # whoever reads has seen enough; the interpreter flushes once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    try:
        wanted = design(options)
        if wanted.array.rows * wanted.array.cols > LARGE:
            print(f"{wanted.array.name} is large and takes minutes", file=sys.stderr, flush=True)
        files = generate(wanted)
    except ConfigError as error:
        command.error(str(error))
    if not options.folder:
        command.error("-o names no folder; give one, or -o . for this one")
    folder = Path(options.folder)
    try:
        write_files(files, folder)
    except OSError as error:
        command.error(str(error))
    description = files[f"{wanted.array.name}.json"]
    print(description if options.json else _summary(json.loads(description), files, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
