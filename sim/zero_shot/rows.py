"""The rows of the zero-shot tables: which configurations, and what of them is fitted to a layer."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from golden.catalog import CATALOG, find
from golden.config import ConfigError, Encoding, FloatFormat, MacConfig
from sim.calibrate import is_exact

__all__ = ["GROUPS", "ROWS", "Row", "find_rows", "operands_are_fitted"]

#: The suffix of a row whose accumulators are calibrated.
_CALIBRATED = "-calibrated"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A configuration, and whether its accumulator is set layer by layer or is as it is named."""

    label: str
    group: str
    config: MacConfig
    calibrated: bool


#: Group -> what its rows have in common.
GROUPS = {
    "float32": "float32 operands, nothing calibrated",
    "fp8": "e3m4 operands, float accumulators",
    "fixed": "e3m4 operands, fixed-point accumulators",
    "int8": "int8 operands, integer accumulators",
    "named": "configurations that were asked for by name",
}


def _paper(exp_bits: int, man_bits: int, rounding: str) -> MacConfig:
    """Float32 operands into a float accumulator, and a product quantizer, of this format.

    Biases are the paper's: 12 and 10 for products and sums in e4, from b_acc = b_prod - 2 with chunks of 16.
    In e5, of which the paper does not say, they lie around the standard bias: 16 and 14.
    """
    product, accumulator = {4: (12, 10), 5: (16, 14)}[exp_bits]
    parts = f"p_e{exp_bits}m{man_bits}b{product}_{rounding}_a_e{exp_bits}m{man_bits}b{accumulator}_{rounding}"
    return MacConfig.parse(f"e8m23ieee_e8m23ieee_{parts}_c16")


#: Exponent and mantissa bits: the paper's table, and two below it, since sums of these networks are shorter.
_FLOAT32_ROWS = ((5, 10), (5, 9), (5, 8), (5, 7), (5, 6), (5, 5), (5, 4), (4, 7))


def _rows() -> dict[str, Row]:
    rows: list[Row] = []

    def add(group: str, label: str, config: MacConfig, calibrated: bool = False) -> None:
        rows.append(Row(label=label, group=group, config=config, calibrated=calibrated))

    for rounding, twin in (("rz", ""), ("rne", "-rne")):
        for exp_bits, man_bits in _FLOAT32_ROWS:
            name = f"f32-e{exp_bits}m{man_bits}{twin}"
            add("float32", name, _paper(exp_bits, man_bits, rounding))
    for name in ("float12", "float12-rne"):
        add("fp8", name, find(name))
        add("fp8", name + _CALIBRATED, find(name), calibrated=True)
    for name in (*(f"fixed{bits}" for bits in (10, 12, 14, 16, 18, 20, 24)), "exact"):
        exact = is_exact(find(name))
        add("fixed", name if exact else name + _CALIBRATED, find(name), calibrated=True)
    for calibrated in (False, True):
        for policy in ("", "-wrap"):
            for bits in (8, 10, 12, 14, 16, 18, 20):
                name = f"int{bits}{policy}"
                add("int8", name + _CALIBRATED * calibrated, find(name), calibrated=calibrated)
    return {row.label: row for row in rows}


#: Label -> row.
ROWS = _rows()


def operands_are_fitted(config: MacConfig) -> bool:
    """Whether operands get a bias or scale of each tensor: not in formats that the outside world fixes."""
    fixed = (Encoding.FN, Encoding.IEEE)
    return not any(isinstance(each, FloatFormat) and each.encoding in fixed for each in (config.x, config.w))


def find_rows(names: list[str] | None) -> list[Row]:
    """The rows of these labels and groups; or of configurations by any name, short or canonical; None: all.

    Raises :class:`ConfigError` where there is no such row.
    """
    if names is None:
        return list(ROWS.values())
    found: dict[str, Row] = {}
    for name in names:
        group = {label: row for label, row in ROWS.items() if row.group == name}
        found |= group or {name: ROWS[name] if name in ROWS else _named(name)}
    return list(found.values())


def _named(label: str) -> Row:
    name = label.removesuffix(_CALIBRATED)
    if name not in CATALOG and "_" not in name:
        near = difflib.get_close_matches(label, [*ROWS, *GROUPS, *CATALOG], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"such as {', '.join(list(ROWS)[:3])}"
        raise ConfigError(f"there is no row called {label!r}; {hint}")
    config = find(name)
    calibrated = name != label or is_exact(config)
    if calibrated and not operands_are_fitted(config):
        raise ConfigError(
            f"{label} cannot be calibrated: its operands are {config.x.name}, which no layer's tensors are "
            f"fitted to; use {name}"
        )
    return Row(label=label, group="named", config=config, calibrated=calibrated)
