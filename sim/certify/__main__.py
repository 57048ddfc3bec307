"""``python -m sim.certify MODEL --config C``: what an accumulator can do to a network, by its weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from golden.config import ConfigError
from hw.command_line import Parser
from sim.certify.certificate import certify, write
from sim.certify.page import printed
from sim.data import DataError
from sim.inject import UnreplacedProductError, named_config
from sim.workloads import NAMES, find_workload

__all__ = ["main"]


def _parser() -> Parser:
    parser = Parser(prog="python -m sim.certify", description=__doc__.splitlines()[0])
    parser.add_argument(
        "model", metavar="MODEL", help=f"{', '.join(NAMES)}, path/to/file.py:function or path/to/model.onnx"
    )
    parser.add_argument(
        "--config", required=True, metavar="C", help="a configuration by any name: int16, float12, e5m10, ..."
    )
    parser.add_argument(
        "--calibrated",
        action="store_true",
        help="set accumulators layer by layer (default: as they are named)",
    )
    parser.add_argument(
        "--inputs", type=int, default=100, metavar="N",
        help="test inputs that sums are observed on, 0 for none (default: 100)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of training, sampling and data (default: 0)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("certificate.json"), metavar="FILE",
        help="the certificate; its weights lie beside it, as .safetensors (default: certificate.json)",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the certificate and print a table of it; 0, or 2 with one sentence where that cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.inputs < 0:
            raise ConfigError(f"--inputs must be 0 or more, not {options.inputs}")
        if options.output.suffix == ".safetensors":
            raise ConfigError(f"{options.output} is where the weights would go; name the certificate .json")
        config = named_config(options.config)
        workload = find_workload(options.model, count=max(options.inputs, 2), seed=options.seed)
        with tqdm(desc=workload.name, disable=not sys.stderr.isatty(), leave=False) as bar:

            def report(what: str, done: int, of: int) -> None:
                bar.set_description(f"{workload.name}: {what}")
                bar.total, bar.n = of, done
                bar.refresh()

            certificate, tensors = certify(
                workload,
                config,
                calibrated=options.calibrated,
                observed=options.inputs > 0,
                seed=options.seed,
                command=_command(options),
                report=report,
            )
        write(certificate, tensors, options.output)
    except (ConfigError, DataError, UnreplacedProductError, OSError) as error:
        parser.error(str(error))
    print(printed(certificate))
    print(f"{options.output}: check it with {certificate['check']}")
    return 0


def _command(options: argparse.Namespace) -> str:
    parts = ["python -m sim.certify", options.model, "--config", options.config]
    parts += ["--calibrated"] if options.calibrated else []
    return " ".join([*parts, f"--inputs {options.inputs} --seed {options.seed}"])


if __name__ == "__main__":
    sys.exit(main())
