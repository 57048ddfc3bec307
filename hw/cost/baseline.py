"""MACs as they stood when the first issue closed: the baseline of every improvement since."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from amaranth.lib.wiring import Signature

from golden.config import ConfigError, FixedAccumulator, Silicon
from hw.mac import Mac

__all__ = ["FIRST_LOOP", "FirstLoopMac", "first_loop_verilog"]

_FOLDER = Path(__file__).with_name("first_loop")

#: Catalogue names that are kept, ``_wired`` with offsets as constants; each with 0, 1 and 2 stages.
FIRST_LOOP = tuple(sorted({file.name[:-8] for file in _FOLDER.glob("*_s0.v.gz")}))


def first_loop_verilog(name: str, stages: int) -> str:
    """Verilog of the module ``mac`` at tag ``first-loop``; ports are those of today's ``hw.mac.Mac``.

    ``name`` is of :data:`FIRST_LOOP`. Raises :class:`ConfigError` for one that is not kept.
    """
    file = _FOLDER / f"{name}_s{stages}.v.gz"
    if not file.is_file():
        raise ConfigError(
            f"no MAC {name!r} with {stages} stages was kept of first-loop; there are "
            f"{', '.join(FIRST_LOOP)}, with 0 to 2 stages"
        )
    return gzip.decompress(file.read_bytes()).decode()


@dataclass(frozen=True)
class FirstLoopMac:
    """What a check has to know of such a MAC: as :class:`hw.mac.Mac`, with the latencies that it had."""

    silicon: Silicon
    stages: int

    @cached_property
    def signature(self) -> Signature:
        return Mac(self.silicon, self.stages, events=False).signature

    @property
    def _fixed(self) -> bool:
        return isinstance(self.silicon.config.accumulator, FixedAccumulator)

    @property
    def acc_lag(self) -> int:
        """Cycles by which the sum comes later than its operands."""
        return self.stages if self._fixed else min(self.stages, 1)

    @property
    def acc_latency(self) -> int:
        """Cycles from the sum to the result."""
        return 1 if self._fixed else max(self.stages, 1)
