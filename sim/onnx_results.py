"""``python -m sim.onnx_results``: an ONNX network's accuracy on narrow accumulators, without retraining.

Results are written after each row, and rows that the file has already are not computed again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from golden.config import ConfigError, MacConfig
from hw.command_line import Parser
from hw.files import write_files
from sim.calibrate import calibrate, sample_layers
from sim.inject import accumulate
from sim.layers import named_config
from sim.magika import MagikaWorkload, magika_workload, pretrained_magika
from sim.operands import LayerConfig
from sim.products import list_products
from sim.zero_shot.measure import environment

__all__ = ["section"]

ROOT = Path(__file__).resolve().parent.parent

_COMMAND = "python -m sim.onnx_results"

#: Files of which the converted network's answers are compared with onnxruntime's.
_COMPARED = 4


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row: a configuration, as it is named or calibrated by layer."""

    label: str
    calibrated: bool

    @property
    def key(self) -> str:
        return f"{self.label}{', calibrated' if self.calibrated else ''}"


_LABELS = ("float16", "float12", "float12-rne", "float10", "float8", "int16", "int12")

_ROWS = [_Row(label=label, calibrated=calibrated) for label in _LABELS for calibrated in (False, True)]


def _plan(workload: MagikaWorkload, row: _Row, config: MacConfig, seed: int) -> MacConfig | list[LayerConfig]:
    if not row.calibrated:
        return config
    inputs = torch.cat([batch for (batch,) in workload.calibration])
    return calibrate(sample_layers(workload.model, inputs, seed=seed), config, shared=None)


def _measure(workload: MagikaWorkload, row: _Row, reference: Sequence[Tensor], seed: int) -> dict[str, Any]:
    """The row of the results, its command aside."""
    config = named_config(row.label)
    plan = _plan(workload, row, config, seed)
    outputs, start = [], time.perf_counter()
    with accumulate(plan) as mode:
        for batch in tqdm(workload.batches, desc=row.key, leave=False, disable=not sys.stderr.isatty()):
            outputs += workload.outputs([batch])
    same = torch.cat(outputs).argmax(1) == torch.cat(list(reference)).argmax(1)
    return {
        "key": row.key,
        "label": row.label,
        "config": config.name,
        "calibrated": row.calibrated,
        "n": workload.n,
        "seed": seed,
        **workload.compared(outputs, reference),
        "same_as_float32": 100 * float(same.float().mean()),
        "products": mode.calls,
        "unreplaced": mode.unreplaced,
        "layers": [layer.config.name for layer in plan] if row.calibrated else [],
        "seconds": time.perf_counter() - start,
        "made_by": _environment(),
    }


def _environment() -> dict[str, Any]:
    from importlib.metadata import version

    return {**environment("cpu"), **{name: version(name) for name in ("onnx", "onnx2fx", "magika")}}


def _difference(workload: MagikaWorkload) -> float | None:
    """How far the converted network's probabilities are from onnxruntime's at most, if that is installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    inputs = workload.batches[0][0][:_COMPARED]
    session = onnxruntime.InferenceSession(pretrained_magika(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"bytes": inputs.numpy()})
    return float(np.abs(workload.outputs([(inputs,)])[0].numpy() - wanted).max())


def _results(workload: MagikaWorkload, options) -> dict[str, Any]:
    """Of these files whatever the output has already, else only what is known of the network."""
    about = {
        "command": f"{_COMMAND} --per-type {options.per_type} --seed {options.seed}",
        "network": workload.description,
        "digest": workload.digest,
        "n": workload.n,
        "types": dict(sorted(workload.types.items())),
    }
    if options.output.is_file():
        try:
            known = json.loads(options.output.read_text())
            if all(known[name] == value for name, value in about.items()):
                return known
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{options.output} is not a results file of this command; name another --output"
            ) from error
    products = list_products(workload.model, *workload.batches[0])
    return {
        **about,
        "products": [[each.layer.rpartition("MagikaV2.")[2], each.length] for each in products],
        "macs": sum(each.macs or 0 for each in products) // len(workload.batches[0][0]),
        "compared": _COMPARED,
        "conversion_difference": _difference(workload),
        "rows": [],
    }


def section(results: dict[str, Any]) -> str:
    """The table of the results, in Markdown."""
    rows = results["rows"]
    if not rows:
        raise ConfigError(f"there are no rows in these results; run {_COMMAND}")
    layers = ", ".join(f"{name} (K = {length})" for name, length in results["products"])
    made, kinds = rows[0]["made_by"], len(results["types"])
    float32, macs = rows[0]["float32_value"], results["macs"] / 1e6
    lines = [
        "## An ONNX network",
        "",
        f"{results['network']}: {results['n']} files of {kinds} types, told by their names. The largest "
        f"output is taken as it is; float32 gets {float32:.2f} %. A file takes {macs:.0f} million MACs in "
        f"{len(results['products'])} products: {layers}." + _conversion(results),
        "",
        "| accumulator | offsets | accuracy, % | points against float32 [95 % interval] | as float32, % |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        low, high = row["interval"]
        cells = [
            f"`{row['label']}`",
            "by layer, calibrated" if row["calibrated"] else "as named",
            f"{row['value']:.2f}",
            f"{row['difference']:+.2f} [{low:+.2f}, {high:+.2f}]",
            f"{row['same_as_float32']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            *lines,
            "",
            f"All rows by `{results['command']}`; seed {rows[0]['seed']}, {made['backend']} backend, with "
            f"torch {made['torch']}, onnx {made['onnx']} and onnx2fx {made['onnx2fx']}. Another Python "
            "installation has other files.",
            "",
        ]
    )


def _conversion(results: dict[str, Any]) -> str:
    difference = results["conversion_difference"]
    if difference is None:
        return ""
    return (
        f" The converted network's probabilities differ from onnxruntime's by at most {difference:.1e} "
        f"({results['compared']} files)."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows; 0, or 2 with one sentence where what was asked cannot be."""
    parser = Parser(prog=_COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--per-type", type=int, default=15, help="files of each type, at most (default: 15)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of files (default: 0)")
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "docs" / "results" / "onnx.json", metavar="FILE",
        help="results (default: docs/results/onnx.json)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        if options.per_type < 1 or options.seed < 0:
            raise ConfigError("--per-type must be at least 1, and --seed at least 0")
        workload = magika_workload(per_type=options.per_type, seed=options.seed)
        results = _results(workload, options)
        finished = {row["key"] for row in results["rows"]}
        wanted = [row for row in _ROWS if row.key not in finished]
        reference = workload.outputs() if wanted else []
        for row in wanted:
            measured = _measure(workload, row, reference, options.seed)
            results["rows"].append({**measured, "command": results["command"]})
            write_files({options.output.name: json.dumps(results, indent=1) + "\n"}, options.output.parent)
            print(
                f"{row.key}: {measured['value']:.2f} %, float32 {measured['float32_value']:.2f} %",
                file=sys.stderr,
            )
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    print(section(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
