"""The page's first half: method, the law against measurement, and which chunk."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sim.markdown import table
from sim.studies.chunk.findings import (
    CLOSE,
    LAWS,
    best_chunks,
    chunk_summary,
    grid_rows,
    holds,
    loss_exponent,
    percent,
    quantiles,
    walks,
)
from sim.studies.chunk.operands import KINDS

__all__ = ["chunk_section", "held", "law_section", "method_section"]

#: Loss exponents of the first form that settings are sorted by.
_EXPONENTS = (0, 0.05, 0.2, 0.5, 1, 2, float("inf"))


def method_section(data: dict) -> str:
    """What is measured, how, and the three forms of the law."""
    return f"""## Method

Products and sums have M mantissa bits and 8 exponent bits, so that nothing overflows or underflows and
roundings are all there is. Products are rounded before they are added; chunks of c are added up in an
accumulator of the same format. Every narrow sum is computed bit for bit by the kernels. Against the exact
sums, by least squares over {data["law"]["n"]} of them for each setting,

    got = gain · exact + noise,    noise orthogonal to exact

so a scale of 1/gain leaves the noise, which is given as its energy over that of gain · exact. Operands are
e3m4 (biases fitted), whose products have 9 or 10 significant bits, and e8m7: standard normal activations
and weights (*normal*), rectified activations (*relu*: half of the products are zero), rectified
activations and positive weights (*positive*: every product adds), and what layers of networks multiply.

Three forms of the law, z the share of zeros and δ = 2^-(M+1) / (2 ln 2) the loss of one truncation:

* **first form**: gain = exp(-δ [((1-z)c - 1)/2 + (K/c - 1)/2 + 1]), the steps of an average product;
* **by place** (`sim.calibration.law.place_losses`, [calibration.md](../calibration.md#the-law)): the mean
  over places k of exp(-δ · steps from k to the end), fewer for the first steps of a walk and for short
  products, in closed form;
* **by step** (`sim.calibration.walk.step_law`): the loss of each step is averaged and not assumed, as
  below."""


def law_section(data: dict) -> str:
    """Where each form holds and why it fails."""
    rows = grid_rows(data)
    kinds = dict.fromkeys((row["kind"], row["format"]) for row in rows)
    groups = [
        (f"{KINDS[kind][0]}, {number}", [r for r in rows if (r["kind"], r["format"]) == (kind, number)])
        for kind, number in kinds
    ]
    return "\n".join(
        [
            "## The law against measurement",
            "",
            "![Gain over the chunk, and the distance of the laws](chunk-law.svg)",
            "",
            f"Share of settings in which a law is within {CLOSE} of the measured gain, and its largest "
            "distance:",
            "",
            table(["operands", "settings", *LAWS.values()], held(groups)),
            "",
            "Where each holds, products of either sign, by the exponent of the first form, δ [((1-z)c - "
            "1)/2 + (K/c - 1)/2 + 1]:",
            "",
            table(["exponent", "settings", *LAWS.values()], held(_by_exponent(walks(data)))),
            "",
            _why(data),
        ]
    )


def held(groups: Sequence[tuple[str, list[dict]]]) -> list[list[str]]:
    """For each group of rows, how often each law is close, and its largest distance."""
    lines = []
    for name, rows in groups:
        cells = [f"{percent(share)}, {most:.3f}" for share, most in (holds(rows, law) for law in LAWS)]
        lines.append([name, str(len(rows)), *cells])
    return lines


def _by_exponent(rows: Sequence[dict]) -> list[tuple[str, list[dict]]]:
    groups = []
    for low, high in pairwise(_EXPONENTS):
        mine = [row for row in rows if low <= loss_exponent(row) < high]
        name = f"{low:g} and more" if high == _EXPONENTS[-1] else f"{low:g} to {high:g}"
        groups += [(name, mine)] if mine else []
    return groups


def _why(data: dict) -> str:
    both, positive = walks(data), grid_rows(data, "positive")
    short, long = (
        {(r["kind"], r["K"], r["M"], r["c"]): r for r in both if r["format"] == n} for n in ("e3m4", "e8m7")
    )
    bits = max(short.keys() & long.keys(), key=lambda key: short[key]["gain"] - long[key]["gain"])
    empty = max(
        (row for row in both if row["kind"] == "relu" and row["c"] == 4),
        key=lambda row: row["gain"] - row["place"],
    )
    strong = max(both, key=lambda row: row["gain"] - row["first"])
    straight = max(positive, key=lambda row: row["gain"] - row["first"])
    swamped = max(positive, key=lambda row: abs(row["step"] - row["gain"]))
    low, middle, high = quantiles([row["noise"] / row["noise_by_step"] for row in both])
    return f"""**Why the first form fails, and what the law by step does instead.**

* *An average of exponentials is not the exponential of an average.* The last products lose almost nothing,
  however long the sum. {_at(strong)}: gain {strong["gain"]:.3f}, first form {strong["first"]:.3f}, by
  place {strong["place"]:.3f}, by step {strong["step"]:.3f}.
* *Short products.* A product of few bits has nothing below the last place until the sum is binades above
  it. {_at(short[bits])}, {bits[0]}: e3m4 {short[bits]["gain"]:.3f} (by step {short[bits]["step"]:.3f}),
  e8m7 {long[bits]["gain"]:.3f} ({long[bits]["step"]:.3f}), first form {short[bits]["first"]:.3f} for both.
* *Chunks without a product, or with one.* Adding zero loses nothing, and a lone product is short.
  {_at(empty)}, relu, {empty["format"]}: {empty["gain"]:.3f}, by place {empty["place"]:.3f}, by step
  {empty["step"]:.3f}.
* *Drift.* Where all products are positive the sum is a straight line and not a walk, and at last is so
  large that products fall below its last place and vanish. {_at(straight)}, positive:
  {straight["gain"]:.3f}, first form {straight["first"]:.3f}, by step {straight["step"]:.3f}. This is also
  where the law by step is worst: {_at(swamped)} has {swamped["gain"]:.3f}, the law {swamped["step"]:.3f}.
  Such sums are all alike and do not spread over a binade, which is what an average over pairs takes for
  granted.
* *Losses that balance.* A long walk grows until it loses as much as it is given; from then on it stays as
  small against products as it is.

The law by step takes 2048 pairs of a running sum (normal, with the mean and the energy that sums have by
then) and a product (from a sample of the layer's own), and asks what the addition leaves below the last
place: with u the unit of the result and v that of the sum before, the product modulo min(u, v), and, where
the sum has moved up a binade, the low bits that it had. The mean of that times the result, over the energy
of the result, is the loss λ of the step; what varies about it is random energy. Sums of chunks are walked
through in the same way. Then

    gain = Σ_k s_k E[exp(-Σ_(steps from k to the end) λ)],    s_k = E[p_k y] / E[y²]

over the places k of the sum y, zeros where sampled outputs have them. It takes statistics of products and
no accumulator. Noise comes with it: in nine of ten settings with products of either sign what is measured
is {low:.2f} to {high:.2f} times the law's, {middle:.2f} in the median."""


def _at(row: dict) -> str:
    return f"K = {row['K']}, M = {row['M']}, c = {row['c']}"


def chunk_section(data: dict) -> str:
    """The best chunk against the law's."""
    summary = chunk_summary(walks(data))
    cells = []
    for kind in ("normal", "relu"):
        rows = [row for row in grid_rows(data, kind, "e3m4") if row["M"] == 7]
        cells += [
            [
                *(kind, str(found["K"]), f"{found['root']:.0f}", str(found["gain_chunk"])),
                *(str(found["noise_chunk"]), f"{found['gain_at_16']:.3f}"),
                *(f"{found['gain_at_root']:.3f}", f"{found['gain']:.3f} ± {2 * found['deviation']:.3f}"),
            ]
            for found in best_chunks(rows)
        ]
    titles = [
        *("operands", "K", "√(K/(1-z))", "best for gain", "best for noise"),
        *("gain at 16", "at the law's", "at the best"),
    ]
    return "\n".join(
        [
            "## Which chunk",
            "",
            "Gain and noise are both best where the two walks are equally long, (1-z)c = K/c. Measured, M = "
            "7, e3m4:",
            "",
            table(titles, cells),
            "",
            f"Over all M and both formats, {summary['settings']} pairs of K and M with products of either "
            "sign: the chunk of largest gain is the power of two nearest to the law's, or next to that, in "
            f"{percent(summary['near'])}, and the law's gives away at most {summary['lost']:.3f} of gain. "
            "Short products shift the best chunk up: inside a chunk they lose less than sums of chunks do. "
            "± is two standard deviations of a measured gain.",
        ]
    )
