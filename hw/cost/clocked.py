"""The search for the smallest netlist that meets a clock, of a design mapped in many ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.speed import Attempt, Target, candidates, map_targets
from hw.cost.timing import ABC, Timing, timer_name, timings

__all__ = ["Choice", "search"]

#: ABC's delays between registers as a share of OpenSTA's, for a first guess that the search then corrects.
_ABC_SHARE = 0.93

#: Structures to try and slacks of the mapper's target, the laziest first; and the least share of the relaxed
#: delay that they are tried for.
_LEVELS = (
    (("small", "levels"), (1.8, 2.4), 0.75),
    (("levels", "products"), (1.8, 2.4), 0.5),
    (("products", "products2"), (1.0, 1.8, 2.4), 0.0),
)
_CORRECTED = 2  # attempts whose targets are corrected, once
_NEAR = 0.15  # of the clock: no attempt that misses by more is corrected

#: The other way to build multipliers is tried where its relaxed area is at most this many times that of the
#: better one, and where that one fails.
_RIVAL = 1.01


Structures = Callable[[str, Sequence[str]], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Choice:
    """A netlist for a clock, and how it was found."""

    netlist: str
    recipe: str
    um2: float
    timing: Timing
    tried: int  #: Netlists that were mapped and timed.


def search(
    netlist: str,
    recipe: str,
    least: dict[str, float],
    structures: Structures,
    top: str,
    library: Library,
    clock_ps: float,
    area: Callable[[str], float],
) -> Choice:
    """The smallest netlist that meets the clock by the timer; the fastest where none does.

    Parameters
    ----------
    netlist, recipe : str
        The smallest netlist for any clock; the recipe's first word is how multipliers are built.
    least : dict[str, float]
        Least area in um2 by multiplier.
    structures : Structures
        What :func:`hw.cost.speed.restructured` gives for a multiplier and names of structures.
    area : Callable[[str], float]
        um2 of a netlist.

    Raises :class:`ConfigError` for a library without timing and for a clock that is not positive.
    """
    if not clock_ps > 0:
        raise ConfigError(f"a clock period is positive, and {clock_ps / 1000:g} ns is not")
    if not library.has_timing:
        raise ConfigError(f"{library.name} has no timing to meet a clock by; name a technology that has")
    (timing,) = timings([netlist], top, library, clock_ps)
    smallest = Choice(netlist, recipe, area(netlist), timing, 1)
    if timing.met:
        return smallest
    best = recipe.split()[0]
    rivals = [name for name, um2 in least.items() if name != best and um2 <= _RIVAL * least[best]]
    run = _Run(structures, top, library, clock_ps, area, [smallest])
    ratio = clock_ps / timing.delay_ps
    first = next(index for index, (*_, share) in enumerate(_LEVELS) if ratio >= share)
    for names, slacks, _ in _LEVELS[first:]:
        for multiplier in (best, *rivals):
            run.attempt(multiplier, names, slacks, timing)
        if run.met:
            return run.result()
    for multiplier in sorted(least.keys() - {best, *rivals}):
        run.attempt(multiplier, *_LEVELS[-1][:2], timing)
    return run.result()


class _Run:
    """Attempts so far."""

    def __init__(
        self,
        structures: Structures,
        top: str,
        library: Library,
        clock_ps: float,
        area: Callable[[str], float],
        choices: list[Choice],
    ):
        self._structures = structures
        self._top = top
        self._library = library
        self._clock_ps = clock_ps
        self._area = area
        self._choices = choices
        self._designs: dict[tuple[str, str], str] = {}
        self._tried: set[Target] = set()

    @property
    def met(self) -> bool:
        return any(choice.timing.met for choice in self._choices)

    def result(self) -> Choice:
        tried = len(self._choices)
        meeting = [choice for choice in self._choices if choice.timing.met]
        best = (
            min(meeting, key=lambda choice: choice.um2)
            if meeting
            else min(self._choices, key=lambda choice: choice.timing.delay_ps)
        )
        return Choice(best.netlist, best.recipe, best.um2, best.timing, tried)

    def attempt(
        self, multiplier: str, structures: tuple[str, ...], slacks: tuple[float, ...], relaxed: Timing
    ) -> None:
        """Map these structures for the clock, and the most promising ones again with corrected targets."""
        for name, design in self._structures(multiplier, structures).items():
            self._designs[multiplier, name] = design
        between = (
            self._clock_ps if timer_name() == ABC else (self._clock_ps - _registers(relaxed)) * _ABC_SHARE
        )
        results = self._map(list(candidates(multiplier, max(between, 1.0), structures, slacks)))
        worth = [pair for pair in results if pair[1].timing.delay_ps <= self._clock_ps * (1 + _NEAR)]
        worth.sort(key=lambda pair: pair[1].um2)
        corrected = []
        for attempt, choice in worth[:_CORRECTED]:
            # What the timer sees and ABC does not, of this very netlist.
            size_ps = round(self._clock_ps - (choice.timing.delay_ps - attempt.abc_ps))
            if size_ps > 0:
                target = attempt.target
                corrected.append(Target(target.multiplier, target.structure, target.slack, size_ps))
        self._map(corrected)

    def _map(self, targets: list[Target]) -> list[tuple[Attempt, Choice]]:
        targets = [target for target in dict.fromkeys(targets) if target not in self._tried]
        if not targets:
            return []
        self._tried |= set(targets)
        attempts = map_targets(self._designs, self._library, targets)
        found = timings([attempt.netlist for attempt in attempts], self._top, self._library, self._clock_ps)
        choices = [
            Choice(attempt.netlist, attempt.target.recipe, self._area(attempt.netlist), timing, 1)
            for attempt, timing in zip(attempts, found, strict=True)
        ]
        self._choices += choices
        return list(zip(attempts, choices, strict=True))


def _registers(timing: Timing) -> float:
    """Clock-to-output and set-up on a path, in ps."""
    return timing.by_part.get("registers", 0.0)
