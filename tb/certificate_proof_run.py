"""``python -m tb.certificate_proof_run CERTIFICATE``: the claims of one layer, proved again on the RTL."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from tqdm import tqdm

from golden import arith
from golden.config import ConfigError, FixedAccumulator, FloatFormat, Format, MacConfig
from golden.rounding import Unpacked, pack
from hw.command_line import Parser
from sim.certify.measure import RESULTS, read_results, write_results
from tb.certificate_circuit import UndecidedError
from tb.certificate_proof import Channel, narrower
from tb.verify.rows import python_versions

__all__ = ["channel_of", "main", "prove_layer"]


def channel_of(layer: dict[str, Any], weights: Sequence[int], config: MacConfig) -> Channel:
    """A channel of a layer of a certificate, its inputs the whole range of their format."""
    x = layer["x"]
    return Channel(
        config=config,
        w_codes=tuple(_code(each, config.w) for each in weights),
        x_low=_code(x["low"], config.x),
        x_high=_code(x["high"], config.x),
    )


def _code(integer: int, number: Format) -> int:
    """The code of so many units of the format's last bit."""
    if not isinstance(number, FloatFormat):
        return integer & (2**number.bits - 1)
    return pack(Unpacked(integer < 0, abs(integer), number.lsb_exponent), number)


def _at_width(config: MacConfig, bits: int) -> MacConfig:
    accumulator = replace(config.accumulator, format=replace(config.accumulator.format, bits=bits))
    return replace(config, accumulator=accumulator, outer=None)


def prove_layer(
    layer: dict[str, Any], weights: np.ndarray, channels: Sequence[int], *, seconds: float, show: bool
) -> dict[str, Any]:
    """Prove these channels, and one bit below show that a flag can be raised; a row of the results.

    Fixed-point accumulators have the least width that the certificate calls lossless, float ones are as the
    layer has them.
    """
    config, claim = MacConfig.parse(layer["config"]), layer["claims"]["format"]
    fixed = isinstance(config.accumulator, FixedAccumulator)
    if fixed:
        config = _at_width(config, max(claim["widths"]))
    elif any(each.endswith("overflow") for each in claim["possible"]):
        raise ConfigError(f"{layer['name']} may overflow, its certificate says; take a layer that cannot")
    proofs = []
    for n in tqdm(channels, desc=layer["name"], disable=not show):
        proof = channel_of(layer, weights[n].tolist(), config).prove(seconds=seconds)
        if fixed:
            half = 2 ** (config.accumulator.format.bits - 1)
            reached = [(code + half) % (2 * half) - half for code in (proof.low, proof.high)]
            if reached != [claim["low"][n], claim["high"][n]]:
                raise AssertionError(f"channel {n} of the RTL reaches {reached}, not what is claimed")
        proofs.append(proof)
    return {
        "layer": layer["name"],
        "rtl": config.silicon.mac_name,
        "chunk": config.chunk_size,
        "channels": len(proofs),
        "steps": sum(proof.steps for proof in proofs),
        "queries": sum(proof.queries for proof in proofs),
        "gates": sum(proof.gates for proof in proofs),
        "seconds": sum(proof.seconds for proof in proofs),
        **(_converse(layer, weights, config, seconds) if fixed else {"converse": "not asked"}),
        "versions": python_versions("amaranth", "pyosys"),
    }


def _converse(
    layer: dict[str, Any], weights: np.ndarray, config: MacConfig, seconds: float
) -> dict[str, Any]:
    """One bit less: inputs that raise the flag, of a channel and of a chunk, replayed by golden."""
    claim = layer["claims"]["format"]
    n = int(np.argmax(claim["widths"]))
    narrow = narrower(config)
    found = channel_of(layer, weights[n].tolist(), narrow).refute(config, seconds=seconds)
    if found is None:
        raise AssertionError(f"channel {n} raises no flag in {narrow.accumulator.format.name}")
    told = _replayed(found.x_codes, channel_of(layer, weights[n].tolist(), narrow))
    # A chunk alone, in one query, at one bit less than its own sums need.
    chunk = narrow.chunk_size
    n, start = max(
        ((n, start) for n in range(len(weights)) for start in range(0, weights.shape[1], chunk)),
        key=lambda place: int(np.abs(weights[place[0], place[1] : place[1] + chunk]).sum()),
    )
    part = weights[n, start : start + chunk].tolist()
    low, high = layer["x"]["low"], layer["x"]["high"]
    ends = [sum(side(low * w, high * w) for w in part) for side in (min, max)]
    bits = 1 + max(ends[1].bit_length(), (-1 - ends[0]).bit_length())
    alone = channel_of(layer, part, _at_width(config, bits - 1))
    about: dict[str, Any] = {"converse": told}
    try:
        at_once = alone.refute_at_once(seconds=seconds)
    except UndecidedError:
        return about
    if at_once is not None:
        about["chunk_converse"] = _replayed(at_once.x_codes, alone)
        about["chunk_converse_seconds"] = at_once.seconds
    return about


def _replayed(x_codes: list[int], channel: Channel) -> str:
    overflow, _ = arith.dot_events(x_codes, list(channel.w_codes), channel.config)
    if not overflow:
        raise AssertionError("golden sees no overflow where the RTL raised its flag")
    return f"flag raised in {channel.config.accumulator.format.name} on {len(x_codes)} inputs, golden agrees"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove, and add the row to the results; 0, 1 if the RTL leaves its bounds, 2 where that cannot be."""
    parser = Parser(prog="python -m tb.certificate_proof_run", description=__doc__)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("--layer", metavar="NAME", help="(default: the one of the fewest weights)")
    parser.add_argument("--channels", type=int, metavar="N", help="the first N (default: all)")
    parser.add_argument("--seconds", type=float, default=300.0, help="for one query (default: 300)")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, metavar="FILE", help="results")
    options = parser.parse_args(arguments)
    try:
        certificate = json.loads(options.certificate.read_text())
        layer = _layer(certificate, options.layer)
        tensors = safetensors.numpy.load_file(options.certificate.with_name(certificate["weights"]))
        weights = tensors[layer["tensor"]].astype(np.int64)
        channels = range(len(weights))[: options.channels]
        row = prove_layer(layer, weights, channels, seconds=options.seconds, show=sys.stderr.isatty())
        row |= {"model": certificate["model"], "config": layer["config"], "command": _command(options)}
        results = read_results(options.output)
        others = [each for each in results["proofs"] if each["command"] != row["command"]]
        write_results({**results, "proofs": [*others, row]}, options.output)
    except (ConfigError, OSError, KeyError, json.JSONDecodeError) as error:
        parser.error(str(error))
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    proved = f"{row['steps']} steps of {row['channels']} channels proved in {row['seconds']:.0f} s"
    print(f"{proved}; one bit less: {row['converse']}")
    return 0


def _layer(certificate: dict[str, Any], name: str | None) -> dict[str, Any]:
    layers = [each for each in certificate["layers"] if each["tensor"] is not None]
    if name is None:
        return min(layers, key=lambda each: each["length"] * each["channels"])
    found = [each for each in layers if each["name"] == name]
    if not found:
        names = ", ".join(each["name"] for each in layers)
        raise ConfigError(f"no layer with weights is called {name!r}; use {names}")
    return found[0]


def _command(options: argparse.Namespace) -> str:
    parts = ["python -m tb.certificate_proof_run", str(options.certificate)]
    parts += [f"--layer {options.layer}"] if options.layer else []
    parts += [f"--channels {options.channels}"] if options.channels else []
    return " ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
