"""The depth study's page, written from its results."""

from __future__ import annotations

from sim.markdown import table
from sim.studies.depth import plots
from sim.studies.depth.tables import (
    bits_table,
    case_of,
    exponent_table,
    field_table,
    layer_table,
    reach_table,
    signal_table,
    trained_table,
    worst_difference,
)
from sim.studies.study import MantissaBits
from sim.theory.mean_field import TRAINABLE

__all__ = ["answer", "bits", "figures", "headline", "page"]

#: The sums of the headline: a layer's fan-in, and levels of 4-bit activations.
_FAN_IN, _LEVELS = 512, 16


def figures(data: dict) -> dict[str, str]:
    """File name -> SVG."""
    return {
        "depth-bits.svg": plots.bits(data["reach"]),
        "depth-frontier.svg": plots.frontier(data["frontier"]),
        "depth-signal.svg": plots.signal(data["signal"]),
    }


def _bits(data: dict, levels: int, mode: str) -> float:
    rows = data["bits"]["rows"]
    return next(row[mode] for row in rows if (row["fan_in"], row["levels"]) == (_FAN_IN, levels))


def _per_doubling(data: dict, mode: str) -> float:
    """Mantissa bits that twice the levels take, from 8 to 32."""
    return (_bits(data, 32, mode) - _bits(data, 8, mode)) / 2


def _rescued(data: dict) -> tuple[dict, dict]:
    """Of the networks trained on the accumulator, the pair that weights by init_ make most of a difference
    to.
    """
    rows = data["trained"]["rows"]
    pairs = [
        (plain, repaired)
        for plain in rows
        for repaired in rows
        if (plain["mode"], repaired["mode"]) == ("rz", "rz repaired")
        and (plain["man_bits"], plain["depth"]) == (repaired["man_bits"], repaired["depth"])
    ]
    return max(pairs, key=lambda pair: pair[1]["test"] - pair[0]["test"])


def _frontiers(frontier: dict) -> str:
    """Those that were found, over xi: of levels whose L_max is on the grid, and of those beyond."""
    deepest = max(row["depth"] for row in frontier["rows"])
    within, beyond = {}, {}
    for each in frontier["frontiers"]:
        if each["frontier"] is not None:
            group = within if TRAINABLE * each["depth_scale"] <= deepest else beyond
            group[each["levels"]] = each["frontier"] / each["depth_scale"]
    ratios = list(within.values())
    found = [f"{min(ratios):.1f} to {max(ratios):.1f} for N up to {max(within)}"] if ratios else []
    found += [f"{ratio:.1f} for N = {levels}, too narrow for its depth" for levels, ratio in beyond.items()]
    return "; ".join(found) or "not found on this grid"


def headline(data: dict) -> str:
    """One sentence."""
    rz, exact, repaired = (case_of(data, name) for name in ("rz", "exact", "rz repaired"))
    return (
        f"Sums of {_FAN_IN} products in a truncating M7E4 accumulator let a {_LEVELS}-level network train "
        f"{rz['max_depth']:.0f} layers deep, not {exact['max_depth']:.0f}; weights divided by its gain, as "
        f"`init_` draws them, restore {repaired['max_depth']:.0f}."
    )


def bits(data: dict) -> MantissaBits:
    """By the theory, for half of the depth."""
    truncating, repaired, nearest = (_bits(data, _LEVELS, mode) for mode in ("rz", "rz repaired", "rne"))
    return MantissaBits(
        what=f"half of the depth of networks with {_LEVELS} levels and {_FAN_IN} products in a sum",
        truncating=truncating,
        repaired=repaired,
        how="weights drawn by `init_`, divided by the gain",
        nearest=nearest,
    )


def answer(data: dict) -> str:
    """One paragraph."""
    rz, exact, repaired = (case_of(data, name) for name in ("rz", "exact", "rz repaired"))
    plain, drawn = _rescued(data)
    return (
        "With exact sums the activation limits depth: correlations of inputs survive ξ layers, networks "
        f"train to about {TRAINABLE} ξ (on digits, {_frontiers(data['frontier'])}), and ξ grows as "
        f"N^{-data['theory']['exponents']['all']:.2f} over the range in use. A truncating accumulator takes "
        "over long before its errors matter, because its gain shrinks sums layer after layer until they "
        f"reach only the innermost levels: M7E4 sums of {_FAN_IN} products leave {_LEVELS} "
        f"levels {rz['variance'][-1]:.2f} of their variance after {data['signal']['depth']} layers, and "
        f"{rz['max_depth']:.0f} of {exact['max_depth']:.0f} trainable layers. Weights divided by that gain "
        f"restore {repaired['max_depth']:.0f}. To keep half the depth, truncation needs "
        f"{_bits(data, _LEVELS, 'rz'):.1f} mantissa bits and {_per_doubling(data, 'rz'):.1f} more for each "
        f"doubling of N; with the weights of `init_`, {_bits(data, _LEVELS, 'rz repaired'):.1f} and "
        f"{_per_doubling(data, 'rz repaired'):.1f} more; nearest even, with weights for exact sums, "
        f"{_bits(data, _LEVELS, 'rne'):.1f} and {_per_doubling(data, 'rne'):.1f} more. Trained on the "
        f"accumulator, {plain['depth']} layers at {plain['man_bits']} mantissa bits toward zero classify "
        f"{100 * plain['test']:.0f} % of test digits with weights for exact sums and "
        f"{100 * drawn['test']:.0f} % with those of `init_`: nothing in hardware changes."
    )


def page(data: dict) -> str:
    """Markdown after the answer."""
    parts = [
        *_theory(data["theory"]),
        *_frontier(data["frontier"], data["width"]),
        *_accumulator(data),
        *_trained(data["trained"]),
        _LIMITS,
    ]
    return "\n\n".join(parts)


def _theory(theory: dict) -> list[str]:
    fits, worst = theory["exponents"], worst_difference(theory)
    return [
        "## How deep the activation lets a network be",
        "An activation has N levels from -1 to 1, its thresholds are midway between them, weights have "
        "variance σ_w²/fan-in (Blumenfeld, Gilboa and Soudry, NeurIPS 2019, arXiv 1906.00771). In a "
        "wide network sums are normal with a deviation s that settles, and a layer multiplies a small "
        "correlation of two inputs by χ, which depends only on D/s, the spacing of thresholds over the "
        f"deviation. Correlations fall by e in ξ = -1/ln χ layers; L_max = {TRAINABLE} ξ. `sim.theory` "
        "has all of it; [theory.md](../theory.md) says how to use it.",
        field_table(theory),
        "**1 - χ is a quantizer's error.** The last two columns come from different code, thresholds "
        f"there and cell integrals here, and differ by {worst:.0e} at most. For any spacing χ is one "
        "less the error of a quantizer with these thresholds, its levels scaled as is best; where that "
        "is least, levels and thresholds are equally far apart, and it is the uniform quantizer of a "
        "normal variable (Max, 1960). There σ_w = 1/√χ: weights make up for what the quantizer takes, "
        "and for nothing else.",
        f"**The exponent.** ln(1 - χ) against ln(N + 1), N from 2 to {theory['fit_to']}: slope "
        f"{fits['all']:.4f} ({fits['from_8']:.4f} from 8 levels on; {fits['powers']:.4f} through the "
        "powers of two). It is a fit over a range and no power law: the quantizer's error tends to 4 "
        "ln N / 3N² (Hui and Neuhoff, 2001), so depth grows as N²/ln N and the local exponent goes to "
        "-2.",
        exponent_table(theory),
        "**Random layers.** A wide random layer, without any of the formulas:",
        layer_table(theory),
    ]


def _frontier(frontier: dict, wider: dict) -> list[str]:
    rows = [
        [
            str(each["levels"]),
            f"{each['depth_scale']:.1f}",
            f"{TRAINABLE * each['depth_scale']:.0f}",
            "deeper than the grid" if each["frontier"] is None else f"{each['frontier']:.0f}",
            "" if each["frontier"] is None else f"{each['frontier'] / each['depth_scale']:.1f}",
        ]
        for each in frontier["frontiers"]
    ]
    head = ["N", "ξ", f"L_max = {TRAINABLE} ξ", "trainable to, layers", "over ξ"]
    return [
        "## Which depths learn",
        f"Fully connected networks of width {frontier['width']} on 8x8 digits ({frontier['n_train']} to "
        f"train, {frontier['n_test']} to test), {frontier['steps']} steps of gradient descent with "
        f"batches of {frontier['batch']}, rate {frontier['rate']:g}, momentum {frontier['momentum']:g}, "
        f"gradients clipped to norm {frontier['clip']:g}, one seed. Gradients pass the activation "
        "straight through, at the slope at which they keep their variance. Guessing is right 10 % of "
        "the time.",
        "![Training accuracy over levels and depth](depth-frontier.svg)",
        f"*Trainable to*: where accuracy on the training set falls below {100 * frontier['trained']:.0f} %.",
        table(head, rows, words=0),
        _finite_width(frontier, wider),
    ]


def _finite_width(frontier: dict, wider: dict) -> str:
    """What ends the frontier of networks that the theory says are trainable deeper than the grid."""
    deepest = max(row["depth"] for row in frontier["rows"])
    first = wider["rows"][0]
    known = [
        row for row in frontier["rows"] if (row["levels"], row["depth"]) == (first["levels"], first["depth"])
    ]
    widths = [(frontier["width"], row) for row in known] + [(row["width"], row) for row in wider["rows"]]
    figures = ", ".join(f"{100 * row['train']:.0f} % at width {width}" for width, row in widths)
    return (
        f"Where L_max is within the grid's {deepest} layers, the frontier follows it. Beyond that these "
        "networks are too narrow for a theory of wide ones: correlations and gradients make random walks "
        f"whose spread grows with depth over width. {first['levels']} levels in {first['depth']} layers "
        f"reach {figures}. The paper's networks are 2048 wide."
    )


def _accumulator(data: dict) -> list[str]:
    bits, signal, reach = data["bits"], data["signal"], data["reach"]
    exponent = -data["theory"]["exponents"]["all"]
    return [
        "## What an accumulator does to that",
        "A sum of K products comes out as g times the exact sum, and an error of relative variance ν that "
        "two inputs do not share. With both in the map, s² = σ_w² g² (1 + ν) Q(s) has another fixed point, "
        "and there χ' = χ(D/s) / (1 + ν). So **gain moves the operating point and noise takes "
        "correlation**. Unequal gains of places do neither beyond their mean: they are the same for all "
        "inputs, as other weights would be. g and ν are those of the [law](../calibration.md#the-law).",
        "Around its best spacing a network has almost no restoring force against a gain: σ_w² Q(s)/s² is "
        "flat, for the activation is nearly linear there. A loss of a few percent a layer is enough to let "
        "variance fall until sums reach only the innermost levels, and χ with it toward the sign's 2/π.",
        "![Variance and correlation against depth](depth-signal.svg)",
        f"*{signal['levels']} levels, width {signal['width']}, M7E4 sums of FP8 operands in chunks of "
        f"16, {signal['pairs']} pairs of inputs of correlation {signal['start']:g}, mean of "
        f"{signal['seeds']} seeds. Dots: bit-accurate simulation. Lines: the theory, its gain measured "
        "on one layer.*",
        signal_table(signal),
        "### How many mantissa bits before the accumulator limits depth",
        "![Layers that a correlation survives against mantissa bits](depth-bits.svg)",
        f"*Width {reach['width']}, products and sums of M mantissa bits in chunks of 16, range and "
        "operands ample; markers simulation, lines theory by the law alone, dotted: exact sums.*",
        reach_table(reach),
        _agreement(reach),
        f"By the theory, mantissa bits at which {100 * bits['share']:.0f} % of the depth is left (between "
        "whole numbers, to show the trend; build the next whole one):",
        bits_table(bits),
        "Why these slopes: noise halves the depth when ν, which is as 4^-M, equals 1 - χ; a gain does when "
        "the variance that it takes in a layer, 1 - g², which is as 2^-M, is a few times 1 - χ. And 1 - χ "
        f"falls as N^-{exponent:.1f}. **So each bit of the activation asks for {exponent:.1f} mantissa bits "
        f"of an accumulator that truncates, and for {exponent / 2:.1f} where the weights know of the gain, "
        "or where it rounds to nearest.** Sums that are longer than the chunk squared ask for about one "
        "more bit, or half a bit, with each doubling.",
    ]


def _agreement(reach: dict) -> str:
    """How far simulation and theory are apart, over all accumulators."""
    ratios = {levels: [] for levels in sorted({row["levels"] for row in reach["rows"]})}
    for row in reach["rows"]:
        if row["reach"] is not None and row["predicted_reach"] is not None:
            ratios[row["levels"]].append(row["reach"] / row["predicted_reach"])
    words = [
        f"{min(each):.2f} to {max(each):.2f} for {levels} levels" for levels, each in ratios.items() if each
    ]
    return f"Simulation over theory, all rows: {', '.join(words)}."


def _trained(trained: dict) -> list[str]:
    return [
        "## Training on the accumulator",
        f"The networks above, {trained['rows'][0]['levels']} levels, every forward product of training "
        f"and test by the accumulator, gradients by rule `{trained['gradient']}` in float32, "
        f"{trained['steps']} steps. Weights are for exact sums where the table does not say `init_`.",
        trained_table(trained),
        "Weights that are larger by 1/g would make gradients grow by 1/g a layer, since their products "
        "are exact: `init_` also divides the activations' straight-through slope by as much.",
    ]


_LIMITS = "\n".join(
    [
        "## Limits",
        "",
        "* Wide networks at initialization. At finite width variance and correlation make a random walk "
        "around the theory, and the simulated reach of hundreds of layers with it.",
        "* The law of sums assumes that running sums spread over a few binades. Below four mantissa bits "
        "it is a few percent off in the gain, and nearest even loses small products that it does not know "
        "of. `init_` measures instead.",
        "* The frontier is of one seed, one width and a fixed number of steps; near it, seeds differ. "
        "Gradients were exact: where they go through the same accumulator, each layer multiplies them by a "
        "gain, too.",
        "* Fully connected layers without normalization. Batch normalization would undo a gain by itself, "
        "at the cost of each layer's statistics.",
    ]
)
