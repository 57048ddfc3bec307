"""One dot product on the Verilated array, and where a step of it stands in the waves."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.config import ArrayConfig, ConfigError, Format, MacConfig
from golden.random_words import RandomWords
from hw.verilated_array import VerilatedArray
from hw.verilated_bench import Waves
from sim.gtkwave import shown_as_numbers
from sim.microscope.operands import Dot
from sim.microscope.trace import Step
from sim.microscope.vcd import read_signals

__all__ = ["WavePlace", "record_step"]

#: MACs in the column that is simulated, at most: as many as a tile of backend ``rtl`` has.
_ROWS = 16

#: Units of the waves' time in a clock cycle.
PERIOD = 10


@dataclass(frozen=True, kw_only=True)
class WavePlace:
    """Where one multiply-accumulate is to be seen."""

    waves: Path  #: VCD.
    save: Path  #: For GTKWave: the signals as numbers, and a marker at the cycle.
    array: str
    cycle: int  #: In which operands and sum stand at the MAC; its result stands there in the next one.
    scope: str  #: Of the MAC, or of the adder of chunk sums.
    signals: dict[str, int]  #: Codes by name of port; ``result`` in the next cycle.

    @property
    def command(self) -> str:
        return f"gtkwave {self.waves} {self.save}"

    def to_json(self) -> dict:
        return {
            "waves": self.waves.name,
            "save": self.save.name,
            "array": self.array,
            "cycle": self.cycle,
            "time": self.cycle * PERIOD,
            "scope": self.scope,
            "signals": self.signals,
        }


def record_step(dot: Dot, steps: Sequence[Step], index: int, folder: Path, stem: str) -> WavePlace:
    """Run the dot product on a column of MACs, with waves, and find step ``index`` of its trace in them.

    The array is built unless it is there, which takes some seconds. Raises
    :class:`golden.config.ConfigError` where the hardware gives anything but the trace: that is a bug, or the
    random words of a stochastic rounding that were not handed over.
    """
    config = dot.config
    rows = max(each for each in range(1, _ROWS + 1) if config.chunk_size % each == 0)
    array = ArrayConfig(silicon=config.silicon, rows=rows, cols=1, stages=0, depth=1, events=False)
    hardware = VerilatedArray(array, trace="vcd")
    x, w = (np.array(codes, dtype=np.int64) for codes in dot.codes)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "waves.vcd"
        product = hardware.matmul_codes(
            x[None],
            w[:, None],
            config,
            RandomWords(seed=dot.random.seed, call=dot.random.call),
            m_base=dot.row,
            n_base=dot.column,
            waves=Waves(path=path, first=0, last=1 << 40),
        )
        if int(product.codes[0, 0]) != steps[-1].after_code:
            raise ConfigError(
                f"the hardware gives code {int(product.codes[0, 0])} and golden {steps[-1].after_code} for "
                "this dot product; please report it"
            )
        top = f"{array.name}.column_0"
        place = _find(path, top, rows, steps, index, x.tolist(), w.tolist())
        waves = path.replace(folder / f"{stem}.vcd")
    scope, cycle, signals = place
    save = _save_file(waves, scope, cycle, config, inner=steps[index].inner)
    return WavePlace(waves=waves, save=save, array=array.name, cycle=cycle, scope=scope, signals=signals)


def _find(
    path: Path, top: str, rows: int, steps: Sequence[Step], index: int, x: list[int], w: list[int]
) -> tuple[str, int, dict[str, int]]:
    """Scope, cycle and codes of a step: that of the same unit which is the same in all codes and in order."""
    wanted = steps[index]
    row = wanted.k % rows
    if wanted.inner:
        scope, ports = f"{top}.mac_{row}", ("x", "w", "acc", "result")
        mine = [s for s in steps[: index + 1] if s.inner and s.k % rows == row]
        codes = [(x[s.k], w[s.k], s.before_code, s.after_code) for s in mine]
    else:
        scope, ports = f"{top}.chunk_adder", ("s", "acc", "result")
        codes = []
        for i, step in enumerate(steps[: index + 1]):
            if not step.inner:
                codes.append((steps[i - 1].after_code, step.before_code, step.after_code))
    signals = read_signals(path, scope, ports, period=PERIOD)
    # A chunk adder answers in the same cycle, a MAC in the next one.
    late = 1 if wanted.inner else 0
    inputs = list(zip(*(signals[port] for port in ports[:-1]), strict=True))
    results = signals["result"]
    cycle = -1
    for code in codes:
        cycle = next(
            (
                t
                for t in range(cycle + 1, len(inputs) - late)
                if inputs[t] == code[:-1] and results[t + late] == code[-1]
            ),
            -1,
        )
        if cycle < 0:
            raise ConfigError(f"the waves of {scope} do not show step k = {wanted.k}; please report it")
    return scope, cycle, dict(zip(ports, codes[-1], strict=True))


def _save_file(waves: Path, scope: str, cycle: int, config: MacConfig, *, inner: bool) -> Path:
    acc, outer = config.accumulator.format, config.outer_accumulator.format
    formats: Mapping[str, Format] = (
        {"x": config.x, "w": config.w, "acc": acc, "result": acc}
        if inner
        else {"s": acc, "acc": outer, "result": outer}
    )
    lines = [f'[dumpfile] "{waves.name}"', f"*-14 {cycle * PERIOD}", "[treeopen] TOP.", "@28"]
    lines += [f"{scope.split('.')[0]}.clk", "@200", f"-{scope}, cycle {cycle}"]
    for port, number in formats.items():
        lines += shown_as_numbers(f"{scope}.{port}[{number.code_bits - 1}:0]", number, waves.parent)
    save = waves.with_suffix(".gtkw")
    save.write_text("\n".join(lines) + "\n")
    return save
