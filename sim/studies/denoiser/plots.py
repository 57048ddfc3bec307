"""Figures of the study, as SVG text."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.figures import STYLE, svg_text

__all__ = ["digits_figure", "errors_figure", "plateaus_figure"]

#: Colour, marker of each order; distinct to the colour-blind.
_ORDERS = {
    "alternating": ("#0072b2", "o"),
    "smallest first": ("#009e73", "D"),
    "grouped": ("#d55e00", "s"),
    "random": ("#cc79a7", "^"),
    "ascending": ("#555555", "v"),
    "smallest first, shared": ("#56b4e9", "P"),
}
_GREY = "#555555"
_NOISES = ("#0072b2", "#d55e00", "#009e73")


def _curve(axis: Axes, by_bits: dict, value, order: str, **style) -> None:
    color, marker = _ORDERS[order]
    bits = sorted(map(int, by_bits))
    axis.plot(
        bits,
        [value(by_bits[str(each)]) for each in bits],
        **{"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.2, "label": order, **style},
    )


def errors_figure(errors: dict) -> str:
    """The function through a truncating accumulator, and mean squared errors against mantissa bits."""
    main, pictures = errors["main"], errors["pictures"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.4, 3.9))
        drawn, *panels = figure.subplots(1, 3)
        for order in ("grouped", "alternating", "smallest first"):
            drawn.plot(pictures["y"], pictures[order], color=_ORDERS[order][0], linewidth=1.1, label=order)
        drawn.plot(
            pictures["y"], pictures["exact"], color="black", linewidth=0.8, linestyle="--", label="exact"
        )
        drawn.set_title(f"the denoiser, truncated to M = {pictures['man_bits']}")
        drawn.set_xlabel("noisy input y")
        drawn.set_ylabel("output")
        drawn.set_ylim(-1.6, 1.4)
        drawn.legend(loc="upper left", fontsize=8)
        for axis, rounding in zip(panels, ("toward zero", "nearest even"), strict=True):
            for order, by_bits in main["errors"][rounding].items():
                _curve(axis, by_bits, lambda error: error, order)
            for level, words in ((main["empirical"], "empirical MMSE"), (main["exact"], "exact sums")):
                axis.axhline(level, color=_GREY, linewidth=0.9, linestyle="--")
                axis.annotate(words, (14, level * 1.1), ha="right", va="bottom", color=_GREY, fontsize=8)
            axis.set_yscale("log")
            axis.set_ylim(main["exact"] / 2, 20)
            axis.set_xlabel("mantissa bits M of the accumulator")
            axis.set_title(
                f"rounding {rounding}" if rounding == "toward zero" else "rounding to nearest even"
            )
        panels[0].set_ylabel("mean squared error")
        panels[1].legend(loc="upper right", fontsize=8, title="order of terms")
        figure.tight_layout()
        return svg_text(figure)


def plateaus_figure(plateaus: dict) -> str:
    """Largest error on the plateaus with its bound, and the share that repeated denoising drives away."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.8))
        error, left = figure.subplots(1, 2)
        for order, by_bits in plateaus["plateaus"]["toward zero"].items():
            if order == "random":
                continue
            _curve(error, by_bits, lambda at: at["largest_error"], order)
            _curve(error, by_bits, lambda at: at["bound"], order, marker="", linestyle=":", label=None)
            _curve(left, by_bits, lambda at: 100 * at["left"], order)
        error.axhline(plateaus["rho"], color=_GREY, linewidth=0.9, linestyle="--")
        error.annotate(
            "half width of a plateau", (2, plateaus["rho"] * 0.9), va="top", color=_GREY, fontsize=8
        )
        error.set_yscale("log")
        error.set_xlabel("mantissa bits M of the accumulator, toward zero")
        error.set_ylabel("largest error on a plateau (dotted: bound)")
        error.legend(loc="upper right", fontsize=8, title="order of terms")
        left.set_xlabel("mantissa bits M of the accumulator, toward zero")
        left.set_ylabel(f"inputs off their plateau after {plateaus['steps']} denoisings (%)")
        left.set_ylim(-3, 103)
        figure.tight_layout()
        return svg_text(figure)


def digits_figure(digits: dict) -> str:
    """PSNR lost by denoisers of digits: by noise, repaired or not, and by order."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.9))
        noise, order = figure.subplots(1, 2)
        for level, color in zip(digits["levels"], _NOISES):  # noqa: B905, a short version has fewer levels
            by_bits = level["by_width"]["toward zero"]
            bits = sorted(map(int, by_bits))
            for kind, dash, words in (("plain", "-", ""), ("repaired", ":", ", repaired")):
                noise.plot(
                    bits,
                    [by_bits[str(each)][kind]["difference"] for each in bits],
                    color=color,
                    linestyle=dash,
                    marker="o",
                    markersize=3.5,
                    markerfacecolor=color if kind == "plain" else "white",
                    label=f"σ = {level['sigma']:g}{words}",
                )
        noise.set_title("toward zero, chunks of 16, by noise")
        noise.legend(loc="lower right", fontsize=8)
        noise.set_ylabel("PSNR against float32 (dB)")
        for name, by_bits in digits["orders"]["toward zero"].items():
            _curve(order, by_bits, lambda at: at["difference"], name)
        order.set_title("toward zero, one chunk, by order of terms")
        order.legend(loc="lower right", fontsize=8)
        for axis in (noise, order):
            axis.set_xlabel("accumulator width (bits, 4 of them exponent)")
        figure.tight_layout()
        return svg_text(figure)
