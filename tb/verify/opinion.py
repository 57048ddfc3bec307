"""What third opinions have in common: ours for theirs, and the gates of a MAC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.config import FloatFormat, MacConfig
from golden.datapath import offset_ranges
from hw.mac import Mac
from hw.verilog import verilog_text
from tb.verify.aig import Aig
from tb.verify.rows import Outcome

__all__ = ["Bools", "Codes", "Count", "finite_codes", "mac_gates", "mac_verilog", "ours_for", "step_config"]

Codes = NDArray[np.int64]
Bools = NDArray[np.bool_]


def ours_for(theirs: Codes, finite: Bools, negative: Bools, number: FloatFormat) -> Codes:
    """What a code of theirs is here: the largest number where it is none, and zero without a sign."""
    sign = 2 ** (number.code_bits - 1)
    codes = np.where(theirs == sign, 0, theirs)
    return np.where(finite, codes, number.max_magnitude_code + sign * negative)


def finite_codes(number: FloatFormat) -> Codes:
    """All codes of numbers."""
    magnitudes = np.arange(number.max_magnitude_code + 1)
    return np.append(magnitudes, magnitudes + 2 ** (number.code_bits - 1))


def step_config(operands: str, accumulator: str) -> MacConfig:
    """A MAC that adds exact products, to nearest even."""
    return MacConfig.parse(f"{operands}_{operands}_p_exact_a_{accumulator}_rne_c1")


def mac_verilog(config: MacConfig) -> str:
    return verilog_text(Mac(config.silicon, 0, events=False), "mac")


def mac_gates(config: MacConfig, constants: dict[str, int]) -> Aig:
    """The MAC at its own offsets, always enabled, with some inputs fixed."""
    ranges = offset_ranges(config)
    fixed = {"en": 1, "clk": 0, "rst": 0, "result_held": 0} | constants
    fixed["product_offset"] = ranges.product.clamp(config.offsets.product) % 2**ranges.product.width
    gates = Aig.of(mac_verilog(config), "mac", language="verilog", hidden=False)
    return gates.with_constants({port: value for port, value in fixed.items() if port in gates.inputs})


class Count:
    """What was compared, and what differed."""

    def __init__(self) -> None:
        self.compared = self.differences = 0
        self.details: dict = {}

    def check(self, what: str, got: Codes, wanted: Codes, inputs: dict[str, Codes]) -> None:
        """Compare codes; ``inputs`` are shown where they differ first."""
        wrong = np.flatnonzero(got != wanted)
        if len(wrong) and not self.differences:
            i = wrong[0]
            given = ", ".join(f"{name}={array[i]}" for name, array in inputs.items())
            self.details["first_difference"] = f"{what}: {given}: {got[i]:#x}, and theirs is {wanted[i]:#x}"
        self.compared += len(got)
        self.differences += len(wrong)

    @property
    def outcome(self) -> Outcome:
        return Outcome(compared=self.compared, differences=self.differences, details=self.details)
