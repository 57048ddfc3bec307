"""``python -m hw.generate``: the Verilog of an array, with everything that goes with it.

Writes NAME.v, NAME.vlt (lint waivers), NAME_tb.v (self-checking testbench) and NAME.json (what the
hardware is, its ports, its latency, SHA-256 of the other files, versions of the tools).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from golden.catalog import CATALOG
from golden.config import ConfigError
from hw.array import SystolicArray
from hw.files import write_files
from hw.manifest import manifest
from hw.options import Design, design, parser
from hw.selfcheck import testbench_text
from hw.verilog import lint_waivers, verilog_text

__all__ = ["generate", "main"]

LARGE = 32 * 32  # MACs; announced, since nothing long should run silently


def generate(wanted: Design) -> dict[str, str]:
    """The files of a design: name -> text. The same design gives the same bytes."""
    name = wanted.array.name
    array = SystolicArray(wanted.array)
    files = {
        f"{name}.v": verilog_text(array, name),
        f"{name}.vlt": lint_waivers(name),
        f"{name}_tb.v": testbench_text(array, name, wanted.mac),
    }
    digests = {file: hashlib.sha256(text.encode()).hexdigest() for file, text in files.items()}
    description = json.dumps(manifest(array, wanted.mac, digests), indent=2) + "\n"
    return files | {f"{name}.json": description}


def _list(*, as_json: bool) -> str:
    if as_json:
        return json.dumps({short: config.name for short, config in CATALOG.items()}, indent=2)
    width = max(map(len, CATALOG))
    return "\n".join(f"{short:{width}}  {config.name}" for short, config in CATALOG.items())


def _summary(description: dict, folder: Path) -> str:
    array, latency = description["array"], description["latency"]
    lines = [
        f"{array['rows']} x {array['cols']} array of {description['mac']['name']}",
        f"a row of results {latency['array']} cycles after its activations; "
        f"{latency['pass_gap']} cycles between passes",
        *(
            f"{register}: load {entry['load']} ({entry['bits']} bits, {entry['low']} to {entry['high']})"
            for register, entry in description["offsets"].items()
        ),
        *(str(folder / file) for file in [*description["sha256"], f"{description['name']}.json"]),
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    command = parser()
    options: argparse.Namespace = command.parse_args(arguments)
    if options.list:
        print(_list(as_json=options.json))
        return 0
    try:
        wanted = design(options)
        if wanted.array.rows * wanted.array.cols > LARGE:
            print(f"{wanted.array.name} is large and takes minutes", file=sys.stderr, flush=True)
        files = generate(wanted)
    except ConfigError as error:
        command.error(str(error))
    folder = Path(options.folder)
    try:
        write_files(files, folder)
    except OSError as error:
        command.error(f"cannot write to {folder}: {error.strerror}; name another folder with -o")
    description = files[f"{wanted.array.name}.json"]
    print(description if options.json else _summary(json.loads(description), folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
