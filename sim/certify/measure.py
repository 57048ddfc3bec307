"""``python -m sim.certify.measure``: the certificates of docs/results/certificates.json, each checked.

Rows that the file has already are not computed again. ``python -m tb.certificate_proof_run`` adds the proofs
on the RTL.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from golden.config import ConfigError, MacConfig
from hw.command_line import Parser
from hw.files import write_files
from sim.certify import tightness
from sim.certify.__main__ import main as certify
from sim.certify.page import layer_rows
from sim.zero_shot.measure import environment

__all__ = ["RESULTS", "main", "read_results", "write_results"]

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "docs" / "results" / "certificates.json"

#: Model, configuration, test inputs.
CERTIFICATES = (
    ("digits", "int16", 500),
    ("digits", "int20", 500),
    ("digits", "int32", 500),
    ("digits", "uint8_int8_p_exact_a_int20_floor_sat_c16", 500),
    ("digits", "fixed16", 500),
    ("digits", "float12", 500),
    ("digits", "float12-rne", 500),
    ("digits", "float12-g2", 500),
    ("resnet20", "int20", 100),
    ("resnet20", "uint8_int8_p_exact_a_int20_floor_sat_c16", 100),
    ("resnet20", "int4_int4_p_exact_a_int12_floor_sat_c16", 100),
    ("resnet20", "uint4_int4_p_exact_a_int12_floor_sat_c16", 100),
    ("resnet20", "fixed20", 100),
    ("resnet20", "float12", 100),
    ("resnet20", "float16", 100),
    ("minilm", "int20", 16),
    ("minilm", "float16", 16),
)

#: Configuration, length, and channels of which every input is tried.
EXHAUSTIVE = (
    ("e2m1_e2m1_p_exact_a_e4m3b6_rz_c2", 4, 64),
    ("e2m1_e2m1_p_exact_a_e4m3b6_rne_c2", 4, 64),
    ("e2m1_e2m1_p_e4m2b6_rz_a_e4m2b6_rz_g1_c4", 4, 64),
    ("e2m1_e2m1_p_e4m2b6_rne_a_e4m2b6_rne_g0_c2", 4, 64),
    ("e2m1s_e2m1s_p_e3m2sb2_rne_a_e4m3sb4_rne_c2", 4, 64),
)

#: Configuration, length.
SEARCHED = (
    ("e3m4_e3m4_p_e4m7b4_rz_a_e4m7b2_rz_c16", 64),
    ("e3m4_e3m4_p_e4m7b4_rne_a_e4m7b2_rne_c16", 64),
    ("e3m4_e3m4_p_e4m7b4_rz_a_e4m7b2_rz_g0_c16", 64),
    ("e3m4_e3m4_p_exact_a_e5m10_rz_c16", 64),
)


def read_results(path: Path) -> dict[str, Any]:
    """What a results file has, or nothing."""
    if not path.is_file():
        return {"command": "python -m sim.certify.measure", "rows": [], "tightness": [], "proofs": []}
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a results file of this command; name another --output") from error


def write_results(results: dict[str, Any], path: Path) -> None:
    """Write the file, whole."""
    write_files({path.name: json.dumps(results, indent=1) + "\n"}, path.parent)


def _certificate(model: str, config: str, inputs: int, seed: int, folder: Path) -> dict[str, Any]:
    path = folder / f"{model}-{config}.json"
    start = time.perf_counter()
    options = [model, "--config", config, "--inputs", str(inputs), "--seed", str(seed), "-o", str(path)]
    certify(options)
    seconds = time.perf_counter() - start
    certificate = json.loads(path.read_text())
    start = time.perf_counter()
    checker = Path(__file__).with_name(f"check_{certificate['certificate']}.py")
    run = subprocess.run([sys.executable, "-I", checker, path], capture_output=True, text=True, check=False)
    lines = run.stdout.splitlines()
    return {
        **{
            key: certificate[key]
            for key in ("certificate", "model", "config", "command", "seed", "n", "unit")
        },
        "seconds": seconds,
        "checker": {
            "status": run.returncode,
            "layers": len(lines),
            "holds": sum(line.endswith(": holds") for line in lines),
            "seconds": time.perf_counter() - start,
        },
        "layers": layer_rows(certificate),
        "made_by": certificate["made_by"],
    }


def _tightness(seed: int) -> list[dict[str, Any]]:
    rows = []
    for name, length, channels in EXHAUSTIVE:
        config = MacConfig.parse(name)
        found = tightness.exhaustive(config, length, channels=channels, seed=seed)
        rows.append({"config": name, "length": length, "seed": seed, **found})
    for name, length in SEARCHED:
        found = tightness.climbed(MacConfig.parse(name), length, sweeps=2, starts=3, seed=seed)
        rows.append({"config": name, "length": length, "seed": seed, **found})
    return [{**row, "made_by": environment("cpu")} for row in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute the rows that are missing; 0, or 2 with one sentence where that cannot be."""
    parser = Parser(prog="python -m sim.certify.measure", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", type=lambda text: text.split(","), metavar="MODEL,...", help="(default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "certificates", help="of the certificates themselves"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=RESULTS, metavar="FILE", help=f"(default: {RESULTS.name})"
    )
    options = parser.parse_args(arguments)
    try:
        return _measure(options)
    except (ConfigError, OSError) as error:
        parser.error(str(error))


def _measure(options: argparse.Namespace) -> int:
    wanted = [each for each in CERTIFICATES if options.models is None or each[0] in options.models]
    if not wanted:
        raise ConfigError(f"there are rows of {', '.join(sorted({each[0] for each in CERTIFICATES}))} only")
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for model, config, inputs in tqdm(wanted, disable=not sys.stderr.isatty()):
        key = f"{model} {config} {inputs} seed {options.seed}"
        results = read_results(options.output)
        known = {row["key"] for row in results["rows"]}
        if key not in known:
            row = {"key": key, **_certificate(model, config, inputs, options.seed, options.folder)}
            results = read_results(options.output)
            results["rows"].append(row)
            order = [f"{each[0]} {each[1]} {each[2]} seed {options.seed}" for each in CERTIFICATES]
            results["rows"].sort(
                key=lambda row: order.index(row["key"]) if row["key"] in order else len(order)
            )
            write_results(results, options.output)
            failed += row["checker"]["status"]
    results = read_results(options.output)
    if not results["tightness"]:
        results["tightness"] = _tightness(options.seed)
        write_results(results, options.output)
    print(options.output)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
