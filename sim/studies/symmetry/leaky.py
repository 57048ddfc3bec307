"""Whether two layers of LeakyNet are exactly linear in an arithmetic that rounds.

A positive number passes the first activation whole and the second one negated and times rho; a negative one
the other way round. Both give what two layers without activations give if the arithmetic treats x and -x
alike, and x and rho x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from golden.config import MacConfig
from sim.inject import accumulate
from sim.studies.symmetry.dataflows import CHUNK
from sim.studies.symmetry.networks import LeakyNet
from sim.studies.symmetry.runs import ACCUMULATORS, CHANNELS, CLASSES, STRIDES

__all__ = ["SLOPES", "differing", "measure_pairs"]

SLOPES = (0.5, 0.25, 0.3)  #: rho: two powers of two and another.

_IMAGES = (64, 1, 8, 8)
_SEED = 0

_ARITHMETICS = {
    **{
        name: ACCUMULATORS[name].configs(CHUNK)[0]
        for name in ("e8m4", "e8m7", "e8m10", "e8m23", "e8m7 rne", "e8m7 sr8", "fixed20")
    },
    "fixed20 floor": MacConfig.parse("e5m10_e5m10_p_exact_a_int20ln12_floor_sat_c16"),
}


def differing(config: MacConfig, rho: float) -> float:
    """The share of outputs of LeakyNet's pairs that are not those of rho = 1, which has no activation.

    Compared as numbers: +0 and -0 are equal.
    """
    images = torch.randn(_IMAGES, generator=torch.Generator().manual_seed(_SEED))
    outputs = []
    for slope in (1.0, rho):
        network = LeakyNet(channels=CHANNELS, classes=CLASSES, strides=STRIDES, rho=slope)
        with torch.no_grad(), accumulate(config):
            outputs.append(torch.cat([each.flatten() for each in network.after_pairs(images)]))
    return float((outputs[0] != outputs[1]).double().mean())


def measure_pairs(quick: bool, report: Callable[[str], None]) -> dict:
    """:func:`differing` of all accumulators and slopes."""
    rows = [
        {
            "accumulator": name,
            "config": config.name,
            "differing": {str(rho): differing(config, rho) for rho in SLOPES},
        }
        for name, config in _ARITHMETICS.items()
    ]
    report(f"pairs are linear by {sum(row['differing']['0.5'] == 0 for row in rows)} of {len(rows)}")
    return {"images": _IMAGES[0], "seed": _SEED, "rows": rows}
