"""Inside the simulator: cocotbext-axi's drivers on the buses of a tile. No wait is without a limit."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterator, Mapping
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, SimTimeoutError, ValueChange, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from hw.registers import register_map
from hw.tile_product import Beat
from tb.mismatch import PERIOD_NS
from tb.tile_bank import CHANNELS, OPERANDS, RESULTS
from tb.tile_cases import TileCase

__all__ = ["ANSWER_CYCLES", "HangError", "TileDrivers", "start_clock"]

ANSWER_CYCLES = 1000  #: A register access ends within so many, whatever the stalls.


class HangError(AssertionError):
    """Something did not come in time."""


async def start_clock(dut, benches: list[TileDrivers]) -> None:
    """The clock, and a reset of all tiles."""
    Clock(dut.aclk, PERIOD_NS, "ns").start(start_high=False)
    for bench in benches:
        bench.assert_reset(True)
    await ClockCycles(dut.aclk, 3)
    for bench in benches:
        bench.assert_reset(False)
    await ClockCycles(dut.aclk, 2)


class TileDrivers:
    """A tile of the bank, what drives it, and what it has sent.

    Accesses to registers, sends and waits raise an AssertionError where the tile does not do what it
    should, :class:`HangError` where it does nothing.
    """

    def __init__(self, dut, prefix: str, case: TileCase, rng: Random):
        self.dut, self.prefix, self.case, self.rng = dut, prefix, case, rng
        self.config, self.mac = case.config, case.mac_config
        self.registers = {register.name: register for register in register_map(self.config)}
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.ERROR)
        clock, reset = dut.aclk, self.signal("aresetn")
        reset_arguments = {"reset": reset, "reset_active_level": False}
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, f"{prefix}_s_axi"), clock, **reset_arguments)
        self.weights, self.activations = (
            AxiStreamSource(AxiStreamBus.from_prefix(dut, f"{prefix}_{name}"), clock, **reset_arguments)
            for name in OPERANDS
        )
        self.sink = AxiStreamSink(
            AxiStreamBus.from_prefix(dut, f"{prefix}_{RESULTS}"), clock, **reset_arguments
        )
        self.drivers = {
            "aw": self.bus.write_if.aw_channel,
            "w": self.bus.write_if.w_channel,
            "b": self.bus.write_if.b_channel,
            "ar": self.bus.read_if.ar_channel,
            "r": self.bus.read_if.r_channel,
            "weights": self.weights,
            "activations": self.activations,
            "results": self.sink,
        }
        #: Beats of results as the watch saw them taken, and when: also those of products given up.
        self.taken: list[tuple[int, Beat]] = []
        cocotb.start_soon(self._listen())

    @property
    def about(self) -> str:
        """For messages."""
        return f"{self.prefix} ({self.config.name})"

    def signal(self, name: str):
        return getattr(self.dut, f"{self.prefix}_{name}")

    async def _listen(self) -> None:
        size = len(self.signal(f"{RESULTS}_tdata"))
        while True:
            await ValueChange(self.signal("results_beats"))
            word = int(self.signal("results_taken").value)
            beat = Beat(
                word % 2**size, word >> size & (2 ** (size // 8) - 1), bool(word >> (size + size // 8))
            )
            self.taken.append((int(get_sim_time("ns")), beat))

    # Stalls and resets

    def stall(self, shares: Mapping[str, float]) -> None:
        """Let each channel pause at random for this share of its cycles; 0 where it is not named."""
        for channel, driver in self.drivers.items():
            share = shares.get(channel, 0)
            driver.set_pause_generator(_pauses(share, Random(self.rng.getrandbits(64))) if share else None)
            driver.pause = False

    def take_nothing(self) -> None:
        """Hold back all results, until the next :meth:`stall`."""
        self.sink.clear_pause_generator()
        self.sink.pause = True

    def assert_reset(self, on: bool) -> None:
        """Reset the tile and all that drives it."""
        self.signal("aresetn").value = not on
        self.signal("senders_resetn").value = not on
        for stream in (self.weights, self.activations, self.sink):
            stream.clear()

    async def reset(self, cycles: int) -> None:
        self.assert_reset(True)
        await ClockCycles(self.dut.aclk, cycles)
        self.assert_reset(False)
        await ClockCycles(self.dut.aclk, 2)

    def stop_senders(self) -> None:
        """As one resets a DMA engine: what was not sent never will be, not even a beat on offer."""
        self.signal("senders_resetn").value = 0
        for stream in (self.weights, self.activations):
            stream.assert_reset(True)
            stream.clear()

    async def reset_streams(self) -> None:
        """Let stopped senders send anew, and the receiver forget what it has."""
        self.sink.assert_reset(True)
        self.sink.clear()
        await ClockCycles(self.dut.aclk, 2)
        for stream in (self.weights, self.activations, self.sink):
            stream.assert_reset(False)
        self.signal("senders_resetn").value = 1
        await ClockCycles(self.dut.aclk, 1)

    # Registers

    async def within(self, cycles: int, awaited: Coroutine, what: str):
        """What is awaited, unless that takes too long. It ends with whoever waits for it."""
        task = cocotb.start_soon(awaited)
        try:
            return await with_timeout(task, cycles * PERIOD_NS, "ns")
        except SimTimeoutError:
            raise HangError(f"{self.about}: no {what} within {cycles} cycles") from None
        finally:
            if not task.done():
                task.cancel()

    def address(self, register: str | int) -> int:
        return register if isinstance(register, int) else self.registers[register].address

    def bit(self, register: str, *names: str) -> int:
        """Fields of a register, all ones."""
        fields = {field.name: field for field in self.registers[register].fields}
        return sum((2 ** fields[name].width - 1) << fields[name].lsb for name in names)

    async def write(self, register: str | int, value: int, *, refused: bool = False) -> None:
        """Write a whole word, and see that it is taken or refused."""
        data = (value % 2**32).to_bytes(4, "little")
        await self.write_bytes(self.address(register), data, refused=refused)

    async def write_bytes(self, address: int, data: bytes, *, refused: bool) -> None:
        """Write some bytes of a word: only their strobes are set."""
        answer = await self.within(
            ANSWER_CYCLES, self.bus.write(address, data), f"answer to a write of {address:#x}"
        )
        self.expect(f"bresp of {address:#x}", answer.resp, AxiResp.SLVERR if refused else AxiResp.OKAY)

    async def read(self, register: str | int, *, refused: bool = False) -> int:
        address = self.address(register)
        aligned = address & ~3  # the driver would ask for the next word, too
        answer = await self.within(
            ANSWER_CYCLES, self.bus.read(aligned, 4), f"answer to a read of {address:#x}"
        )
        self.expect(f"rresp of {address:#x}", answer.resp, AxiResp.SLVERR if refused else AxiResp.OKAY)
        word = int.from_bytes(answer.data, "little")
        if refused:
            self.expect(f"word of the refused read of {address:#x}", word, 0)
        return word

    async def expect_register(self, register: str | int, wanted: int, mask: int = 2**32 - 1) -> None:
        self.expect(f"register {register}", await self.read(register) & mask, wanted & mask % 2**32)

    def expect(self, what: str, got: int, wanted: int) -> None:
        assert got == wanted, f"{self.about}: {what} is {int(got):#x}, not {int(wanted):#x}"

    @property
    def events(self) -> int:
        """The sticky flags of events in STATUS, those that there are."""
        return sum(
            self.bit("STATUS", field.name)
            for field in self.registers["STATUS"].fields
            if field.name in ("overflow", "underflow", "output_overflow")
        )

    async def command(self, name: str) -> None:
        await self.write("CONTROL", self.bit("CONTROL", name))

    def send(self, source: AxiStreamSource, beats: list[Beat]) -> None:
        """Queue beats, each run of them up to a ``last`` as a frame; a last one must be among them."""
        frame: list[Beat] = []
        for beat in beats:
            frame.append(beat)
            if beat.last:
                source.send_nowait(_frame(frame, source.byte_lanes))
                frame = []
        assert not frame, "the driver cannot send a frame without an end"

    def check_protocol(self) -> None:
        """No channel has seen a beat that changed or went while it waited."""
        for channel in CHANNELS:
            assert int(self.signal(f"{channel}_violated").value) == 0, (
                f"{self.about}: channel {channel} took back or changed a beat on offer"
            )

    @property
    def beats(self) -> dict[str, int]:
        """Beats that have passed on each channel since the simulation began."""
        return {channel: int(self.signal(f"{channel}_beats").value) for channel in CHANNELS}


def _pauses(share: float, rng: Random) -> Iterator[bool]:
    """A pause or not, cycle by cycle; in bursts."""
    while True:
        pause = rng.random() < share
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            yield pause


def _frame(beats: list[Beat], lanes: int) -> AxiStreamFrame:
    data = b"".join(beat.data.to_bytes(lanes, "little") for beat in beats)
    keep = [beat.keep >> lane & 1 for beat in beats for lane in range(lanes)]
    return AxiStreamFrame(data, tkeep=keep)
