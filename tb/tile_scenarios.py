"""Inside the simulator: what is done to a tile, and what must come of it."""

from __future__ import annotations

from random import Random

import cocotb
from cocotb.triggers import ClockCycles

from hw.registers import Access
from hw.tile_product import TileProduct
from hw.tile_program import random_product
from tb.tile_bank import CHANNELS
from tb.tile_bench import TileBench, kept
from tb.tile_drivers import ANSWER_CYCLES

__all__ = [
    "clears",
    "products",
    "refused_accesses",
    "resets",
    "starts_that_cannot_be",
    "wrong_lasts",
]

#: Every channel pauses for this share of the cycles.
EVERYWHERE = dict.fromkeys(CHANNELS, 0.4)


async def products(bench: TileBench, stalls: dict[str, float], count: int) -> None:
    """Products one after the other."""
    bench.stall(stalls)
    for _ in range(count):
        await bench.product(draw_product(bench))


async def resets(bench: TileBench, count: int) -> None:
    """Reset in any cycle of a product and of its preparation; the next product is as good as ever."""
    for _ in range(count):
        bench.stall(random_stalls(bench.rng))
        task = cocotb.start_soon(bench.product(draw_product(bench)))
        await ClockCycles(bench.dut.aclk, bench.rng.choice((1, 20, 100, 300)) + bench.rng.randint(0, 100))
        if task.done():
            task.result()
        task.cancel()
        await bench.reset(bench.rng.randint(1, 3))
        await bench.expect_register("STATUS", 0)
        await products(bench, random_stalls(bench.rng), 1)


async def clears(bench: TileBench, count: int) -> None:
    """Give up products in any cycle; a result on offer stays, the next product is as good as ever."""
    for _ in range(count):
        bench.stall(random_stalls(bench.rng))
        if bench.rng.random() < 0.5:
            bench.take_nothing()  # so that a result is on offer
        product = draw_product(bench)
        await bench.program(product)
        received = len(bench.taken)
        await bench.command("start")
        bench.send_operands(product)
        await ClockCycles(bench.dut.aclk, bench.rng.choice((0, 20, 60)) + bench.rng.randint(1, 60))
        await give_up(bench, product, received)
        await products(bench, random_stalls(bench.rng), 1)


async def give_up(bench: TileBench, product: TileProduct, received: int) -> None:
    """Stop the senders, clear, take what was on offer; what came is a part of the product."""
    bench.stop_senders()
    await bench.command("clear")
    bench.stall({})
    await ClockCycles(bench.dut.aclk, 20)
    wanted = product.result_beats(product.expected().codes)
    came = [kept(beat) for _, beat in bench.taken[received:]]
    assert came == [kept(beat) for beat in wanted[: len(came)]], f"{bench.about}: beats of a cleared product"
    await bench.reset_streams()
    busy = bench.bit("STATUS", "busy", "halted")
    await bench.expect_register("STATUS", 0, busy)
    await bench.write("STATUS", -1)
    await bench.expect_register("STATUS", 0)


async def refused_accesses(bench: TileBench) -> None:
    """Addresses without a register, read-only ones, bytes, values too large; all else is as before.

    To begin with, the tile is as it is after a reset.
    """
    rng, registers = bench.rng, bench.registers
    bench.stall(EVERYWHERE)
    mapped = {register.address for register in registers.values()}
    free = [address for address in range(0, 4096, 4) if address not in mapped]
    for address in (*rng.sample(free, 6), free[-1]):
        await bench.read(address, refused=True)
        await bench.write(address, rng.getrandbits(32), refused=True)
    for register in registers.values():
        fields = register.fields
        if all(field.access is Access.PUSH for field in fields):
            await bench.read(register.name, refused=True)
            continue
        if not register.writable:
            await bench.write(register.name, rng.getrandbits(32), refused=True)
        wanted = sum(field.constant << field.lsb for field in fields if field.constant is not None)
        await bench.expect_register(register.name, wanted)  # everything else is 0 after reset
    await bench.write("M", 2**24, refused=True)
    await bench.write("CONTROL", bench.bit("CONTROL", "start", "clear"), refused=True)
    await bench.write("M", 5)
    for size, offset in ((1, 0), (2, 2), (3, 1)):
        await bench.write_bytes(bench.address("M") + offset, bytes(size), refused=True)
    await _write_raw(bench, bench.address("M"), rng.getrandbits(32), 0b0000)
    await bench.expect_register("M", 5)
    await _write_raw(bench, bench.address("M") + 3, 6, 0b1111)  # the low bits of an address do not count
    await bench.expect_register("M", 6)
    await products(bench, EVERYWHERE, 1)


async def _write_raw(bench: TileBench, address: int, data: int, strobes: int) -> None:
    """On the channels themselves: the driver would not send that. Data or address first, at random."""
    channels = bench.drivers
    aw = channels["aw"]._transaction_obj(awaddr=address, awprot=bench.rng.getrandbits(3))
    w = channels["w"]._transaction_obj(wdata=data, wstrb=strobes)
    sends = [(channels["aw"], aw), (channels["w"], w)]
    bench.rng.shuffle(sends)
    for channel, beat in sends:
        channel.send_nowait(beat)
        await ClockCycles(bench.dut.aclk, bench.rng.randint(0, 30) + 1)
    answer = await bench.within(ANSWER_CYCLES, channels["b"].recv(), f"answer to a write of {address:#x}")
    bench.expect(f"bresp of {address:#x}", int(answer.bresp), 0)


async def starts_that_cannot_be(bench: TileBench) -> None:
    """M, N, K of 0, N too large, start while busy: an error bit and the interrupt, nothing else."""
    bench.stall(EVERYWHERE)
    await bench.write("INTERRUPT", bench.bit("INTERRUPT", "error"))
    wrong = [({"M": 0}, "bad_m"), ({"N": 0}, "bad_n"), ({"K": 0}, "bad_k")]
    if bench.config.output is not None:
        wrong.append(({"N": bench.config.max_n + 1}, "bad_n"))
    for changed, error in wrong:
        for name, value in ({"M": 3, "N": 2, "K": 4} | changed).items():
            await bench.write(name, value)
        await bench.command("start")
        await expect_error(bench, error)
    product = draw_product(bench)
    await bench.program(product)
    received = len(bench.taken)
    bench.take_nothing()
    await bench.command("start")
    bench.send_operands(product)
    await ClockCycles(bench.dut.aclk, bench.rng.randint(1, 60))
    await bench.command("start")
    await expect_error(bench, "start_busy", "busy")
    for register in bench.registers.values():
        if register.locked:
            await bench.write(register.name, 0, refused=True)
    await bench.expect_register("M", product.shape[0])
    await bench.write("INTERRUPT", bench.bit("INTERRUPT", "done"))
    bench.stall(EVERYWHERE)
    await bench.check_results(product, received)
    await bench.check_flags(product)


async def expect_error(bench: TileBench, error: str, *beside: str) -> None:
    """The interrupt, this error bit and no other; it can be cleared, and the interrupt goes with it."""
    await ClockCycles(bench.dut.aclk, 2)
    bench.expect("irq", int(bench.signal("irq").value), 1)
    await bench.expect_register("STATUS", bench.bit("STATUS", error, "error", *beside), ~bench.events)
    await bench.write("STATUS", bench.bit("STATUS", error))
    await ClockCycles(bench.dut.aclk, 2)
    bench.expect("irq", int(bench.signal("irq").value), 0)


async def wrong_lasts(bench: TileBench, stream: str, *, early: bool) -> None:
    """A tlast too early, or none at the end: an error bit; beats are dropped until a clear."""
    rng = bench.rng
    bench.stall(random_stalls(rng))
    await bench.write("INTERRUPT", bench.bit("INTERRUPT", "error"))
    product = random_product(bench.config, bench.mac, (3, 3, 5), rng)
    operands = {"weights": product.weight_beats(rng), "activations": product.activation_beats(rng)}
    beats = operands[stream]
    if early:
        at = rng.randrange(len(beats) - 1)
        beats[at] = beats[at]._replace(last=True)
    else:
        beats[-1] = beats[-1]._replace(last=False)
        beats += [beats[0], beats[0]._replace(last=True)]
    await bench.program(product)
    received = len(bench.taken)
    await bench.command("start")
    for name, driver in (("weights", bench.weights), ("activations", bench.activations)):
        bench.send(driver, operands[name])
    for driver in (bench.weights, bench.activations):  # the halted tile takes all there is
        await bench.within(bench.patience(product), driver.wait(), "end of the senders")
    await ClockCycles(bench.dut.aclk, 10)
    await expect_error(bench, f"{stream}_last", "halted")
    await bench.command("start")
    await expect_error(bench, "start_halted", "halted")
    await give_up(bench, product, received)
    await products(bench, random_stalls(rng), 1)


def draw_product(bench: TileBench) -> TileProduct:
    """Sizes around those of the array: parts of a tile of it, whole ones, several, some and a part."""
    rng, case = bench.rng, bench.case

    def size(unit: int, most: int) -> int:
        whole = rng.choice((0, 0, 1, 2))
        return min(most, max(1, whole * unit + rng.randint(0, unit)))

    shape = (size(case.depth, 12), size(case.cols, min(9, bench.config.max_n)), size(case.rows, 14))
    return random_product(bench.config, bench.mac, shape, rng)


def random_stalls(rng: Random) -> dict[str, float]:
    """For each channel anything from none to nearly always."""
    return {channel: rng.choice((0.0, 0.2, 0.5, 0.85)) for channel in CHANNELS}
