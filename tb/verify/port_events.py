"""What can happen at the ports of an array from cycle to cycle, and a watch that counts it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hw.timing import ArrayTiming
from tb.verify.benches import ArrayBench

__all__ = ["PORT_EVENTS", "PortWatch"]

#: Name -> what it means.
PORT_EVENTS = {
    "result waits": "the receiver refuses a result",
    "chunk ends while a result waits": "the array stands still with the last products of a chunk under way",
    "chunk ends in a pause": "the sender pauses between the last vector of a chunk and the first of the next",
    "pass ends in a pause": "the sender pauses between two passes of a chunk",
    "weights overlap": "weights of the next pass come in with activations of this one",
    "weights are late": "an activation waits for its weights",
    "weights wait": "weights wait for those before them to be done with",
    "job follows at once": "a job is taken with the last activation of the one before",
    "job waits": "a job waits for the one before",
}


class PortWatch:
    """Counts :data:`PORT_EVENTS`; told of every cycle by :meth:`tb.verify.benches.ArrayBench.difference`."""

    def __init__(self, bench: ArrayBench):
        self.counts: Counter[str] = Counter()
        self.possible = [
            name for name in PORT_EVENTS if name != "pass ends in a pause" or bench.config.passes > 1
        ]
        if bench.config.silicon.config.stochastic:  # a job is taken when the last result is at the foot
            self.possible.remove("job follows at once")
        self._passes = bench.config.passes
        self._latency = ArrayTiming.of(bench.config).latency
        self._lane: Any = None

    def __call__(self, lane: Any, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        if lane is not self._lane:
            self._lane, self._since_chunk_end = lane, self._latency
            self._job, self._vector = 0, 0  # the job under way, and how many vectors of it are in
        taken = {
            stream: bool(inputs[f"{stream}__valid"] and outputs[f"{stream}__ready"])
            for stream in ("job", "weights", "activations")
        }
        waits = {stream: bool(inputs[f"{stream}__valid"]) and not taken[stream] for stream in taken}
        stalled = bool(outputs["results__valid"] and not inputs["results__ready"])
        names = {
            "result waits": stalled,
            "chunk ends while a result waits": stalled and self._since_chunk_end < self._latency,
            "weights overlap": taken["weights"] and taken["activations"],
            "weights are late": waits["activations"] and not stalled and self._job < len(lane.jobs),
            "weights wait": waits["weights"] and not stalled,
            "job waits": waits["job"] and not stalled,
        }
        if outputs["activations__ready"] and not inputs["activations__valid"]:
            names |= self._pauses(lane)
        last = taken["activations"] and self._advance(lane)
        names["job follows at once"] = last and taken["job"]
        self.counts.update(name for name, happened in names.items() if happened)
        if not stalled:
            self._since_chunk_end += 1

    def _pauses(self, lane: Any) -> dict[str, bool]:
        m_rows = len(lane.jobs[self._job].x)
        number, vector = divmod(self._vector, m_rows)
        between = vector == 0 and number > 0
        ends = number % self._passes == 0
        return {"chunk ends in a pause": between and ends, "pass ends in a pause": between and not ends}

    def _advance(self, lane: Any) -> bool:
        """A vector goes in; whether it is the last of its job."""
        job = lane.jobs[self._job]
        m_rows, passes = len(job.x), job.k_passes
        self._vector += 1
        number, vector = divmod(self._vector, m_rows)
        if vector == 0 and (number % self._passes == 0 or number == passes):
            self._since_chunk_end = 0
        if self._vector < m_rows * passes:
            return False
        self._job, self._vector = self._job + 1, 0
        return True
