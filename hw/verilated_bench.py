"""Streams numpy arrays through a Verilated design, channel by channel."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.verilated_library import Channel, Design, build

__all__ = ["Bench", "Run", "SimulationError", "Stalls", "Waves"]

_DONE, _STUCK, _LIMIT, _EXTRA_BEAT = range(4)

#: Stalls are held against eight random bits.
_STALL_UNIT = 256

_RESET_CYCLES = 4


class SimulationError(RuntimeError):
    """A design that stopped, or gave a beat too many. The message says where its channels stand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stalls:
    """Random pauses. A beat that is offered stays until it is taken, however long that lasts."""

    share: Mapping[str, float] | float  #: Of the cycles, below 1, for each channel or for all.
    seed: int

    def of(self, channel: str) -> int:
        share = self.share if isinstance(self.share, float | int) else self.share.get(channel, 0.0)
        if not 0 <= share < 1:
            raise ValueError(f"a channel pauses in 0 to below 1 of the cycles, not {share} ({channel})")
        return min(round(share * _STALL_UNIT), _STALL_UNIT - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waves:
    """Cycles of a run that are recorded; a library built with a trace is needed."""

    path: Path
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What came of one :meth:`Bench.run`."""

    outputs: dict[str, NDArray[np.uint8]]  #: Beats [beats, bytes] of each output channel.
    moved: dict[str, int]  #: Beats that passed on each channel.
    stamps: dict[str, NDArray[np.uint64]]  #: The cycle of each beat, from 0, on output channels.
    cycles: int  #: Up to the one in which the last beat passed, that one included.


class _Flow(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("beats", ctypes.c_uint64),
        ("stamps", ctypes.c_void_p),
        ("stall", ctypes.c_uint64),
        ("moved", ctypes.c_uint64),
        ("waiting", ctypes.c_uint64),
    )


class _Plan(ctypes.Structure):
    _fields_ = (
        ("seed", ctypes.c_uint64),
        ("patience", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("trailing", ctypes.c_uint64),
        ("trace", ctypes.c_char_p),
        ("trace_from", ctypes.c_uint64),
        ("trace_to", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("extra", ctypes.c_uint64),
    )


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.bench_new.restype = ctypes.c_void_p
    library.bench_new.argtypes = [ctypes.c_uint64]
    library.bench_delete.argtypes = [ctypes.c_void_p]
    library.bench_reset.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    library.bench_run.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Flow), ctypes.POINTER(_Plan)]
    return library


class Bench:
    """One instance of a Verilated design, reset and ready. Runs follow each other on the same state.

    Other threads go on while it runs; a bench itself belongs to one thread at a time.

    Parameters
    ----------
    design : Design
        What to simulate; its library is built unless it is there.
    trace : str or None
        A key of :data:`hw.verilated_library.TRACES`: what runs can record. Slower. FST becomes VCD where
        it cannot be built; the attribute says which it is.
    seed : int
        Of what registers without reset, and memories, hold at first.
    patience : int
        Cycles without any beat after which a run has failed.
    """

    def __init__(self, design: Design, *, trace: str | None, seed: int, patience: int):
        self.design = design
        self.library = build(design, trace=trace)
        self.trace = trace and self.library.parent.name.rpartition("-")[2]
        self.patience = patience
        self._calls = _load(self.library)
        self._bench = self._calls.bench_new(seed)
        self.reset()

    def __del__(self) -> None:
        if getattr(self, "_bench", None):
            self._calls.bench_delete(self._bench)
            self._bench = None

    def reset(self) -> None:
        """Some cycles of reset, in which no channel moves."""
        self._calls.bench_reset(self._bench, _RESET_CYCLES)

    def run(
        self,
        beats: Mapping[str, NDArray[np.uint8]],
        expected: Mapping[str, int],
        *,
        stalls: Stalls | None = None,
        waves: Waves | None = None,
        trailing: int = 0,
        limit: int | None = None,
    ) -> Run:
        """Clock the design until all beats have passed.

        Parameters
        ----------
        beats : mapping
            For input channels, beats as uint8 [beats, bytes].
        expected : mapping
            For output channels, how many beats to wait for.
        stalls : Stalls or None
            Pauses; None: every side is ready whenever it can be.
        waves : Waves or None
            What to record.
        trailing : int
            Cycles after the last beat in which every output is listened to and must be silent.
        limit : int or None
            Stop after so many cycles, whatever has passed by then. What was on offer is withdrawn, which
            few protocols allow: a reset should follow.

        Raises :class:`SimulationError` if nothing passes for ``patience`` cycles, more with pauses,
        or if a beat too many comes; the design is reset then.
        """
        beats = {name: np.ascontiguousarray(array) for name, array in beats.items()}  # held until the end
        flows, arrays, stamps = self._flows(beats, expected, stalls)
        if waves is not None and self.trace is None:
            raise ValueError("waves need a bench that was built with a trace")
        # A beat that waits for two sides waits the longer, the more each pauses.
        pausing = max(flow.stall for flow in flows)
        patience = self.patience * (_STALL_UNIT // (_STALL_UNIT - pausing)) ** 2
        plan = _Plan(
            seed=stalls.seed if stalls else 0,
            patience=patience,
            limit=2**63 if limit is None else limit,
            trailing=trailing,
            trace=str(waves.path).encode() if waves else None,
            trace_from=waves.first if waves else 0,
            trace_to=waves.last if waves else 0,
        )
        outcome = self._calls.bench_run(self._bench, flows, ctypes.byref(plan))
        channels = self.design.channels
        if outcome in (_EXTRA_BEAT, _STUCK):
            self.reset()
        if outcome == _EXTRA_BEAT:
            raise SimulationError(
                f"{self.design.name}: a beat too many on {channels[plan.extra].name}, after "
                f"{flows[plan.extra].moved} beats and {plan.cycles} cycles"
            )
        if outcome == _STUCK:
            raise SimulationError(
                f"{self.design.name}: no beat passed for {patience} cycles after cycle {plan.cycles}; "
                + "; ".join(_standing(channel, flow) for channel, flow in zip(channels, flows, strict=True))
            )
        moved = {channel.name: flow.moved for channel, flow in zip(channels, flows, strict=True)}
        return Run(
            outputs={name: array[: moved[name]] for name, array in arrays.items()},
            moved=moved,
            stamps={name: array[: moved[name]] for name, array in stamps.items()},
            cycles=plan.cycles,
        )

    def _flows(
        self,
        beats: Mapping[str, NDArray[np.uint8]],
        expected: Mapping[str, int],
        stalls: Stalls | None,
    ) -> tuple[ctypes.Array, dict[str, NDArray], dict[str, NDArray]]:
        channels = self.design.channels
        inputs = {channel.name for channel in channels if channel.is_input}
        outputs = {channel.name for channel in channels} - inputs
        if not beats.keys() <= inputs or not expected.keys() <= outputs:
            raise ValueError(
                f"inputs of {self.design.name} are {sorted(inputs)} and outputs {sorted(outputs)}; there are "
                f"beats for {sorted(beats)} and beats are expected from {sorted(expected)}"
            )
        flows = (_Flow * len(channels))()
        arrays, stamps = {}, {}
        for channel, flow in zip(channels, flows, strict=True):
            name = channel.name
            if stalls is not None:
                flow.stall = stalls.of(name)
            if name in beats:
                array = beats[name]
                if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != channel.beat_bytes:
                    raise ValueError(
                        f"beats of {name} are uint8 of shape [beats, {channel.beat_bytes}], not "
                        f"{array.dtype} of {list(array.shape)}"
                    )
                flow.data, flow.beats = array.ctypes.data, len(array)
            elif expected.get(name):
                count = expected[name]
                arrays[name] = np.zeros((count, channel.beat_bytes), dtype=np.uint8)
                stamps[name] = np.zeros(count, dtype=np.uint64)
                flow.data, flow.beats = arrays[name].ctypes.data, count
                flow.stamps = stamps[name].ctypes.data
        return flows, arrays, stamps


def _standing(channel: Channel, flow: _Flow) -> str:
    side = ("ready" if channel.is_input else "valid") + (" is up" if flow.waiting else " is down")
    if flow.moved == flow.beats:
        return f"{channel.name}: all {flow.beats} beats passed, {side}"
    return f"{channel.name}: beat {flow.moved} of {flow.beats} stands, {side}"
