"""Both ends of valid/ready streams, pausing at random."""

from __future__ import annotations

from random import Random

__all__ = ["Sink", "Source"]


class Source:
    """Sends beats in order. Once valid, a beat stays until it is taken."""

    def __init__(self, beats: list[int], stall: float, rng: Random):
        self.beats = beats
        self.stall = stall  #: Probability that the next beat is held back in a cycle.
        self.rng = rng
        self.sent = 0
        self.valid = False

    def offer(self) -> tuple[bool, int]:
        """What stands on ``valid`` and ``payload`` in this cycle; noise where it is not valid."""
        if not self.valid and self.sent < len(self.beats):
            self.valid = self.rng.random() >= self.stall
        return self.valid, self.beats[self.sent] if self.valid else self.rng.getrandbits(64)

    def step(self, ready: bool) -> None:
        """The cycle ends with this ``ready``."""
        if self.valid and ready:
            self.valid = False
            self.sent += 1

    @property
    def done(self) -> bool:
        return self.sent == len(self.beats)


class Sink:
    """Takes beats, and watches that a beat does not change while it waits."""

    def __init__(self, stall: float, rng: Random):
        self.stall = stall  #: Probability of refusing in a cycle.
        self.rng = rng
        self.beats: list[int] = []
        self.violation: str | None = None  #: The first breach of the protocol.
        self.ready = False
        self.waiting: int | None = None

    def offer(self) -> bool:
        """What stands on ``ready`` in this cycle."""
        self.ready = self.rng.random() >= self.stall
        return self.ready

    def step(self, valid: bool, payload: int) -> None:
        """The cycle ends with this ``valid`` and ``payload``."""
        if self.waiting is not None and not (valid and payload == self.waiting):
            now = f"became {payload:#x}" if valid else "was withdrawn"
            self.violation = self.violation or f"the beat {self.waiting:#x} {now} before it was taken"
        self.waiting = payload if valid and not self.ready else None
        if valid and self.ready:
            self.beats.append(payload)
