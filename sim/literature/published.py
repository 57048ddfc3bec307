"""Figures of others, each with its source. Not regenerated here: none of their code is in this project."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CLAIMS", "SAME_FLOW", "SAME_FLOW_REFERENCE", "Claim", "Unit"]

_FULL = "subnormals, infinities, NaN, IEEE rounding"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A unit of others, mapped once with Yosys and ABC to sky130_fd_sc_hd at a relaxed clock, modes tied off.

    Two scripts of ABC: its default, and one for area. Areas compare with other rows of that mapping only.
    """

    name: str
    computes: str
    default_um2: float
    area_um2: float | None
    has: str  #: Beyond what ours have.
    source: str


_FPNEW = (
    "S. Mach et al., FPnew: An Open-Source Multiformat Floating-Point Unit Architecture for "
    "Energy-Proportional Transprecision Computing, IEEE TVLSI 2021; github.com/openhwgroup/cvfpu"
)
_HARDFLOAT = "J. Hauser, Berkeley HardFloat, release 1, 2019; github.com/ucb-bar/berkeley-hardfloat"
_REDMULE = (
    "Y. Tortorella et al., RedMulE: A Compact FP16 Matrix-Multiplication Accelerator for Adaptive Deep "
    "Learning on RISC-V-Based Ultra-Low-Power SoCs, DATE 2022; github.com/pulp-platform/redmule"
)
_GEMMINI = (
    "H. Genc et al., Gemmini: Enabling Systematic Deep-Learning Architecture Evaluation via Full-Stack "
    "Integration, DAC 2021; github.com/ucb-bar/gemmini"
)

#: An early e4m7 MAC of ours in the very same two mappings: what the others are divided by.
SAME_FLOW_REFERENCE = Unit(
    name="ours, e4m7 under e3m4, as first tried",
    computes="acc + x·w",
    default_um2=3304,
    area_um2=2790,
    has="",
    source="this project",
)

SAME_FLOW = (
    Unit(
        name="CVFPU FMA, e4m7 from e3m4 operands",
        computes="a·b + c, multi-format",
        default_um2=6128,
        area_um2=5074,
        has=_FULL,
        source=_FPNEW,
    ),
    Unit(
        name="CVFPU FMA, FP16 from e3m4 operands",
        computes="a·b + c, multi-format",
        default_um2=7595,
        area_um2=6315,
        has=_FULL,
        source=_FPNEW,
    ),
    Unit(
        name="CVFPU FMA, e4m3",
        computes="a·b + c",
        default_um2=4131,
        area_um2=3233,
        has=_FULL,
        source=_FPNEW,
    ),
    Unit(
        name="CVFPU FMA, FP16",
        computes="a·b + c",
        default_um2=11460,
        area_um2=9275,
        has=_FULL + "; operands of 16 bits",
        source=_FPNEW,
    ),
    Unit(
        name="CVFPU FMA, bfloat16",
        computes="a·b + c",
        default_um2=8558,
        area_um2=6939,
        has=_FULL + "; operands of 16 bits",
        source=_FPNEW,
    ),
    Unit(
        name="HardFloat FMA, FP16 recoded",
        computes="a·b + c",
        default_um2=10392,
        area_um2=8976,
        has=_FULL + "; operands of 16 bits, recoded at both ends",
        source=_HARDFLOAT,
    ),
    Unit(
        name="HardFloat FMA, bfloat16 recoded",
        computes="a·b + c",
        default_um2=7884,
        area_um2=6710,
        has=_FULL + "; operands of 16 bits, recoded at both ends",
        source=_HARDFLOAT,
    ),
    Unit(
        name="RedMulE FMA, FP16",
        computes="a·b + c",
        default_um2=10669,
        area_um2=8866,
        has=_FULL + "; operands of 16 bits",
        source=_REDMULE,
    ),
    Unit(
        name="Gemmini PE, int8 into 20 bits",
        computes="acc + x·w, wrapping, two weights held",
        default_um2=3033,
        area_um2=2570,
        has="two weight registers and their control",
        source=_GEMMINI,
    ),
    Unit(
        name="ours, e8m23 under e3m4, as first tried",
        computes="acc + x·w",
        default_um2=7191,
        area_um2=6105,
        has="",
        source="this project",
    ),
    Unit(
        name="ours, exact in 36 bits, as first tried",
        computes="acc + x·w",
        default_um2=3943,
        area_um2=3323,
        has="",
        source="this project",
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A saving that others publish, and what here is of the same kind: one row of ours over another."""

    what: str
    published: str  #: As the source puts it.
    ratio: float  #: New over old, as published.
    quantity: str  #: ``nand2``, ``energy_pj`` or ``luts``.
    technology: str  #: Where ours is measured.
    ours: tuple[str, str] | None  #: Keys of new and old; None where nothing here is of that kind.
    differs: str
    source: str


CLAIMS = (
    Claim(
        what="12-bit float sums for float32, gates counted on paper",
        published="63 % fewer gates",
        ratio=0.37,
        quantity="nand2",
        technology="sky130hd",
        ours=("float/float12", "float/float32"),
        differs="a count without a netlist, a clock or registers",
        source="Y. Blumenfeld, I. Hubara, D. Soudry, Towards Cheaper Inference in Deep Networks with Lower "
        "Bit-Width Accumulators, ICLR 2024, arXiv 2401.14110",
    ),
    Claim(
        what="e4m3 products summed by exponent in narrow integers that spill, for a conventional FP8 MAC",
        published="97.37 to 64.66 µW, 0.195 to 0.129 pJ at 500 MHz, ASAP7 after layout",
        ratio=64.66 / 97.37,
        quantity="energy_pj",
        technology="asap7",
        ours=("e4m3/float12", "e4m3/float32"),
        differs="theirs rounds products to FP8, adds them exactly and has wires; ours is M7E4 for FP32, "
        "which rounds every sum, before layout and at another activity",
        source="V. Natesh, H. T. Kung, D. Kong, MGS: Markov Greedy Sums for Accurate Low-Bitwidth "
        "Floating-Point Accumulation, 2025, arXiv 2504.09072",
    ),
    Claim(
        what="integer sums narrow enough for weights trained to them, for 32 bits, on an FPGA",
        published="up to 2.3 times fewer resources",
        ratio=1 / 2.3,
        quantity="luts",
        technology="ECP5",
        ours=("int12", "int32"),
        differs="theirs is whole networks on another FPGA, with memories and thresholds, and operands below "
        "8 bits; ours one MAC of int8 without multiplier blocks",
        source="I. Colbert, A. Pappalardo, J. Petri-Koenig, A2Q: Accumulator-Aware Quantization with "
        "Guaranteed Overflow Avoidance, ICCV 2023, arXiv 2308.13504",
    ),
    Claim(
        what="a fused sum of two products, for a cascade of two expanding FMAs",
        published="around 30 % of area and critical path saved",
        ratio=0.7,
        quantity="nand2",
        technology="sky130hd",
        ours=None,
        differs="two products are rounded once there; here every product is a rounding step of the contract, "
        "and nothing is fused",
        source="L. Bertaccini, G. Paulin, T. Fischer, S. Mach, L. Benini, MiniFloat-NN and ExSdotp: An ISA "
        "Extension and a Modular Open Hardware Unit for Low-Precision Training on RISC-V Cores, ARITH 2022, "
        "arXiv 2207.03192",
    ),
)
