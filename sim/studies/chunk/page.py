"""The study's page: what was found, in text whose figures come from the results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from statistics import fmean

from sim.studies.chunk.findings import (
    CLOSE,
    NETWORKS,
    chunk_summary,
    even_ratios,
    grid_rows,
    holds,
    longest,
    loss_exponent,
    network_name,
    one,
    percent,
    walks,
)
from sim.studies.chunk.operands import of_rows
from sim.studies.chunk.page_law import chunk_section, law_section, method_section
from sim.studies.chunk.page_use import accuracy_section, layers_section, roundings_section, rtl_section
from sim.studies.study import Expected, MantissaBits

__all__ = ["answer", "bits", "expected", "headline", "page"]

#: An error energy that few notice, over that of the exact sums: 20 dB down.
_ENOUGH = 0.01


def headline(data: dict) -> str:
    """The answer in one sentence."""
    rows = of_rows(data["law"]["estimated"])
    paper, best = one(rows, c=16), max(rows, key=lambda row: row["gain"])
    networks = [part for name, part in _networks(data).items() if part["metric"] == "accuracy"]
    scores = (
        f" and the accuracy of {_listed(networks)} within {fmean(_off(networks)):.1f} points on average"
        if networks
        else ""
    )
    return (
        f"Truncated to M = {paper['M']}, a sum of {paper['K']} products comes out times {paper['gain']:.2f} "
        f"in chunks of 16 and {best['gain']:.2f} in chunks of {best['c']} (√K: {paper['K'] ** 0.5:.0f}); a "
        f"law foretells such gains within {holds(walks(data), 'step')[1]:.3f}{scores}."
    )


def answer(data: dict) -> str:
    """One paragraph."""
    text = [_law_sentences(data)]
    if "layers" in data:
        parts = [
            f"{percent(holds(of_rows(part), 'step')[0])} on {network_name(name)}"
            for name, part in data["layers"]["networks"].items()
        ]
        text.append(f"On layers of real networks: {', '.join(parts)}.")
    if "roundings" in data:
        text.append(_repair_sentence(data))
    if _networks(data):
        text.append(_accuracy_sentences(data))
    return " ".join(text)


def bits(data: dict) -> MantissaBits | None:
    """Of the longest sums for which every rounding was tried, all in chunks of 16.

    None where these were not measured, or no width is enough.
    """
    if "roundings" not in data:
        return None
    tried = of_rows(data["roundings"]["roundings"]["normal"])
    tried = [row for row in tried if row["K"] == longest(tried)]
    length, root = longest(tried), min(tried, key=lambda row: abs(row["c"] ** 2 - row["K"]))["c"]
    zero, even = ([row for row in tried if row["rounding"] == rounding] for rounding in ("rz", "rne"))
    every_width = [row for row in grid_rows(data, "normal", "e8m7") if row["K"] == length]
    truncating, nearest = _least(every_width, 16), _least(even, 16)
    repaired, at_root = (_least(zero, chunk, "tapered_") for chunk in (16, root))
    if None in (truncating, repaired, nearest, at_root):
        return None
    return MantissaBits(
        what=f"error energy of {length} products, chunks of 16, at {100 * _ENOUGH:g} %",
        truncating=truncating,
        repaired=repaired,
        how=f"weights over the gains of their places (with chunks of √K = {root} as well, {at_root})",
        nearest=nearest,
    )


def _least(rows: Sequence[dict], chunk: int, way: str = "") -> int | None:
    """The mantissa bits from which on the error is little enough, in chunks of this size."""
    mine = sorted((row for row in rows if row["c"] == chunk), key=lambda row: -row["M"])
    enough = takewhile(lambda row: _error(row[f"{way}gain"], row[f"{way}noise"]) <= _ENOUGH, mine)
    return min((row["M"] for row in enough), default=None)


def _error(gain: float, noise: float) -> float:
    """Of what comes out, over the energy of the exact sums."""
    return (1 - gain) ** 2 + gain**2 * noise


def _networks(data: dict) -> dict[str, dict]:
    return {name: data[name] for name in NETWORKS if name in data}


def _listed(networks: Sequence[dict]) -> str:
    *names, last = (NETWORKS[part["network"]] for part in networks)
    return " and ".join([", ".join(names), last] if names else [last])


def _off(networks: Sequence[dict]) -> list[float]:
    """How many points each prediction by place is from what was measured."""
    rows = [row for part in networks for row in part["rows"]]
    return [100 * abs(row["predicted"]["places"] - row["measured"]) for row in rows]


def _law_sentences(data: dict) -> str:
    rows, both = of_rows(data["law"]["estimated"]), walks(data)
    paper, best = one(rows, c=16), max(rows, key=lambda row: row["gain"])
    chunk, step = chunk_summary(both), holds(both, "step")
    return (
        f"Rounding toward zero multiplies a sum by a gain below one. A sum of {paper['K']} products at M = "
        f"{paper['M']} keeps {paper['gain']:.3f} of itself in chunks of 16 and {best['gain']:.3f} in chunks "
        f"of {best['c']}, the best power of two. The best chunk is √K, or √(K/(1-z)) with a share z of "
        f"zeros: within a factor of two in {percent(chunk['within'])} of {chunk['settings']} settings, and "
        f"it gives away at most {chunk['lost']:.3f} of gain where always taking 16 gives away up to "
        f"{chunk['lost_at_16']:.2f}. For products of either sign the law in its first form is within "
        f"{CLOSE} of the measured gain in {percent(holds(both, 'first')[0])} of {len(both)} settings; "
        f"averaged step by step it is in {percent(step[0])}, and off by {step[1]:.3f} at most."
    )


def _repair_sentence(data: dict) -> str:
    rows = of_rows(data["roundings"]["roundings"]["normal"])
    mine = [row for row in rows if row["K"] == longest(rows) and row["M"] == 7 and row["c"] == 16]
    zero, even = one(mine, rounding="rz"), one(mine, rounding="rne")
    parts = [1 - zero["noise"] / zero["error"], 1 - zero["tapered_noise"] / zero["error"]]
    return (
        f"Of the error energy of a truncated sum (K = {zero['K']}, M = 7, chunks of 16) one scale removes "
        f"{percent(parts[0])}, a scale for each place in the sum {100 * parts[1]:.1f} %; rounding to "
        f"nearest even instead removes {100 * (1 - even['error'] / zero['error']):.1f} %."
    )


def _accuracy_sentences(data: dict) -> str:
    groups: dict[str, list[dict]] = {}
    for part in _networks(data).values():
        groups.setdefault(part["metric"], []).append(part)
    scores = [
        f"{'the accuracy' if metric == 'accuracy' else f'{metric} × 100'} of {_listed(networks)} in "
        f"{len(off)} settings within {fmean(off):.1f} points on average and {max(off):.1f} at most"
        for metric, networks in groups.items()
        for off in (_off(networks),)
    ]
    part, row = min(
        ((part, row) for part in _networks(data).values() for row in part["rows"]),
        key=lambda pair: pair[1]["measured"] - pair[0]["float32"],
    )
    measured, gain, noise = _lost(part, row)
    mostly = ", so most of that is a gain, which a scale can undo" if gain > measured / 2 > noise else ""
    return (
        f"Put into a float32 network, the law foretells {', and '.join(scores)}. Of the {measured:.1f} "
        f"points that {NETWORKS[part['network']]} loses on {row['row'].split(',')[0]}, the gains alone "
        f"explain {gain:.1f} and the noise alone {noise:.1f}{mostly}."
    )


def _lost(part: dict, row: dict) -> list[float]:
    """Points against float32: measured, with the law's gains alone, and with its noise alone."""
    values = row["measured"], row["predicted"]["gain"], row["predicted"]["noise"]
    return [100 * (part["float32"] - value) for value in values]


def page(data: dict) -> str:
    """Sections after the answer."""
    sections = [method_section(data), law_section(data), chunk_section(data)]
    others = {"layers": layers_section, "roundings": roundings_section, "rtl": rtl_section}
    sections += [section(data) for name, section in others.items() if name in data]
    if _networks(data):
        sections.append(accuracy_section(data))
    return "\n\n".join([*sections, _LIMITS])


_LIMITS = """## Limits

* The law is of float accumulators with exact alignment; fixed point has an offset and no gain. Saturation
  and underflow come on top ([calibration.md](../calibration.md#biases)); here they are kept away.
* Sums that are all alike (every product positive, K large against 2^M) and sums that one product outweighs
  are outside it, as said above.
* The noise of a layer is put into a network as normal and independent. That of a truncating accumulator
  goes with the input, and where the noise is large the two need not do the same.
* Chunks are powers of two, and products and sums have the same M throughout. Layers of networks were looked
  at for fewer chunks and widths than the grid has, those of ResNet-56 not at all (its accuracy was). Sums of
  positive products are in the grid with e3m4 operands only. Other roundings were tried at M = 4 to 8 and 10,
  in chunks of 16, of √K, and of the whole sum or 1024.

To use it on a layer of one's own:

```python
>>> import torch
>>> from golden.config import MacConfig
>>> from sim.calibration.walk import Products, step_law
>>> from sim.operands import quantize_operand
>>> _ = torch.manual_seed(0)
>>> config = MacConfig.parse("e3m4b5_e3m4b5_p_e8m5_rz_a_e8m5_rz_c16")
>>> x, w = torch.randn(64, 576).relu(), torch.randn(576, 32)
>>> x, w = (quantize_operand(each, config.x, 1.0) for each in (x, w))
>>> law = step_law(config, Products.of(x, w, seed=0))
>>> round(law.gain, 1), law.noise < 0.02
(0.8, True)

```"""


def expected(data: dict) -> list[Expected]:
    """Every figure that was known before, beside ours."""
    found = [*_expected_gains(data), _expected_chunk(data), _expected_halving(data)]
    if "roundings" in data:
        rows = of_rows(data["roundings"]["roundings"]["normal"])
        error, noise = (even_ratios(rows, column) for column in ("error", "noise"))
        found.append(
            Expected(
                "noise power, toward zero over nearest even",
                "100 to 300",
                f"{min(error):.0f} to {max(error):.0f} as it comes, {min(noise):.0f} to {max(noise):.0f} "
                "after one scale",
                f"K = {longest(rows)}, chunks of 16; it depends on K, c and M, and is less with the gain "
                "taken out",
            )
        )
    return [*found, *(_expected_repair(part) for part in list(_networks(data).values())[:1])]


def _expected_gains(data: dict) -> list[Expected]:
    rows = of_rows(data["law"]["estimated"])
    return [
        Expected(
            f"gain, K = 4608, M = 7, chunks of {chunk} (first form)",
            f"{known:.3f} ({law:.3f})",
            f"{row['gain']:.3f} ± {2 * row['deviation']:.3f} ({row['first']:.3f})",
            f"other operands; by step {row['step']:.3f}",
        )
        for chunk, known, law in ((16, 0.687, 0.652), (64, 0.840, 0.826), (128, 0.808, 0.794))
        for row in (one(rows, c=chunk),)
    ]


def _expected_chunk(data: dict) -> Expected:
    found = chunk_summary(walks(data))
    return Expected(
        "best chunk",
        "√K, not 16",
        f"√(K/(1-z)), within a factor of two in {percent(found['within'])} of settings",
        f"flat: it gives away at most {found['lost']:.3f} of gain, 16 up to {found['lost_at_16']:.2f}",
    )


def _expected_halving(data: dict) -> Expected:
    """Inner steps count with the share of products that are not zero."""
    rows = [row for row in grid_rows(data, "relu") if row["c"] >= 16 and loss_exponent(row) < 1]
    share = data["law"]["zeros"]["relu"]
    with_it, without = (
        sum(abs(math.exp(-loss_exponent({**row, "z": z})) - row["gain"]) for row in rows) / len(rows)
        for z in (share, 0.0)
    )
    return Expected(
        "rectified inputs",
        "halve the inner term",
        f"the first form is off by {with_it:.3f} on average with it, by {without:.3f} without",
        f"zeros {percent(share)}; chunks of 16 and more, exponents below 1",
    )


def _expected_repair(part: dict) -> Expected:
    row = min(part["rows"], key=lambda row: row["measured"])
    measured, gain, noise = _lost(part, row)
    return Expected(
        "what a scale absorbs",
        "most of the damage",
        f"{NETWORKS[part['network']]}, {row['row']}: gains alone cost {gain:.1f} points, noise alone "
        f"{noise:.1f}",
        f"measured together {measured:.1f}",
    )
