"""``python -m hw.cost.synth CONFIG...``: area of MACs and arrays, by part, proved on golden vectors."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Sequence

from golden.catalog import find
from golden.config import MAX_STAGES, ArrayConfig, ConfigError, MacConfig, Silicon
from golden.stimulus import MacVectors, mac_vectors
from hw.command_line import Parser
from hw.cost.area import AreaRow, ArrayArea, area, array_area, need_mappable
from hw.cost.cells import Library
from hw.cost.check import MIN_VECTORS, NetlistError
from hw.cost.flow import SynthesisError
from hw.cost.technologies import BUILTIN, add_technology_options, chosen_library
from hw.options import DEPTH
from hw.verilator_env import ToolMissingError

__all__ = ["golden_vectors", "main"]

SEED = 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m hw.cost.synth",
        description="Map MACs to standard cells for least area, and report um2 and NAND2 equivalents.",
    )
    parser.add_argument(
        "configs",
        nargs="+",
        metavar="CONFIG",
        help="short names such as float12, or canonical ones; python -m hw.generate --list has them",
    )
    add_technology_options(parser, default=BUILTIN)
    parser.add_argument(
        "--array", type=_side_lengths, metavar="ROWSxCOLS", help="report an array of so many MACs too"
    )
    parser.add_argument(
        "--depth",
        type=int,
        metavar="D",
        help=f"most activation vectors in a tile of the array (default {DEPTH})",
    )
    parser.add_argument(
        "--stages",
        type=int,
        choices=range(MAX_STAGES + 1),
        default=0,
        metavar="N",
        help=f"registers in a MAC besides its output register, 0 to {MAX_STAGES} (default 0)",
    )
    parser.add_argument(
        "--hardwired", action="store_true", help="exponent offsets as constants instead of registers"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _side_lengths(text: str) -> tuple[int, int]:
    if re.fullmatch(r"\d+x\d+", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write ROWSxCOLS, as in 16x16")
    rows, cols = map(int, text.split("x"))
    return rows, cols


def _silicon(config: MacConfig, *, hardwired: bool) -> Silicon:
    return config.hardwired if hardwired else config.silicon


def golden_vectors(silicon: Silicon) -> MacVectors:
    """The vectors that a netlist is tried on before its area is quoted."""
    return mac_vectors(silicon.config, MIN_VECTORS, SEED, hardwired=silicon.hardwired)


def _table(parts: dict[str, float], whole: float, nand2_um2: float) -> list[str]:
    rows = [(name, um2, um2 / nand2_um2, um2 / whole) for name, um2 in parts.items()]
    width = max(map(len, parts))
    return [
        f"  {'part':{width}}  {'um2':>11} {'NAND2':>9} {'share':>7}",
        *(f"  {name:{width}}  {um2:11.1f} {nand2:9.1f} {share:7.1%}" for name, um2, nand2, share in rows),
    ]


def _report(name: str, row: AreaRow, library: Library) -> str:
    parts = {**row.parts, "remainder": row.remainder, "whole": row.um2}
    events = ", ".join(f"{event} {hits}" for event, hits in row.events.items())
    return "\n".join(
        [
            f"{name} ({row.silicon}, {row.stages} stages): {row.um2:.1f} um2, {row.nand2:.1f} NAND2, "
            f"{row.cells} cells of {row.library}",
            *_table(parts, row.um2, library.nand2_um2),
            f"  smallest of {', '.join(f'{recipe} {um2:.1f}' for recipe, um2 in row.recipe_um2.items())}",
            f"  netlist = golden on {row.vectors} vectors ({events})",
        ]
    )


def _array_report(row: ArrayArea, library: Library) -> str:
    head = f"{row.array}: {row.um2:.1f} um2, {row.nand2:.1f} NAND2"
    return "\n".join([head, *_table({**row.parts, "whole": row.um2}, row.um2, library.nand2_um2)])


def _run(options: argparse.Namespace) -> str:
    """What the command prints. Raises :class:`ConfigError` for what cannot be asked."""
    if options.depth is not None and options.array is None:
        raise ConfigError("--depth says nothing without an array; give --array ROWSxCOLS with it")
    library = chosen_library(options)
    silicons = [_silicon(find(name), hardwired=options.hardwired) for name in options.configs]
    arrays = []
    if options.array is not None:
        rows, cols = options.array
        depth = DEPTH if options.depth is None else options.depth
        arrays = [
            ArrayConfig(
                silicon=silicon, rows=rows, cols=cols, stages=options.stages, depth=depth, events=False
            )
            for silicon in silicons
        ]
        for array in arrays:
            need_mappable(array)
    macs = area(silicons, library=library, stages=options.stages, vectors=golden_vectors, progress=_progress)
    around = _arrays(arrays, macs, library)
    if options.json:
        named = zip(options.configs, macs, strict=True)
        return json.dumps(
            {
                "macs": [{"config": name, **dataclasses.asdict(row)} for name, row in named],
                "arrays": [dataclasses.asdict(row) for row in around],
            },
            indent=2,
        )
    reports = [_report(name, row, library) for name, row in zip(options.configs, macs, strict=True)]
    return "\n\n".join(reports + [_array_report(row, library) for row in around])


def _arrays(arrays: Sequence[ArrayConfig], macs: Sequence[AreaRow], library: Library) -> list[ArrayArea]:
    found = []
    for config, mac in zip(arrays, macs if arrays else [], strict=True):
        _progress(f"mapping what is around the MACs of {config.name}")
        found.append(array_area(config, mac, library=library))
    return found


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    parser = _parser()
    try:
        print(_run(parser.parse_args(arguments)))
    except (ConfigError, ToolMissingError) as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
