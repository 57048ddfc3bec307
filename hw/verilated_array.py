"""Matrix products on the Verilated array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.config import ArrayConfig, ConfigError, MacConfig, Silicon
from golden.random_words import RandomWords, Stage, key
from hw.array import K_BITS, SystolicArray
from hw.selfcheck import offset_words
from hw.verilated_beats import Tiling, pack_bits, unpack_bits
from hw.verilated_bench import Bench, SimulationError, Stalls, Waves
from hw.verilated_library import Design, stream_channels
from hw.verilog import verilog_text

__all__ = ["FIRST_WORDS", "Product", "VerilatedArray", "check_product", "empty_product", "random_keys"]

FIRST_WORDS = RandomWords(seed=0, call=0)

_STAGES = {"product": Stage.PRODUCT, "inner": Stage.INNER, "outer": Stage.OUTER}
_SIDES = ("row", "column")


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """What the hardware made of a matrix product."""

    codes: NDArray[np.int64]  #: [m, n] of the outer accumulator.
    cycles: int  #: From the first clock cycle with something to do to the last beat of results.
    overflow: NDArray[np.bool_] | None  #: [m, n]: happened on the way there, if the hardware tells.
    underflow: NDArray[np.bool_] | None
    stamps: NDArray[np.int64]  #: [m, n]: the cycle in which each result came.


def random_keys(random: RandomWords) -> dict[str, int]:
    """The keys that the hardware makes its random words from, by the name of their register."""
    return {
        f"{stage}_{side}_key": key(random.seed, random.call, number, i)
        for stage, number in _STAGES.items()
        for i, side in enumerate(_SIDES)
    }


def check_product(config: ArrayConfig, mac: MacConfig, x: NDArray, w: NDArray) -> None:
    """Raise :class:`ConfigError` unless the array computes products of ``mac``, and these are operands."""
    if Silicon(config=mac, hardwired=config.silicon.hardwired) != config.silicon:
        raise ConfigError(f"{mac.name} is not what {config.name} computes; build an array of its silicon")
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0]:
        raise ConfigError(f"a product takes x[m, k] and w[k, n], not {list(x.shape)} and {list(w.shape)}")
    if x.shape[1] >= 2**K_BITS:
        raise ConfigError(f"a dot product has at most {2**K_BITS - 1} products, not {x.shape[1]}")
    for name, codes, number in (("x", x, mac.x), ("w", w, mac.w)):
        if codes.size and not 0 <= codes.min() <= codes.max() < 2**number.code_bits:
            raise ConfigError(
                f"{name} has codes outside 0 to {2**number.code_bits - 1}, those of {number.name}"
            )


def array_design(array: SystolicArray, verilog: str | None = None) -> Design:
    """The array's streams and its Verilog, or another that is to stand in for it."""
    if verilog is not None:
        array._MustUse__silence = True  # Amaranth warns of components that are never elaborated
    return Design(
        name=array.config.name,
        verilog=verilog_text(array, array.config.name) if verilog is None else verilog,
        clock="clk",
        reset="rst",
        reset_active=True,
        channels=stream_channels(array),
    )


class VerilatedArray:
    """A Verilated :class:`hw.array.SystolicArray`. Products of any size, tile by tile, without a pause.

    Parameters
    ----------
    config : ArrayConfig
        The array.
    trace : str or None
        What products can record: a key of :data:`hw.verilated_library.TRACES`. Slower.
    verilog : str or None
        Simulated in place of the generated text: a netlist of it, say.
    """

    def __init__(self, config: ArrayConfig, *, trace: str | None, verilog: str | None = None):
        self.config = config
        self.array = SystolicArray(config)
        # Nothing moves while partial sums go down the array, or a memory of results is passed.
        patience = 4 * (self.array.timing.latency + config.depth + config.rows) + 1000
        self.bench = Bench(array_design(self.array, verilog), trace=trace, seed=0, patience=patience)
        self._job = self.array.job.payload.shape()
        self._results = self.array.results.payload.shape()

    def matmul_codes(
        self,
        x: NDArray[np.int64],
        w: NDArray[np.int64],
        mac: MacConfig,
        random: RandomWords,
        *,
        m_base: int = 0,
        n_base: int = 0,
        stalls: Stalls | None = None,
        waves: Waves | None = None,
        trailing: int = 0,
    ) -> Product:
        """Codes x[m, k] times codes w[k, n], as :func:`golden.accumulate.matmul_codes` defines it.

        Parameters
        ----------
        x, w : arrays
            Codes of ``mac.x`` and ``mac.w``.
        mac : MacConfig
            With the biases of this product; of the array's silicon.
        random : RandomWords
            Of stochastic roundings.
        m_base, n_base : int
            What the first row and the first column count as in random words.
        stalls, waves, trailing
            As in :meth:`hw.verilated_bench.Bench.run`.
        """
        check_product(self.config, mac, x, w)
        (m, k), n = x.shape, w.shape[1]
        if 0 in (m, k, n):  # nothing to compute: a sum of no products is +0
            return empty_product(m, n, events="overflow" in self._results.members)
        tiling = Tiling(self.config, m, k, n)
        silicon = self.config.silicon.config
        fields = offset_words(self.array, mac) | random_keys(random)
        beats = {
            "job": self._jobs(tiling, fields, m_base, n_base),
            "weights": tiling.weight_beats(pack_bits(tiling.weights(w), silicon.w.code_bits)),
            "activations": tiling.activation_beats(pack_bits(tiling.activations(x), silicon.x.code_bits)),
        }
        expected = {"results": tiling.groups * m}
        run = self.bench.run(beats, expected, stalls=stalls, waves=waves, trailing=trailing)
        came, cols = run.outputs["results"], self.config.cols
        self._check_last(tiling, came)

        def field(name: str, width: int) -> NDArray[np.int64]:
            return tiling.result(unpack_bits(came, width, cols, self._results[name].offset))

        events = "overflow" in self._results.members
        stamps = np.repeat(run.stamps["results"].astype(np.int64)[:, None], cols, axis=1)
        return Product(
            codes=field("codes", silicon.outer_accumulator.format.code_bits),
            cycles=run.cycles,
            overflow=field("overflow", 1).astype(bool) if events else None,
            underflow=field("underflow", 1).astype(bool) if events else None,
            stamps=tiling.result(stamps),
        )

    def _jobs(self, tiling: Tiling, fields: Mapping[str, int], m_base: int, n_base: int) -> NDArray[np.uint8]:
        """One job for each group of columns and block of rows."""
        members = self._job.members
        size = -(-self._job.size // 8)

        def place(name: str, value: int) -> int:
            field = self._job[name]
            return (value & (2**field.width - 1)) << field.offset

        length = {"k": tiling.k, "k_passes": tiling.passes}
        same = sum(place(name, value) for name, value in (fields | length).items() if name in members)
        words = []
        for group in range(tiling.groups):
            for first, rows in tiling.blocks:
                own = {
                    "m_rows": rows,
                    "m_base": (m_base + first) % 2**32,
                    "n_base": (n_base + group * self.config.cols) % 2**32,
                }
                words.append(same | sum(place(name, value) for name, value in own.items() if name in members))
        joined = b"".join(word.to_bytes(size, "little") for word in words)
        return np.frombuffer(joined, dtype=np.uint8).reshape(-1, size)

    def _check_last(self, tiling: Tiling, came: NDArray[np.uint8]) -> None:
        """``last`` is up with the last row of each job, and with no other."""
        last = unpack_bits(came, 1, 1, self._results["last"].offset)[:, 0].reshape(tiling.groups, -1)
        wanted = np.zeros(tiling.m, dtype=np.int64)
        wanted[[first + rows - 1 for first, rows in tiling.blocks]] = 1
        if (wrong := np.argwhere(last != wanted)).size:
            group, row = wrong[0]
            raise SimulationError(
                f"{self.config.name}: last is {last[group, row]} with row {row} of the columns from "
                f"{group * self.config.cols} of a product of {tiling.m} rows"
            )


def empty_product(m: int, n: int, *, events: bool) -> Product:
    nothing = np.zeros((m, n), dtype=bool) if events else None
    codes = np.zeros((m, n), dtype=np.int64)
    return Product(codes=codes, cycles=0, overflow=nothing, underflow=nothing, stamps=codes)
