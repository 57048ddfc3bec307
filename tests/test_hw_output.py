"""The output stage in gates, part by part, against golden; and the register slice, which holds or drops."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from golden.config import ArrayConfig, MacConfig, Rounding, parse_format
from golden.output import OutputSettings, output, output_overflow
from golden.rounding import round_significand
from golden.tile import SHIFT_BITS, OutputStage, TileConfig
from hw.axi import RegisterSlice
from hw.output import OutputLane, ShiftRounder

WIDTH = 5
SAMPLES = 1500


def simulate(component, testbench, *, clocked: bool) -> None:
    simulator = Simulator(component)
    if clocked:
        simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("rounding", [Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN, Rounding.FLOOR])
def test_shift_rounder_on_every_input(rounding):
    rounder = ShiftRounder(width=WIDTH, rounding=rounding)
    wrong = []

    async def testbench(ctx):
        for exact in range(-(2 ** (WIDTH - 1)), 2 ** (WIDTH - 1)):
            for shift in range(2**SHIFT_BITS):
                ctx.set(rounder.exact, exact)
                ctx.set(rounder.shift, shift)
                magnitude = round_significand(abs(exact), min(shift, 62), rounding, exact < 0)
                expected = -magnitude if exact < 0 else magnitude
                if ctx.get(rounder.rounded) != expected:
                    wrong.append((exact, shift, ctx.get(rounder.rounded), expected))

    simulate(rounder, testbench, clocked=False)
    assert not wrong, wrong[:3]


def lane_config(outer: str, target: str, rounding: Rounding, multiplier_bits: int | None) -> TileConfig:
    mac = MacConfig.parse(f"e2m1_e2m1_p_exact_a_int8_rz_sat_c1_o_{outer}")
    array = ArrayConfig(silicon=mac.silicon, rows=1, cols=1, stages=0, depth=1, events=False)
    stage = OutputStage(
        target=parse_format(target), rounding=rounding, channels=1, multiplier_bits=multiplier_bits
    )
    return TileConfig(array=array, output=stage)


@pytest.mark.parametrize(
    ("outer", "target", "rounding", "multiplier_bits"),
    [
        ("int5_rz_sat", "int4", Rounding.NEAREST_EVEN, 3),
        ("int6_rz_wrap", "uint3", Rounding.FLOOR, 2),
        ("int5_rz_sat", "int9", Rounding.TOWARD_ZERO, 1),
        ("int20_rz_sat", "int8", Rounding.NEAREST_EVEN, 16),
        ("int33_rz_sat", "int8", Rounding.NEAREST_EVEN, 8),
        ("e3m2_rz", "e2m1", Rounding.NEAREST_EVEN, None),
        ("e3m3s_rne", "e2m2s", Rounding.TOWARD_ZERO, None),
        ("e3m3_sr3", "e4m3fn", Rounding.NEAREST_EVEN, None),
        ("e5m10_rne_g2", "e5m2ieee", Rounding.NEAREST_EVEN, None),
        ("int6_rz_sat", "e3m2", Rounding.NEAREST_EVEN, None),
        ("int12_rz_sat", "e2m1s", Rounding.TOWARD_ZERO, None),
    ],
)
def test_output_lane(outer, target, rounding, multiplier_bits):
    """Random sums and parameters at a beat a cycle, with cycles in which the pipeline stands still."""
    config = lane_config(outer, target, rounding, multiplier_bits)
    lane, rng = OutputLane(config), random.Random(1)
    wrong, seen = [], set()

    def code() -> int:
        number = config.outer.format
        if multiplier_bits is None and hasattr(number, "max_magnitude_code"):
            return rng.randint(0, number.max_magnitude_code) | rng.getrandbits(1) << (number.code_bits - 1)
        return rng.getrandbits(number.code_bits)

    async def testbench(ctx):
        relu, offset, late = 0, 0, []
        for i in range(SAMPLES):
            if i % 100 == 0:  # drained by cycles that are not looked at
                relu, bounds = rng.getrandbits(1), config.output_offset_range
                offset = rng.choice([0, bounds.low, bounds.high, rng.randint(bounds.low, bounds.high)])
                ctx.set(lane.relu, relu)
                ctx.set(lane.offset, offset)
                late = []
            bias = rng.choice([0, code()])
            parameters = {"bias": bias}
            if multiplier_bits is not None:
                widest = min(2**SHIFT_BITS - 1, config.outer.format.bits + multiplier_bits)
                parameters |= {
                    "multiplier": rng.getrandbits(multiplier_bits),
                    "shift": rng.randint(0, widest),
                }
            settings = OutputSettings(
                relu=bool(relu),
                offset=offset,
                bias=bias,
                multiplier=parameters.get("multiplier"),
                shift=parameters.get("shift"),
            )
            sum_code = code()
            late.append((sum_code, settings))
            ctx.set(lane.code, sum_code)
            ctx.set(lane.channel, parameters)
            while rng.random() < 0.2:
                ctx.set(lane.en, 0)
                await ctx.tick()
            ctx.set(lane.en, 1)
            await ctx.tick()
            if len(late) < lane.latency:
                continue
            got = ctx.get(lane.result), bool(ctx.get(lane.overflow))
            sum_code, settings = late.pop(0)
            expected = output(sum_code, settings, config), bool(output_overflow(sum_code, settings, config))
            seen.add(expected[1])
            if got != expected:
                wrong.append((hex(sum_code), settings, got, expected))

    simulate(lane, testbench, clocked=True)
    assert not wrong, wrong[:3]
    assert seen == {False, True}


@pytest.mark.parametrize("withdraws", [False, True])
def test_register_slice(withdraws):
    """A beat a cycle, in order, none lost or twice; a clear drops all but what must stay on offer."""
    piece = RegisterSlice(8, withdraws=withdraws)
    rng = random.Random(2)
    faults = []

    async def testbench(ctx):
        inside, number, waiting = [], 0, None
        valid = False
        for cycle in range(SAMPLES):
            valid = valid or rng.random() < 0.7
            ready, clear = rng.random() < (1.0 if cycle > SAMPLES - 100 else 0.6), rng.random() < 0.02
            if cycle > SAMPLES - 100:
                valid, clear = True, False
            ctx.set(piece.i.valid, valid)
            ctx.set(piece.i.payload, number % 256)
            ctx.set(piece.o.ready, ready)
            ctx.set(piece.clear, clear)
            taken = valid and ctx.get(piece.i.ready)
            offered = ctx.get(piece.o.payload) if ctx.get(piece.o.valid) else None
            if offered is not None and (not inside or offered != inside[0]):
                faults.append(f"cycle {cycle}: {offered} comes, {inside} is inside")
            if waiting is not None and offered != waiting:
                faults.append(f"cycle {cycle}: {waiting} went away")
            if cycle > SAMPLES - 90 and not (taken and offered is not None):
                faults.append(f"cycle {cycle}: less than a beat a cycle")
            waiting = offered if offered is not None and not ready else None
            if waiting is None and offered is not None:
                inside.pop(0)
            if taken:
                inside.append(number % 256)
                number += 1
                valid = False
            if clear:
                inside = [] if withdraws or waiting is None else inside[:1]
                waiting = None if withdraws else waiting
            await ctx.tick()

    simulate(piece, testbench, clocked=True)
    assert not faults, faults[:5]
