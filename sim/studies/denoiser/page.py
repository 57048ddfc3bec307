"""The study's page, its answer, and what was known before beside what was measured."""

from __future__ import annotations

from sim.studies.denoiser import image_sections, sections
from sim.studies.denoiser.plots import digits_figure, errors_figure, plateaus_figure
from sim.studies.denoiser.setting import POINTS, SIGMA
from sim.studies.denoiser.tables import NOISE, WIDTH, level_of
from sim.studies.study import Expected, MantissaBits

__all__ = ["answer", "bits", "expected", "figures", "headline", "page"]


def _middle(data: dict) -> tuple[dict, dict]:
    """At the middle noise and the sentences' width: PSNR toward zero, and by order in one chunk."""
    digits = data["digits"]
    by_order = {order: by_bits[WIDTH] for order, by_bits in digits["orders"]["toward zero"].items()}
    return level_of(digits)["by_width"]["toward zero"][WIDTH], by_order


def headline(data: dict) -> str:
    """One sentence for the README."""
    least, (at, _) = data["errors"]["whole"]["least"]["toward zero"], _middle(data)
    return (
        f"Where truncated sums cancel, order counts: {least['alternating']} mantissa bits with signs "
        f"alternating, {least['smallest first']} with small terms first, {least['random']} shuffled, "
        f"{least['grouped']} grouped by sign; a denoiser of digits on {WIDTH}-bit accumulators loses "
        f"{-at['plain']['difference']:.2f} dB, and "
        f"{-at['repaired']['difference']:.2f} dB once its gains are repaired."
    )


def bits(data: dict) -> MantissaBits:
    """Of the line's denoiser, all sums narrow, its neurons in the order in which the line has them."""
    main, least = data["errors"]["main"], data["errors"]["whole"]["least"]
    return MantissaBits(
        what=f"a denoiser of {main['points']} points to beat the empirical MMSE at σ = {main['sigma']:g}, "
        "rises and falls alternating from the left",
        truncating=least["toward zero"]["alternating"],
        repaired=least["toward zero"]["smallest first"],
        how="terms sorted, smallest first",
        nearest=least["nearest even"]["alternating"],
    )


def answer(data: dict) -> str:
    """The question answered in one paragraph."""
    main = data["errors"]["main"]
    rz, rne, sr = data["errors"]["whole"]["least"].values()
    stay = data["plateaus"]["least_staying"]["toward zero"]
    gains = [rz[order] - rne[order] for order in rz]
    sorting = {order: rz[order] - rz["smallest first"] for order in rz}
    sentences = [
        "A denoiser's plateau is an exact cancellation, and a narrow accumulator keeps it as far as the "
        "partial sums are small, which is a matter of the order of terms.",
        f"With {main['points']} points and noise of σ = {main['sigma']:g} the minimum-norm denoiser's error "
        f"is {main['empirical'] / main['exact']:.0f} times less than the empirical MMSE denoiser's. With all "
        f"its sums truncated it still wins with M ≥ {rz['alternating']} mantissa bits as it is built, rises "
        f"and falls alternating from the left; small terms first, shuffled and grouped by sign take "
        f"{_others(rz)}. To nearest that is {rne['alternating']}, and {_others(rne)}; stochastically "
        f"{sr['alternating']}, and {_others(sr)}.",
        f"So toward zero sorting is worth {sorting['alternating']} bits over alternating, "
        f"{sorting['random']} over the shuffle and {sorting['grouped']} over grouping, the worst order; and "
        f"rounding to nearest {min(gains)} to {max(gains)}.",
        f"To stay on its plateau when denoised again and again takes {stay['alternating']['measured']} bits "
        f"alternating and {stay['smallest first']['measured']} small terms first; a proved bound asks for "
        f"{stay['alternating']['proved']} and {stay['smallest first']['proved']}.",
        _of_images(data),
    ]
    return " ".join(sentences)


def _others(least: dict) -> str:
    return f"{least['smallest first']}, {least['random']} and {least['grouped']}"


def _of_images(data: dict) -> str:
    (at, by_order), levels = _middle(data), data["digits"]["levels"]
    losses = ", ".join(
        f"{-level['by_width']['toward zero'][WIDTH]['plain']['difference']:.2f} dB at σ = {level['sigma']:g}"
        for level in levels
    )
    return (
        f"Denoisers of digits, trained and then summed toward zero in {WIDTH} bits and chunks of 16, lose "
        f"{losses}: the quieter the noise, the larger the second layer's terms are against their sum "
        f"({levels[0]['cancellation'][-1]:.1f} to {levels[-1]['cancellation'][-1]:.1f} times, first fold). "
        f"At σ = {NOISE:g} factors and offsets by channel take back all but "
        f"{-at['repaired']['difference']:.2f} of {-at['plain']['difference']:.2f} dB. With the whole "
        f"sum as one chunk, order decides: "
        f"{-by_order['ascending']['difference']:.2f} dB lost as the neurons come, "
        f"{-by_order['smallest first, shared']['difference']:.2f} if they are sorted once for all outputs, "
        f"and {-by_order['grouped']['difference']:.2f} with signs grouped."
    )


def figures(data: dict) -> dict[str, str]:
    """The three figures."""
    return {
        "denoiser-errors.svg": errors_figure(data["errors"]),
        "denoiser-plateaus.svg": plateaus_figure(data["plateaus"]),
        "denoiser-digits.svg": digits_figure(data["digits"]),
    }


def page(data: dict) -> str:
    """Markdown from headings of the second level on."""
    return "\n\n".join(
        [
            sections.method(data),
            sections.wins(data["errors"]),
            sections.plateaus(data["plateaus"]),
            image_sections.images(data),
            sections.forms(data["forms"]),
            image_sections.limits(data),
        ]
    )


def expected(data: dict) -> list[Expected]:
    """Costs, the precision of the programs, and the least mantissa bits."""
    forms = data["forms"]
    known = {"equilateral triangle": "4.61538", "two rays": "5.0", "obtuse triangle": "4.80769"}
    rows = [
        Expected(
            what="line: closed form against the linear program",
            known="4e-13",
            measured=f"{forms['line']['largest_difference']:.0e}",
        )
    ]
    rows += [
        Expected(
            what=f"cost, {name}, ρ = {forms['rho']:g}",
            known=cost,
            measured=f"{forms['plane'][name]['closed_cost']:.5f}",
            note=f"proved to be at least {forms['plane'][name]['bound']:.6f}",
        )
        for name, cost in known.items()
    ]
    whole = data["errors"]["whole"]["least"]
    rz, rne = whole["toward zero"], whole["nearest even"]
    setting = f"{POINTS} points, σ = {SIGMA:g}, neurons on the accumulator, too"
    for name, least, (known_alternating, known_grouped) in (
        ("toward zero", rz, ("5", "9")),
        ("to nearest even", rne, ("4", "6")),
    ):
        rows += [
            Expected(
                what=f"least M {name}, alternating",
                known=known_alternating,
                measured=f"{least['smallest first']}; from the left {least['alternating']}",
                note=f"{setting}; pairs from the right, smallest terms first",
            ),
            Expected(
                what=f"least M {name}, grouped",
                known=known_grouped,
                measured=str(least["grouped"]),
                note=setting,
            ),
        ]
    rows.append(
        Expected(
            what="what the order is worth toward zero, mantissa bits: grouped less smallest first",
            known="4",
            measured=str(rz["grouped"] - rz["smallest first"]),
        )
    )
    inside = forms["contraction"]["line"]["around"]
    low, high = data["errors"]["sigmas"][0], data["errors"]["sigmas"][-1]
    rows += [
        Expected(
            what="contraction toward the clean points, line",
            known="everywhere",
            measured=f"{inside['nearer']} of {inside['points']} points",
            note="with equality halfway between two points",
        ),
        Expected(
            what="network beats the empirical MMSE denoiser at low noise",
            known="yes",
            measured=(
                f"{low['exact']:.1e} against {low['empirical']:.1e} at σ = {low['sigma']:g}, "
                f"{high['exact']:.1e} against {high['empirical']:.1e} at σ = {high['sigma']:g}"
            ),
        ),
    ]
    return rows
