"""Items of work: one computation each, known by what it depends on, and what a point needs of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from golden.config import MAX_STAGES, MacConfig, Silicon
from sim.sweep.formats import reference_of
from sim.sweep.space import Network, Point, Space

__all__ = ["FUNCTIONS", "Item", "Needs", "canonical"]

#: Kind of item -> the function that a worker calls with its arguments.
FUNCTIONS = {
    "offset": "sim.sweep.accuracy:shared_offset",
    "float32": "sim.sweep.accuracy:float32",
    "accuracy": "sim.sweep.accuracy:measure",
    "cost": "sim.sweep.cost:measure",
}


def canonical(content: Any) -> str:
    """JSON in which equal contents are equal texts."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Item:
    """What is computed, and by which version of what computes it; all a worker needs."""

    kind: str  #: Of :data:`FUNCTIONS`, or ``module:function``.
    arguments: str  #: Canonical JSON of an object: the function's keyword arguments.
    code: str  #: Fingerprint of what the result depends on beside the arguments.

    @property
    def text(self) -> str:
        """Canonical JSON of all of it."""
        return canonical({"kind": self.kind, "arguments": json.loads(self.arguments), "code": self.code})

    @property
    def key(self) -> str:
        """SHA-256 of :attr:`text`: what the store knows it by."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def function(self) -> str:
        """``module:function``."""
        return FUNCTIONS.get(self.kind, self.kind)


#: A number of stages is not tried where the clock leaves each of their parts less than this share of the
#: relaxed MAC's delay: mapped for so much speed, a MAC takes more area than another stage.
_REACH = 0.55

#: What so many stages add to the least area at least, as a share of it: nothing is smaller with more stages
#: than what meets the clock with less than that. Seen: 11 and 32 %, of float32 sums.
_STAGES_ADD = (0.0, 0.1, 0.3)

#: Results that are there, by key.
Results = Mapping[str, dict[str, Any]]


class Needs:
    """Which items the points of a space are made of.

    Some follow from results of others (an offset that is wired in, the stages that a clock takes), so a point
    names those that can be named by what is known, and more once these are known.

    Parameters
    ----------
    space : Space
    code : Fingerprints
        ``accuracy(config)`` and ``cost()``: fingerprints of what results depend on.
    cost, accuracy : bool
        Which halves are wanted.
    """

    def __init__(self, space: Space, code, *, cost: bool, accuracy: bool):
        self.space = space
        self.code = code
        self.wants_cost = cost
        self.wants_accuracy = accuracy

    def of(self, point: Point, known: Results) -> Iterator[Item]:
        """The point's items, those that are known already included."""
        offset = self._offset(point, known)
        if isinstance(offset, Item):
            yield offset
            return
        if self.wants_accuracy:
            for network in point.networks:
                yield self.float32(network)
                yield self.accuracy(point.config, network, offset)
                yield self.reference(point.config, network)
        if self.wants_cost:
            yield from self._trail(point, offset, known)

    def _offset(self, point: Point, known: Results) -> int | Item | None:
        """The product offset that is wired in, None if none is, or the item that finds it."""
        if point.offsets != "wired":
            return None
        if not point.networks:
            return point.config.offsets.product
        item = self.offset(point)
        return known[item.key]["offset"] if item.key in known else item

    def offset_of(self, point: Point, known: Results) -> int | None:
        """The product offset that is wired in; None if none is, or it is not known."""
        found = self._offset(point, known)
        return None if isinstance(found, Item) else found

    def offset(self, point: Point) -> Item:
        """Finds the one offset of a chip for all networks of the point."""
        networks = [network.name for network in point.networks]
        return self._accuracy("offset", point.config, networks=networks)

    def float32(self, network: Network) -> Item:
        """Judges the network as it was trained."""
        arguments = {"network": network.name, "images": network.images, "seed": self.space.seed}
        return Item("float32", canonical(arguments), self.code.accuracy(None))

    def accuracy(self, config: MacConfig, network: Network, offset: int | None) -> Item:
        """Judges a network by a configuration: with an offset wired in, or set as the network says."""
        setting = network.calibration if offset is None else offset
        if config.always_hardwired and not config.all_integer:
            setting = "layer"  # an exact accumulator has nothing to set
        return self._accuracy(
            "accuracy", config, network=network.name, images=network.images, setting=setting
        )

    def reference(self, config: MacConfig, network: Network) -> Item:
        """Judges it by float32 sums of the same operands."""
        return self.accuracy(reference_of(config), replace(network, calibration="layer"), None)

    def _accuracy(self, kind: str, config: MacConfig, **arguments) -> Item:
        content = {"config": config.name, "seed": self.space.seed, **arguments}
        return Item(kind, canonical(content), self.code.accuracy(config))

    def record(self, point: Point, known: Results) -> dict[str, Any] | None:
        """The point's cost: where stages are searched, the smallest that meets the clock, or the fastest."""
        offset = self.offset_of(point, known)
        if point.offsets == "wired" and offset is None:
            return None
        trail = self._trail(point, offset, known)
        if any(item.key not in known for item in trail):
            return None
        at_clock = [known[item.key] for item in trail if _clock(item) == point.clock_ps]
        meeting = [record for record in at_clock if record["met"] is not False]
        if meeting:
            return min(meeting, key=lambda record: (record["um2"], record["stages"]))
        return min(at_clock, key=lambda record: record["delay_ps"])

    def _trail(self, point: Point, offset: int | None, known: Results) -> list[Item]:
        """What the point's cost is found by, in order, up to the first that is not known.

        A search goes through all numbers of stages, but for those that have no chance: too few for the clock
        by far, or more where the clock is met in hardly more than the least area, which a stage adds to.
        """
        if point.stages is not None or point.clock_ps is None:
            return [self.cost(point, offset, point.stages or 0, point.clock_ps)]
        trail = [self.cost(point, offset, 0, None)]
        relaxed = known.get(trail[0].key)
        if relaxed is None:
            return trail
        for stages in range(MAX_STAGES + 1):
            hopeless = point.clock_ps * (stages + 1) < _REACH * (relaxed["delay_ps"] or 0)
            if hopeless and stages < MAX_STAGES:
                continue
            trail.append(self.cost(point, offset, stages, point.clock_ps))
            record = known.get(trail[-1].key)
            more = 1 + _STAGES_ADD[min(stages + 1, MAX_STAGES)]
            if record is None or (record["met"] and record["um2"] <= more * relaxed["um2"]):
                break
        return trail

    def cost(self, point: Point, offset: int | None, stages: int, clock_ps: int | None) -> Item:
        """Measures the point's MAC with so many stages at a clock."""
        silicon = self.silicon(point, offset)
        arguments = {
            "config": silicon.config.name,
            "hardwired": silicon.hardwired,
            "stages": stages,
            "technology": point.technology,
            "clock_ps": clock_ps,
            "stimulus": self.space.stimulus,
            "seed": self.space.seed,
        }
        return Item("cost", canonical(arguments), self.code.cost())

    @staticmethod
    def silicon(point: Point, offset: int | None) -> Silicon:
        """What is built."""
        if offset is None:
            return point.config.silicon
        from sim.calibrate import at_offset  # loads torch

        return at_offset(point.config, offset).hardwired


def _clock(item: Item) -> int | None:
    return json.loads(item.arguments)["clock_ps"]
