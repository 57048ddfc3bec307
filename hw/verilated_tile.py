"""Matrix products on the Verilated tile, driven as software would drive it: registers, then streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Value
from numpy.typing import NDArray

from golden.config import ConfigError, MacConfig
from golden.output import OutputSettings
from golden.random_words import RandomWords
from golden.tile import DIMENSION_BITS, TileConfig
from hw.registers import Register
from hw.selfcheck import offset_words
from hw.tile import Tile
from hw.verilated_array import Product, check_product, empty_product, random_keys
from hw.verilated_beats import Tiling, pack_lanes, unpack_lanes
from hw.verilated_bench import Bench, SimulationError, Stalls, Waves
from hw.verilated_library import Channel, Design
from hw.verilog import verilog_text

__all__ = ["TileProduct", "VerilatedTile", "tile_design"]

_OKAY = 0
_WHOLE_WORD = 0b1111

#: AXI channels: the prefix of their ports, whether they are inputs, and the ports of a beat.
_LITE = {
    "aw": (True, ("awaddr", "awprot")),
    "w": (True, ("wdata", "wstrb")),
    "b": (False, ("bresp",)),
    "ar": (True, ("araddr", "arprot")),
    "r": (False, ("rdata", "rresp")),
}
_STREAMS = {"s_axis_weights": True, "s_axis_activations": True, "m_axis_results": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class TileProduct(Product):
    """What the tile made of a product, and what its registers said afterwards."""

    status: dict[str, int]  #: Fields of STATUS.
    counters: dict[str, int]  #: Registers that count: CYCLES, RESULT_BEATS, CHUNKS and those of events.


def tile_design(tile: Tile, verilog: str | None = None) -> Design:
    """The tile's AXI channels and its Verilog, or another that is to stand in for it."""
    if verilog is not None:
        tile._MustUse__silence = tile.array._MustUse__silence = (
            True  # Amaranth warns of what is never elaborated
        )

    def ports(*names: str) -> tuple[tuple[str, int], ...]:
        return tuple((name, len(Value.cast(getattr(tile, name)))) for name in names)

    lite = [
        Channel(
            name=name,
            is_input=is_input,
            valid=f"s_axi_{name}valid",
            ready=f"s_axi_{name}ready",
            payload=ports(*(f"s_axi_{port}" for port in payload)),
        )
        for name, (is_input, payload) in _LITE.items()
    ]
    streams = [
        Channel(
            name=name.rpartition("_")[2],
            is_input=is_input,
            valid=f"{name}_tvalid",
            ready=f"{name}_tready",
            payload=ports(*(f"{name}_{part}" for part in ("tdata", "tkeep", "tlast"))),
        )
        for name, is_input in _STREAMS.items()
    ]
    return Design(
        name=tile.config.name,
        verilog=verilog_text(tile, tile.config.name) if verilog is None else verilog,
        clock="aclk",
        reset="aresetn",
        reset_active=False,
        channels=(*lite, *streams),
    )


class VerilatedTile:
    """A Verilated :class:`hw.tile.Tile`.

    Parameters
    ----------
    config : TileConfig
        The tile.
    trace : str or None
        What products can record: a key of :data:`hw.verilated_library.TRACES`. Slower.
    verilog : str or None
        Simulated in place of the generated text: a netlist of it, say.
    """

    def __init__(self, config: TileConfig, *, trace: str | None, verilog: str | None = None):
        self.config = config
        self.tile = Tile(config)
        self.registers: dict[str, Register] = {register.name: register for register in self.tile.registers}
        array = config.array
        patience = 4 * (self.tile.array.timing.latency + array.depth + array.rows) + 1000
        self.bench = Bench(tile_design(self.tile, verilog), trace=trace, seed=0, patience=patience)

    def write(self, words: Iterable[tuple[str, int]]) -> None:
        """Write registers in order; :class:`SimulationError` if one is refused."""
        words = list(words)
        run = self.bench.run(self._write_beats(words), {"b": len(words)})
        self._check_written(words, run.outputs["b"])

    def read(self, names: Iterable[str]) -> dict[str, int]:
        """Read registers, each as a word of 32 bits."""
        names = list(names)
        addresses = _octets([self.registers[name].address for name in names], 2)
        beats = {"ar": np.hstack([addresses, np.zeros((len(names), 1), np.uint8)])}
        came = self.bench.run(beats, {"r": len(names)}).outputs["r"]
        if (refused := np.flatnonzero(came[:, 4] != _OKAY)).size:
            raise SimulationError(f"{self.config.name}: a read of {names[refused[0]]} was refused")
        words = np.ascontiguousarray(came[:, :4]).view("<u4")[:, 0]
        return dict(zip(names, words.tolist(), strict=True))

    def matmul_codes(
        self,
        x: NDArray[np.int64],
        w: NDArray[np.int64],
        mac: MacConfig,
        random: RandomWords,
        *,
        output: OutputSettings | None = None,
        m_base: int = 0,
        n_base: int = 0,
        stalls: Stalls | None = None,
        waves: Waves | None = None,
        trailing: int = 0,
    ) -> TileProduct:
        """Codes x[m, k] times codes w[k, n], through the output stage if there is one.

        The arithmetic is that of :func:`golden.accumulate.matmul_codes`, then :func:`golden.output.output`.
        ``cycles`` are those in which the tile was busy, by its own count.

        Parameters
        ----------
        x, w, mac, random, m_base, n_base, stalls, waves, trailing
            As in :meth:`hw.verilated_array.VerilatedArray.matmul_codes`.
        output : OutputSettings or None
            What the output stage is to do; None if there is none.
        """
        config = self.config
        check_product(config.array, mac, x, w)
        if max(len(x), w.shape[1]) >= 2**DIMENSION_BITS:
            raise ConfigError(f"a tile takes at most {2**DIMENSION_BITS - 1} rows and columns at a time")
        if (output is None) != (config.output is None):
            raise ValueError("an output stage takes settings, and a tile without one takes none")
        (m, k), n = x.shape, w.shape[1]
        if 0 in (m, k, n):  # registers refuse it; a sum of no products is +0
            if output is not None:
                raise ValueError(f"a product of {m} x {k} by {k} x {n} is empty, and the tile takes none")
            return TileProduct(**_fields(empty_product(m, n, events=False)), status={}, counters={})
        tiling = Tiling(config.array, m, k, n)
        silicon = config.array.silicon.config
        words = [*self._words(tiling, mac, random, m_base, n_base), *self._output_words(output, n)]
        words.append(("CONTROL", 1))
        weights = tiling.weight_beats(pack_lanes(tiling.weights(w), silicon.w.code_bits))
        activations = tiling.activation_beats(pack_lanes(tiling.activations(x), silicon.x.code_bits))
        beats = self._write_beats(words) | {
            "weights": _stream_beats(weights),
            "activations": _stream_beats(activations),
        }
        expected = {"b": len(words), "results": tiling.groups * m}
        run = self.bench.run(beats, expected, stalls=stalls, waves=waves, trailing=trailing)
        self._check_written(words, run.outputs["b"])
        codes = tiling.result(self._results(tiling, run.outputs["results"]))
        stamps = np.repeat(run.stamps["results"].astype(np.int64)[:, None], config.array.cols, axis=1)
        status, counters = self._after()
        return TileProduct(
            codes=codes,
            cycles=counters["CYCLES"],
            overflow=None,
            underflow=None,
            stamps=tiling.result(stamps),
            status=status,
            counters=counters,
        )

    def _words(
        self, tiling: Tiling, mac: MacConfig, random: RandomWords, m_base: int, n_base: int
    ) -> list[tuple[str, int]]:
        """What the registers of a product are loaded with, those that this tile has."""
        words = {"M": tiling.m, "N": tiling.n, "K": tiling.k, "M_BASE": m_base, "N_BASE": n_base}
        words |= offset_words(self.tile.array, mac) | random_keys(random)
        return [(name.upper(), value) for name, value in words.items() if name.upper() in self.registers]

    def _output_words(self, output: OutputSettings | None, n: int) -> list[tuple[str, int]]:
        """The output stage's registers, then the parameters of each channel."""
        if output is None:
            return []
        words = [("RELU", int(output.relu)), ("OUTPUT_OFFSET", output.offset), ("CHANNEL", 0)]
        bias, multiplier, shift = (
            None if part is None else np.broadcast_to(part, n).tolist()
            for part in (output.bias, output.multiplier, output.shift)
        )
        bits = self.config.outer.format.code_bits
        signed = self.registers["CHANNEL_BIAS"].fields[0].signed
        for channel in range(n):
            if multiplier is not None:
                words += [("CHANNEL_MULTIPLIER", multiplier[channel]), ("CHANNEL_SHIFT", shift[channel])]
            code = bias[channel] & (2**bits - 1)
            if bits > 32:
                words.append(
                    ("CHANNEL_BIAS_HIGH", _extended(code >> 32, self.registers["CHANNEL_BIAS_HIGH"]))
                )
            words.append(
                ("CHANNEL_BIAS", code - 2**bits if signed and code >> (bits - 1) else code & 0xFFFFFFFF)
            )
        return words

    def _write_beats(self, words: Iterable[tuple[str, int]]) -> dict[str, NDArray[np.uint8]]:
        addresses = _octets([self.registers[name].address for name, _ in words], 2)
        values = _octets([value & 0xFFFFFFFF for _, value in words], 4)
        strobes = np.full((len(values), 1), _WHOLE_WORD, np.uint8)
        return {
            "aw": np.hstack([addresses, np.zeros_like(strobes)]),
            "w": np.hstack([values, strobes]),
        }

    def _check_written(self, words: list[tuple[str, int]], responses: NDArray[np.uint8]) -> None:
        if (refused := np.flatnonzero(responses[:, 0] != _OKAY)).size:
            name, value = words[refused[0]]
            raise SimulationError(f"{self.config.name}: a write of {value} to {name} was refused")

    def _results(self, tiling: Tiling, came: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Codes [beats, cols]; what stands beside them is checked."""
        bits = self.config.result.code_bits
        (_, data_bits), (_, keep_bits), _ = self.bench.design.channels[-1].payload
        data, keep, last = np.split(came, [data_bits // 8, data_bits // 8 + -(-keep_bits // 8)], axis=1)
        kept = np.unpackbits(keep, axis=-1, bitorder="little")[:, :keep_bits]
        column = np.arange(keep_bits) // (keep_bits // tiling.config.cols)
        group = np.repeat(np.arange(tiling.groups), tiling.m)
        wanted = group[:, None] * tiling.config.cols + column < tiling.n
        if (wrong := np.argwhere(kept != wanted)).size:
            raise SimulationError(
                f"{self.config.name}: tkeep of result {wrong[0][0]} is wrong: {keep[wrong[0][0]]}"
            )
        ends = np.flatnonzero(last[:, 0])
        if ends.tolist() != [len(came) - 1]:
            raise SimulationError(f"{self.config.name}: tlast of {len(came)} results is with {ends.tolist()}")
        return unpack_lanes(data, bits)

    def _after(self) -> tuple[dict[str, int], dict[str, int]]:
        """State and counters when a product is complete; flags are cleared."""
        counted = ("CYCLES", "RESULT_BEATS", "CHUNKS", "OVERFLOWS", "UNDERFLOWS", "OUTPUT_OVERFLOWS")
        counters = self.read(["STATUS", *(name for name in counted if name in self.registers)])
        word = counters.pop("STATUS")
        status = {
            field.name: (word >> field.lsb) & (2**field.width - 1)
            for field in self.registers["STATUS"].fields
        }
        if status["busy"] or status["error"] or not status["done"]:
            raise SimulationError(f"{self.config.name}: after a product STATUS is {status}")
        self.write([("STATUS", word)])
        return status, counters


def _extended(value: int, register: Register) -> int:
    (field,) = register.fields
    return value - 2**field.width if field.signed and value >> (field.width - 1) else value


def _octets(values: list[int], size: int) -> NDArray[np.uint8]:
    return np.array(values, dtype=f"<u{size}").view(np.uint8).reshape(-1, size)


def _stream_beats(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every byte is kept; the last beat is the last."""
    count, size = data.shape
    beats = np.full((count, size + -(-size // 8) + 1), 0xFF, dtype=np.uint8)
    beats[:, :size] = data
    beats[:, -1] = 0
    beats[-1, -1] = 1
    return beats


def _fields(product: Product) -> Mapping[str, object]:
    return {name: getattr(product, name) for name in Product.__slots__}
