"""Inside the simulator: whole products on a tile, compared with golden in all that they leave."""

from __future__ import annotations

import contextlib

import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge

from hw.tile_product import Beat, TileProduct
from tb.mismatch import Mismatch, MismatchError, mac_signals
from tb.tile_bank import RESULTS
from tb.tile_drivers import ANSWER_CYCLES, TileDrivers

__all__ = ["TileBench", "kept"]

_BEAT_CYCLES = 50  # are enough for each beat of a product
_SETTLE = 4  # from the last result to the flags


class TileBench(TileDrivers):
    """A tile and its drivers, to give it products.

    Raises :class:`tb.mismatch.MismatchError` where a result is wrong, else as :class:`TileDrivers`.
    """

    def patience(self, product: TileProduct) -> int:
        """Cycles in which it must have come to its end, whatever the stalls."""
        m, n, k = product.shape
        tiles, blocks = -(-n // self.case.cols), -(-m // self.case.depth)
        beats = tiles * (blocks * (k + self.case.rows) + m * -(-k // self.case.rows) + m)
        return ANSWER_CYCLES + _BEAT_CYCLES * beats

    async def program(self, product: TileProduct) -> None:
        for address, word in product.register_writes():
            await self.write(address, word)

    async def product(self, product: TileProduct) -> None:
        """A whole product: registers, operands, results, flags and counters; all as golden says."""
        early = self.rng.random() < 0.5  # operands may be waiting before the start
        if early:
            self.send_operands(product)
        await self.program(product)
        await self.write("INTERRUPT", self.bit("INTERRUPT", "done"))
        self.expect("irq", int(self.signal("irq").value), 0)
        received = len(self.taken)
        await self.command("start")
        if not early:
            self.send_operands(product)
        await self.check_results(product, received)
        await self.check_flags(product)

    def send_operands(self, product: TileProduct) -> None:
        self.send(self.weights, product.weight_beats(self.rng))
        self.send(self.activations, product.activation_beats(self.rng))

    async def check_results(self, product: TileProduct, received: int) -> None:
        """Every beat up to ``tlast``: by cocotbext-axi, and by the watch, which saw each of them once."""
        codes = product.expected().codes
        beats = product.result_beats(codes)
        frame = await self.within(self.patience(product), self.sink.recv(compact=False), "last result")
        await FallingEdge(self.dut.aclk)  # the watch is behind the edge
        lanes = self.sink.byte_lanes
        data = bytes(frame.tdata)
        got = [
            Beat(
                int.from_bytes(data[i : i + lanes], "little"),
                sum(bool(bit) << j for j, bit in enumerate(frame.tkeep[i : i + lanes])),
                i + lanes == len(data),
            )
            for i in range(0, len(data), lanes)
        ]
        seen = self.taken[received:]
        assert [beat for _, beat in seen] == got, f"{self.about}: the driver saw other beats than the watch"
        for i, ((time, beat), wanted) in enumerate(zip(seen, beats, strict=False)):
            if kept(beat) != kept(wanted):
                await self.fail(product, i, time, beat, wanted)
        assert len(got) == len(beats), f"{self.about}: {len(got)} beats of results, not {len(beats)}"

    async def check_flags(self, product: TileProduct) -> None:
        expected = product.expected()
        m, n, _ = product.shape
        flags = {"done": True}
        counts = {
            "RESULT_BEATS": m * -(-n // self.case.cols),
            "CHUNKS": product.chunks,
        }
        if self.config.array.events:
            flags |= {"overflow": expected.overflows > 0, "underflow": expected.underflows > 0}
            counts |= {"OVERFLOWS": expected.overflows, "UNDERFLOWS": expected.underflows}
        if self.config.output is not None:
            flags |= {"output_overflow": expected.output_overflows > 0}
            counts |= {"OUTPUT_OVERFLOWS": expected.output_overflows}
        await ClockCycles(self.dut.aclk, _SETTLE)
        self.expect("irq", int(self.signal("irq").value), 1)
        status = self.bit("STATUS", *(name for name, is_set in flags.items() if is_set))
        await self.expect_register("STATUS", status)
        await self.write("STATUS", -1)
        await self.expect_register("STATUS", 0)
        self.expect("irq", int(self.signal("irq").value), 0)
        for name, count in counts.items():
            await self.expect_register(name, count)

    async def fail(self, product: TileProduct, index: int, time: int, beat: Beat, wanted: Beat) -> None:
        """Raise what says where the wrong beat belongs."""
        row, first = _place(product, index)
        lane = len(self.signal(f"{RESULTS}_tdata")) // self.case.cols
        for column in range(self.case.cols):
            got, want = (each.data >> column * lane & (2**lane - 1) for each in (beat, wanted))
            if wanted.keep >> column * lane // 8 & 1 and got != want:
                break
        else:
            raise AssertionError(
                f"{self.about}: beat {index} at {time} ns, row {row}: tkeep {beat.keep:#x} "
                f"tlast {beat.last}, golden gives {wanted.keep:#x} and {wanted.last}"
            )
        n = first + column
        mac, number = product.mac, self.config.result
        mask = 2**number.code_bits - 1
        raise MismatchError(
            Mismatch(
                instance=self.prefix,
                column=column,
                port=f"{RESULTS}_tdata",
                lsb=column * lane,
                what=f"{self.config.name} of {mac.name}, M={product.shape[0]} N={product.shape[1]} "
                f"K={product.shape[2]}, x={[hex(code) for code in product.x[row]]} "
                f"w={[hex(code) for code in product.w[:, n]]}",
                time_ns=time - 1,  # before the edge
                place={"m": row, "n": n, "k": await self.first_wrong(product, row, n)},
                got=got & mask,
                wanted=want & mask,
                number=number.name,
                signals=mac_signals(mac),
            )
        )

    async def first_wrong(self, product: TileProduct, m: int, n: int) -> int | None:
        """The first k for which the sum of the products 0 to k is already wrong, without stalls.

        None if no such sum is wrong, or does not even come.
        """
        with contextlib.suppress(AssertionError):
            return await self._first_wrong(product, m, n)

    async def _first_wrong(self, product: TileProduct, m: int, n: int) -> int | None:
        self.stall({})
        for k in range(product.shape[2]):
            part = _part(product, k + 1)
            await self.reset(2)
            await self.program(part)
            received = len(self.taken)
            self.send_operands(part)
            await self.command("start")
            await self.within(self.patience(part), self.sink.recv(compact=False), "last result")
            await FallingEdge(self.dut.aclk)
            beats = part.result_beats(part.expected().codes)
            for i, ((_, got), wanted) in enumerate(zip(self.taken[received:], beats, strict=False)):
                row, first = _place(part, i)
                if row == m and first <= n < first + self.case.cols and kept(got) != kept(wanted):
                    return k
        return None


def kept(beat: Beat) -> tuple[int, int, bool]:
    """A beat with what is not kept set to 0."""
    mask = sum(0xFF << 8 * i for i in range(beat.keep.bit_length()) if beat.keep >> i & 1)
    return beat.data & mask, beat.keep, beat.last


def _place(product: TileProduct, index: int) -> tuple[int, int]:
    """Row and first column of a beat of results."""
    m = product.shape[0]
    return index % m, index // m * product.tile.array.cols


def _part(product: TileProduct, k: int) -> TileProduct:
    """The product of the first k columns of x and rows of w."""
    return TileProduct(
        tile=product.tile,
        mac=product.mac,
        x=np.ascontiguousarray(product.x[:, :k]),
        w=product.w[:k],
        random=product.random,
        m_base=product.m_base,
        n_base=product.n_base,
        output=product.output,
    )
