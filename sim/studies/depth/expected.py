"""What the paper gives, and what was estimated before the study, beside what is measured here."""

from __future__ import annotations

from sim.studies.depth.tables import case_of, worst_difference
from sim.studies.study import Expected

__all__ = ["expected"]


def expected(data: dict) -> list[Expected]:
    """Figures of the paper, and first estimates: made before this study, of a single seed, by code that is
    not kept.
    """
    theory = {row["levels"]: row for row in data["theory"]["rows"]}
    rows = [
        Expected(
            "exponent of ln(1 - χ) against ln(N + 1), N to 1025",
            "-1.816; paper: depth ∝ N^1.82",
            f"{data['theory']['exponents']['all']:.4f}",
            "depends on which N are fitted; no power law, see above",
        )
    ]
    for levels, known in ((4, "0.118846"), (8, "0.037440"), (16, "0.011543"), (32, "0.003495")):
        rows.append(Expected(f"1 - χ, N = {levels}", known, f"{theory[levels]['one_minus_chi']:.6f}"))
    rows.append(
        Expected("1 - χ less the quantizer's error", "0", f"{worst_difference(data['theory']):.0e} at most")
    )
    return rows + _expected_signals(data)


def _expected_signals(data: dict) -> list[Expected]:
    what = (
        f"N = {data['signal']['levels']}, {data['signal']['depth']} layers, width {data['signal']['width']}"
    )
    known = {
        "exact": ("correlation 0.617", ""),
        "rz": (
            "variance 0.16, correlation 0.352",
            "estimated from one seed; the theory has {correlation:.3f}",
        ),
        "rne": (
            "variance 0.954, correlation 0.607",
            "estimated from one seed, with other weights and operands; small products are flushed, which "
            "takes variance",
        ),
        "rz, first law": (
            "variance 1.09, correlation 0.582",
            "the law's first form takes the gain for smaller than it is, so weights come out too large; "
            "estimated from one seed",
        ),
        "rz repaired": ("", "gain measured, as `init_` does"),
    }
    names = {
        "exact": "exact sums",
        "rz": "truncating M7E4",
        "rne": "the same, nearest even",
        "rz, first law": "truncating, σ_w over the gain of the law's first form",
        "rz repaired": "truncating, weights by `init_`",
    }
    rows = []
    for name, (figure, note) in known.items():
        case = case_of(data, name)
        rows.append(
            Expected(
                f"{what}: {names[name]}",
                figure,
                f"variance {case['variance'][-1]:.3f}, correlation {case['correlation'][-1]:.3f}",
                note.format(correlation=case["predicted_correlation"][-1]),
            )
        )
    return rows
