"""What the comparison shows, in sentences made from its figures."""

from __future__ import annotations

from hw.cost.gates import PUBLISHED_SAVING

__all__ = ["conclusions", "is_63_right"]

#: Percentage points within which a measured saving agrees with a published one.
_AGREES = 2.0

#: Areas that differ by less, in per cent, differ by noise: another script moves either as much.
_NOISE = 3.0


_SKY130 = "sky130hd"


class _Figures:
    """Figures of rows by technology and key."""

    def __init__(self, results: dict):
        self._rows = {(row["technology"], row["key"]): row for row in results["rows"]}

    def of(self, key: str, field: str, technology: str = _SKY130) -> float | None:
        row = self._rows.get((technology, key))
        return None if row is None else row[field]

    def energy_saved(self, new: str, old: str, *, glitches: bool) -> float | None:
        """Per cent of ``old``'s energy in sky130hd, with estimated glitches or without."""
        energies = []
        for key in (new, old):
            row = self._rows[_SKY130, key]
            if row["energy_pj"] is None:
                return None
            energies.append(row["energy_pj"] + (row["glitch_pj"] if glitches else 0))
        return 100 * (1 - energies[0] / energies[1])

    def saved(self, new: str, old: str, field: str = "nand2", technology: str = _SKY130) -> float | None:
        """Per cent of ``old`` that ``new`` does not need."""
        after, before = self.of(new, field, technology), self.of(old, field, technology)
        return None if after is None or before is None else 100 * (1 - after / before)


def conclusions(results: dict) -> list[str]:
    """Paragraphs of Markdown."""
    figures = _Figures(results)
    return [
        is_63_right(results),
        _operands(figures),
        _integers(figures),
        _exact(figures),
        _policies(figures),
        _since(figures),
    ]


def _signed(saved: float) -> str:
    """A saving as a change: ``−12 %``; small ones are marked as noise."""
    text = f"{-round(saved):+d} %".replace("-", "−")
    return f"{text} (noise)" if abs(saved) < _NOISE else text


def _change(figures: _Figures, new: str, old: str) -> str:
    """Of area, and of energy where it was measured."""
    text = f"{_signed(figures.saved(new, old))} area"
    energy = figures.energy_saved(new, old, glitches=False)
    if energy is None:
        return text
    glitching = figures.energy_saved(new, old, glitches=True)
    return f"{text}, {_signed(energy)} energy ({_signed(glitching)} with glitches)"


def is_63_right(results: dict) -> str:
    """The answer to the paper's figure, from the netlists and the counted gates."""
    figures = _Figures(results)
    published = 100 * PUBLISHED_SAVING
    pairs = {
        "with the product rounded to the accumulator's format": ("float/float12", "float/float32"),
        "with an exact product": ("float/float12-px", "float/float32-px"),
    }
    areas = {how: figures.saved(*pair) for how, pair in pairs.items()}
    least, most = min(areas.values()), max(areas.values())
    if least >= published - _AGREES and most <= published + _AGREES:
        verdict = f"Is {published:.0f} % right? By our netlists, yes"
    elif most < published - _AGREES:
        verdict = f"Is {published:.0f} % right? By our netlists it is too much"
    elif least > published + _AGREES:
        verdict = f"Is {published:.0f} % right? By our netlists it is too little"
    else:
        verdict = f"Is {published:.0f} % right? By our netlists that depends on the product"
    found = "; ".join(f"{saved:.0f} % {how}" for how, saved in areas.items())
    text = f"**{verdict}:** M7E4 takes less than FP32 by {found}, in gate equivalents at one clock"
    at_7nm = figures.saved("float/float12", "float/float32", technology="asap7")
    if at_7nm is not None:
        exact = figures.saved("float/float12-px", "float/float32-px", technology="asap7")
        text += f" (ASAP7: {at_7nm:.0f} % and {exact:.0f} %)"
    energy = figures.energy_saved("float/float12", "float/float32", glitches=False)
    if energy is not None:
        glitching = figures.energy_saved("float/float12", "float/float32", glitches=True)
        text += (
            f", and {energy:.0f} % less energy with the product rounded ({glitching:.0f} % with estimated "
            "glitches)"
        )
    low, high = _analytic_range(results)
    inside = low <= published <= high
    text += (
        f". The count on paper gives {low:.0f} to {high:.0f} % over its readings, which "
        f"{'include' if inside else 'do not include'} the paper's figure."
    )
    sixteen, eight = (figures.saved(f"float/{name}", "float/float32") for name in ("float16", "float8"))
    return text + f" M10E5 saves {sixteen:.0f} %, and 8 bits {eight:.0f} %."


def _analytic_range(results: dict) -> tuple[float, float]:
    found = list(results["analytic"]["savings"]["e4m7"].values())
    return 100 * min(low for low, _ in found), 100 * max(high for _, high in found)


def _operands(figures: _Figures) -> str:
    names = {"float32": "FP32", "float16": "FP16", "float12": "FP12"}
    operands = ", ".join(
        f"{_signed(figures.saved(f'e4m3/{name}', f'float/{name}'))} into {label}"
        for name, label in names.items()
    )
    ieee = ", ".join(
        f"{_signed(figures.saved(f'ieee/{name}', f'float/{name}-px'))} in {label}"
        for name, label in names.items()
    )
    return (
        f"**FP8:** area of e4m3 operands over e3m4 ones: {operands}. Subnormals and nearest-even rounding of "
        f"the sum, which units of others have, change the area of ours by {ieee}."
    )


def _integers(figures: _Figures) -> str:
    narrow = ", ".join(
        f"{bits} bits {_signed(figures.saved(f'integer/int{bits}', 'integer/int32'))}"
        for bits in (24, 20, 16, 12)
    )
    wrapping = ", ".join(
        f"{_signed(figures.saved(f'integer/int{bits}-wrap', f'integer/int{bits}'))} at {bits}"
        for bits in (32, 24, 20, 16, 12)
    )
    return (
        f"**INT8:** area over a saturating sum of 32 bits: {narrow}. Wrapping over saturating: {wrapping} "
        "bits."
    )


def _exact(figures: _Figures) -> str:
    base = "exact/float12"
    rows = {
        "the exact sum": "exact/exact",
        "16 bits without the lowest product bits": "exact/fixed16",
        "12 bits": "exact/fixed12",
    }
    found = "; ".join(f"{what} {_change(figures, key, base)}" for what, key in rows.items())
    smaller = figures.of(base, "nand2") < figures.of("exact/exact", "nand2")
    return (
        f"**Exact sums:** over M7E4, all with offsets wired in: {found}. So under e3m4 operands at this "
        "clock "
        "a float sum of 12 bits is "
        + ("smaller than an exact one." if smaller else "not even smaller than an exact one.")
    )


def _policies(figures: _Figures) -> str:
    guards = ", ".join(
        f"g = {g} {_signed(figures.saved(f'alignment/float12-g{g}', 'alignment/float12'))}" for g in range(4)
    )
    labels = {
        "float12-rne": "nearest even",
        "float12-sr2": "stochastic with 2 random bits",
        "float12-sr4": "with 4",
        "float12-sr8": "with 8",
    }
    roundings = ", ".join(
        f"{label} {_signed(figures.saved(f'rounding/{key}', 'rounding/float12'))}"
        for key, label in labels.items()
    )
    return (
        f"**Policies of M7E4:** area over exact alignment: {guards}. Over rounding toward zero: {roundings}; "
        "what makes random words is not counted."
    )


def _since(figures: _Figures) -> str:
    names = {
        "float12": "M7E4",
        "float12_px": "M7E4 with an exact product",
        "float32": "FP32",
        "float32_px": "FP32 with an exact product",
    }
    changes = "; ".join(
        f"{label} {_change(figures, f'float/{_today(name)}', f'first-loop/{name}')}"
        for name, label in names.items()
    )
    then = figures.saved("first-loop/float12", "first-loop/float32")
    return (
        f"**Since the first issue closed,** through the same flow: {changes}. Then M7E4 saved {then:.0f} % "
        "over FP32."
    )


def _today(name: str) -> str:
    """A kept MAC's name in the catalogue."""
    return name.replace("_", "-")
