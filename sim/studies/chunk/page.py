"""The study's page: what was found, in text whose figures come from the results."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
from sim.studies.study import Expected

__all__ = ["answer", "expected", "headline", "page"]


def headline(data: dict) -> str:
    """The answer in one sentence."""
    rows = of_rows(data["law"]["estimated"])
    paper, best = one(rows, c=16), max(rows, key=lambda row: row["gain"])
    return (
        f"Truncated to M = {paper['M']}, a sum of {paper['K']} products comes out times {paper['gain']:.2f} "
        f"in chunks of 16 and {best['gain']:.2f} in chunks of {best['c']}, near √K; a law foretells that, "
        "and with it what accuracy networks lose."
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
    networks = [data[name] for name in NETWORKS if name in data]
    if networks:
        text.append(_accuracy_sentences(networks))
    return " ".join(text)


def _law_sentences(data: dict) -> str:
    rows, both = of_rows(data["law"]["estimated"]), walks(data)
    paper, best = one(rows, c=16), max(rows, key=lambda row: row["gain"])
    chunk, step = chunk_summary(both), holds(both, "step")
    return (
        f"Rounding toward zero multiplies a sum by a gain below one. A sum of {paper['K']} products at M = "
        f"{paper['M']} keeps {paper['gain']:.3f} of itself in chunks of 16 and {best['gain']:.3f} in chunks "
        f"of {best['c']}, the best power of two. The best chunk is √K, or √(K/(1-z)) with a share z of "
        f"zeros: within a factor of two in {percent(chunk['near'])} of {chunk['settings']} settings, and it "
        f"gives away at most {chunk['lost']:.3f} of gain where always taking 16 gives away up to "
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


def _accuracy_sentences(networks: Sequence[dict]) -> str:
    pairs = [(part, row) for part in networks for row in part["rows"]]
    off = [100 * abs(row["predicted"]["places"] - row["measured"]) for _, row in pairs]
    part, row = min(pairs, key=lambda pair: pair[1]["measured"] - pair[0]["float32"])
    measured, gain, noise = (
        100 * (part["float32"] - value)
        for value in (row["measured"], row["predicted"]["gain"], row["predicted"]["noise"])
    )
    *names, last = (NETWORKS[each["network"]] for each in networks)
    names = " and ".join([", ".join(names), last] if names else [last])
    return (
        f"Put into a float32 network, the law foretells what {names} score in {len(off)} settings within "
        f"{sum(off) / len(off):.1f} points on average and {max(off):.1f} at most, and it says why: of the "
        f"{measured:.1f} points that {NETWORKS[part['network']]} loses on {row['row'].split(',')[0]}, the "
        f"gains alone explain {gain:.1f} and the noise alone {noise:.1f}. What truncation does to these "
        "networks is a gain, for which weights and scales can make up."
    )


def page(data: dict) -> str:
    """Sections after the answer."""
    sections = [method_section(data), law_section(data), chunk_section(data)]
    others = {"layers": layers_section, "roundings": roundings_section, "rtl": rtl_section}
    sections += [section(data) for name, section in others.items() if name in data]
    if any(name in data for name in NETWORKS):
        sections.append(accuracy_section(data))
    return "\n\n".join([*sections, _LIMITS])


_LIMITS = """## Limits

* The law is of float accumulators with exact alignment; fixed point has an offset and no gain. Saturation
  and underflow come on top ([calibration.md](../calibration.md#biases)); here they are kept away.
* Sums that are all alike (every product positive, K large against 2^M) and sums that one product outweighs
  are outside it, as said above.
* The noise of a layer is put into a network as normal and independent. That of a truncating accumulator
  goes with the input, and where the noise is large the two need not do the same.
* Chunks are powers of two, and products and sums have the same M throughout.

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
    networks = [data[name] for name in NETWORKS if name in data]
    return [*found, *([_expected_repair(networks[0])] if networks else [])]


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
        f"√(K/(1-z)), within a factor of two in {percent(found['near'])} of settings",
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
    gain, noise, measured = (
        100 * (part["float32"] - value)
        for value in (row["predicted"]["gain"], row["predicted"]["noise"], row["measured"])
    )
    return Expected(
        "what a scale absorbs",
        "most of the damage",
        f"{NETWORKS[part['network']]}, {row['row']}: gains alone cost {gain:.1f} points, noise alone "
        f"{noise:.1f}",
        f"measured together {measured:.1f}",
    )
