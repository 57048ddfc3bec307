"""A tile as both sides of a testbench know it: what pytest builds and what the simulator drives."""

from __future__ import annotations

from dataclasses import dataclass

from golden.catalog import find
from golden.config import ArrayConfig, MacConfig, Rounding, parse_format
from golden.tile import OutputStage, TileConfig

__all__ = ["TileCase"]


@dataclass(frozen=True, kw_only=True)
class TileCase:
    """A tile and the configuration whose products it is given: the keys of a JSON object."""

    mac: str  #: A name that :func:`golden.catalog.find` knows; products start from its biases.
    hardwired: bool
    rows: int
    cols: int
    stages: int
    depth: int
    events: bool
    output: tuple[str, str, int, int | None] | None  #: Target, rounding, channels, multiplier bits.

    @property
    def mac_config(self) -> MacConfig:
        return find(self.mac)

    @property
    def config(self) -> TileConfig:
        mac, output = self.mac_config, None
        if self.output is not None:
            target, rounding, channels, multiplier_bits = self.output
            output = OutputStage(
                target=parse_format(target),
                rounding=Rounding(rounding),
                channels=channels,
                multiplier_bits=multiplier_bits,
            )
        array = ArrayConfig(
            silicon=mac.hardwired if self.hardwired else mac.silicon,
            rows=self.rows,
            cols=self.cols,
            stages=self.stages,
            depth=self.depth,
            events=self.events,
        )
        return TileConfig(array=array, output=output)
