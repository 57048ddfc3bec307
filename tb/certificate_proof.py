"""The claims of a certificate, proved again on the overflow flag of the RTL that would compute them.

A column of the array is a chain of MACs, :class:`hw.mac.Mac`, whose chunk sums meet in a
:class:`hw.mac.ChunkAdder`; both carry flags of what overflowed. For one output channel, with the layer's
actual weights as constants, each step is proved on its own, for all inputs at once:

    if the sum that comes in lies between the bounds for k products, then for every x of the operand's range
    no overflow flag is raised, and the sum that goes out lies between the bounds for k + 1.

The empty sum lies between its bounds, 0 and 0. By induction over k no MAC of the channel, and likewise no
chunk adder, ever raises its flag, whatever the inputs. The converse is a search: in an accumulator of one bit
less for inputs that raise a flag. ``python -m tb.certificate_proof_run`` does both for a layer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from golden import arith
from golden.config import FixedFormat, Format, MacConfig
from golden.datapath import offset_ranges
from hw.mac import ChunkAdder, Mac
from hw.verilog import verilog_text
from tb.certificate_circuit import Circuit, Literal
from tb.verify.aig import Aig

__all__ = ["Channel", "Proof", "Refutation", "narrower"]

_OVERFLOW = 0  #: The bit of the flags that says so.


@dataclass(frozen=True)
class Proof:
    """No flag is ever raised."""

    steps: int  #: MACs and chunk adders, each of which was proved.
    queries: int  #: Different ones among them, that were asked of the solver.
    low: int  #: The least and the greatest code of the result.
    high: int
    gates: int  #: AND gates of all queries together.
    seconds: float


@dataclass(frozen=True)
class Refutation:
    """Inputs that raise a flag."""

    x_codes: list[int]
    gates: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One output channel of a layer, on the RTL of its configuration."""

    config: MacConfig
    w_codes: tuple[int, ...]
    x_low: int  #: The codes of the least and the greatest input.
    x_high: int

    @property
    def mac(self) -> Aig:
        return _mac_of(self.config)

    @property
    def adder(self) -> Aig:
        return _adder_of(self.config)

    def prove(self, *, seconds: float) -> Proof:
        """Prove every step; AssertionError where the solver finds an input that breaks one."""
        start, gates, steps = time.perf_counter(), 0, 0
        asked: set[tuple] = set()
        outer_low = outer_high = 0
        for chunk in arith.chunks(len(self.w_codes), self.config.chunk_size):
            low = high = 0
            for k in chunk:
                w = self.w_codes[k]
                after = self._ends(low, high, w)
                steps += 1
                query = ("mac", w, low, high, *after)
                if query not in asked:
                    asked.add(query)
                    gates += self._step(w, (low, high), after, seconds)
                low, high = after
            after = (
                arith.chunk_add(outer_low, low, self.config),
                arith.chunk_add(outer_high, high, self.config),
            )
            steps += 1
            query = ("adder", low, high, outer_low, outer_high)
            if query not in asked:
                asked.add(query)
                gates += self._chunk_step((low, high), (outer_low, outer_high), after, seconds)
            outer_low, outer_high = after
        return Proof(steps, len(asked), outer_low, outer_high, gates, time.perf_counter() - start)

    def _ends(self, low: int, high: int, w: int) -> tuple[int, int]:
        """The least and the greatest sum after one more product, by golden at the ends of the ranges."""
        acc = self.config.accumulator.format
        lows, highs = (
            [arith.fmaq(end, x, w, self.config) for x in (self.x_low, 0, self.x_high)] for end in (low, high)
        )
        return min(lows, key=lambda code: _ordered(code, acc)), max(
            highs, key=lambda code: _ordered(code, acc)
        )

    def _step(self, w: int, before: tuple[int, int], after: tuple[int, int], seconds: float) -> int:
        circuit, number = Circuit(), self.config.accumulator.format
        x, acc = circuit.free(self.config.x.code_bits), circuit.free(number.code_bits)
        flag, result = self._mac(circuit, x, acc, w)
        wrong = circuit.either(flag, circuit.within(result, number, *after) ^ 1)
        given = circuit.both(
            circuit.within(x, self.config.x, self.x_low, self.x_high), circuit.within(acc, number, *before)
        )
        _refuse(
            circuit, circuit.both(given, wrong), f"weight {w} with sums from {before} to {after}", seconds
        )
        return circuit.size

    def _chunk_step(
        self, s_ends: tuple[int, int], before: tuple[int, int], after: tuple[int, int], seconds: float
    ) -> int:
        circuit = Circuit()
        inner, outer = self.config.accumulator.format, self.config.outer_accumulator.format
        s, acc = circuit.free(inner.code_bits), circuit.free(outer.code_bits)
        flag, result = self._chunk_adder(circuit, s, acc)
        wrong = circuit.either(flag, circuit.within(result, outer, *after) ^ 1)
        given = circuit.both(circuit.within(s, inner, *s_ends), circuit.within(acc, outer, *before))
        _refuse(circuit, circuit.both(given, wrong), f"chunk sums from {s_ends} onto {before}", seconds)
        return circuit.size

    def refute_at_once(self, *, seconds: float) -> Refutation | None:
        """Inputs for which the channel raises an overflow flag, or None: proved that there are none.

        One query on the unrolled chain, which is for short ones.
        """
        start, circuit = time.perf_counter(), Circuit()
        x = [circuit.free(self.config.x.code_bits) for _ in self.w_codes]
        raised, out = [], _constant(0, self.config.outer_accumulator.format)
        for chunk in arith.chunks(len(self.w_codes), self.config.chunk_size):
            acc = _constant(0, self.config.accumulator.format)
            for k in chunk:
                flag, acc = self._mac(circuit, x[k], acc, self.w_codes[k])
                raised.append(flag)
            flag, out = self._chunk_adder(circuit, acc, out)
            raised.append(flag)
        goal = circuit.any(raised)
        for each in x:
            goal = circuit.both(goal, circuit.within(each, self.config.x, self.x_low, self.x_high))
        found = circuit.solve(goal, seconds=seconds, model=True)
        if found is None:
            return None
        return Refutation([_code(found, each) for each in x], circuit.size, time.perf_counter() - start)

    def refute(self, wide: MacConfig, *, seconds: float) -> Refutation | None:
        """Inputs that raise an overflow flag, found step by step, or None if the search ends without any.

        From the sum so far the solver is asked for an input that raises the flag, or else takes the sum as
        far as the bound for ``wide``, the configuration in which bounds were proved. Fixed point only.
        """
        for up in (True, False):
            found = self._climb(replace(self, config=wide), up, seconds)
            if found is not None:
                return found
        return None

    def _climb(self, wide: Channel, up: bool, seconds: float) -> Refutation | None:
        start, gates, codes, out = time.perf_counter(), 0, [], 0
        inner, outer = self.config.accumulator.format, self.config.outer_accumulator.format
        for chunk in arith.chunks(len(self.w_codes), self.config.chunk_size):
            acc, ends, raised = 0, (0, 0), 0
            for k in chunk:
                ends = wide._ends(*ends, self.w_codes[k])
                circuit = Circuit()
                x = circuit.free(self.config.x.code_bits)
                flag, result = self._mac(circuit, x, _constant(acc, inner), self.w_codes[k])
                there = _as_far(
                    circuit, result, inner, _ordered(ends[up], wide.config.accumulator.format), up
                )
                goal = circuit.both(
                    circuit.either(flag, there), circuit.within(x, self.config.x, self.x_low, self.x_high)
                )
                found = circuit.solve(goal, seconds=seconds, model=True)
                if found is None:
                    return None
                gates += circuit.size
                codes.append(_code(found, x))
                step = (_constant(codes[-1], self.config.x), _constant(acc, inner), self.w_codes[k])
                raised, result = self._mac(Circuit(), *step)
                acc = _code({}, result)
                if raised:
                    break
            if not raised:
                raised, result = self._chunk_adder(Circuit(), _constant(acc, inner), _constant(out, outer))
                out = _code({}, result)
            if raised:
                codes += [0] * (len(self.w_codes) - len(codes))
                return Refutation(codes, gates, time.perf_counter() - start)
        return None

    def _mac(
        self, circuit: Circuit, x: Sequence[Literal], acc: Sequence[Literal], w: int
    ) -> tuple[Literal, list[Literal]]:
        """The overflow flag and the sum of one MAC."""
        out = circuit.place(self.mac, {"x": x, "acc": acc, "w": _constant(w, self.config.w)})
        return out["result_events_next"][_OVERFLOW], out["result_next"]

    def _chunk_adder(
        self, circuit: Circuit, s: Sequence[Literal], acc: Sequence[Literal]
    ) -> tuple[Literal, list[Literal]]:
        out = circuit.place(self.adder, {"s": s, "acc": acc})
        return out["result_events"][_OVERFLOW], out["result"]


@lru_cache(maxsize=16)
def _mac_of(config: MacConfig) -> Aig:
    """The MAC with its offsets as constants: from x, w and acc to what its registers take next."""
    silicon, ranges = config.silicon, offset_ranges(config)
    text = verilog_text(Mac(silicon, 0, events=True), "mac")
    constants = {"en": 1, "acc_events": 0}
    if not silicon.hardwired:
        constants["product_offset"] = _register(config.offsets.product, ranges.product)
        if config.product is not None:
            constants["acc_offset"] = _register(config.offsets.acc, ranges.acc)
    return _combinational(text, "mac", constants)


@lru_cache(maxsize=16)
def _adder_of(config: MacConfig) -> Aig:
    adder = ChunkAdder(config.silicon, events=True)
    constants = {"s_events": 0, "acc_events": 0}
    constants["outer_offset"] = _register(config.offsets.outer, offset_ranges(config).outer)
    return _combinational(verilog_text(adder, "adder"), "adder", constants)


def _combinational(text: str, top: str, constants: dict[str, int]) -> Aig:
    """Its gates; what a register holds, clock and reset do not count."""
    aig = Aig.of(text, top, language="verilog", hidden=False)
    dont_care = [port for port in aig.inputs if port in ("clk", "rst") or port.endswith("_held")]
    constants = dict.fromkeys(dont_care, 0) | constants
    return aig.with_constants({port: value for port, value in constants.items() if port in aig.inputs})


def narrower(config: MacConfig) -> MacConfig:
    """The same with fixed-point accumulators of one bit less."""

    def cut(accumulator):
        return replace(accumulator, format=replace(accumulator.format, bits=accumulator.format.bits - 1))

    return replace(
        config,
        accumulator=cut(config.accumulator),
        outer=None if config.outer is None else cut(config.outer),
    )


def _refuse(circuit: Circuit, goal: Literal, what: str, seconds: float) -> None:
    if circuit.solve(goal, seconds=seconds, model=False) is not None:
        raise AssertionError(f"the RTL leaves its bounds: {what}")


def _constant(code: int, number: Format) -> list[Literal]:
    return [code >> i & 1 for i in range(number.code_bits)]


def _code(found: dict[Literal, bool], bits: Sequence[Literal]) -> int:
    """What bits are that a model or constants give."""
    return sum((bit if bit < 2 else found[bit]) << i for i, bit in enumerate(bits))


def _as_far(circuit: Circuit, code: Sequence[Literal], number: FixedFormat, target: int, up: bool) -> Literal:
    """Whether a sum is ``target`` or beyond, which the format need not hold."""
    if not number.min_integer <= target <= number.max_integer:
        return 0
    if target == 0:
        return code[-1] ^ 1 if up else 1
    if up:
        return circuit.within(code, number, number.min_integer & (2**number.bits - 1), target - 1) ^ 1
    return circuit.within(code, number, (target + 1) & (2**number.bits - 1), number.max_integer) ^ 1


def _register(offset: int, limits) -> int:
    return limits.clamp(offset) & (2**limits.width - 1)


def _ordered(code: int, number: Format) -> int:
    """A number that grows with the value of the code."""
    half = 2 ** (number.code_bits - 1)
    if isinstance(number, FixedFormat):
        return code - 2 * half * (code >= half) if number.signed else code
    return code if code < half else half - code
