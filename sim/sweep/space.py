"""A declared space: what its TOML file says, checked, and the design points that it expands to.

Blocks are cross products, united in the order of the file; a point that two blocks give is one point. Loads
nothing but golden, so that a space is listed at once.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from itertools import product as crossed
from pathlib import Path
from typing import Any

from golden.catalog import find
from golden.config import MAX_STAGES, ConfigError, MacConfig
from sim.sweep.formats import KINDS, configs_of
from sim.sweep.values import Table

__all__ = ["ALL", "Network", "Point", "Space", "read_space"]

#: All test inputs of a network.
ALL = "all"

#: Networks that a space may name -> most test images.
NETWORKS = {"digits": 1797, "fashion-mnist": 10_000, "resnet20": 10_000, "resnet56": 10_000}

#: How a layer's accumulator is set where offsets are in registers.
CALIBRATIONS = ("layer", "network")

OFFSETS = ("registers", "wired")
SEARCH = "search"
RELAXED = "relaxed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """What accuracy is measured on."""

    name: str
    images: int | None  #: The first so many test images. None: all.
    calibration: str  #: ``layer``: a setting for each layer, or one for all if that does better; ``network``.


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A MAC at a clock, and the networks that its arithmetic is judged on."""

    config: MacConfig
    offsets: str  #: ``registers``, ``wired``, or ``none`` where there are none to set.
    stages: int | None  #: Registers inside. None: the fewest that meet the clock.
    technology: str
    clock_ps: int | None  #: None: mapped for least area.
    networks: tuple[Network, ...]

    @property
    def design(self) -> tuple:
        """What tells two points apart."""
        return self.config, self.offsets, self.stages, self.technology, self.clock_ps


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """The points of a file, and what they have in common."""

    name: str
    title: str
    seed: int
    stimulus: str  #: What the mapped MAC is driven with where its energy is measured.
    networks: tuple[Network, ...]
    points: tuple[Point, ...]

    @property
    def configs(self) -> tuple[MacConfig, ...]:
        """Distinct, in order."""
        return tuple(dict.fromkeys(point.config for point in self.points))


def read_space(path: Path) -> Space:
    """The space of a file.

    Raises :class:`ConfigError`, which names the file and the block, for what it does not know or cannot be.
    """
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}; name a space, such as spaces/main.toml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); name a space, a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        return _space(content, path.stem)
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from error


def _space(content: dict[str, Any], name: str) -> Space:
    top = Table(content, "the file")
    title = top.text("title", name)
    seed = top.integer("seed", 0, 0, 2**31)
    stimulus = top.text("stimulus", "none")
    networks = tuple(_network(Table(each, f"network {i}")) for i, each in enumerate(top.tables("network"), 1))
    by_name = {network.name: network for network in networks}
    if len(by_name) < len(networks):
        raise ConfigError("a network is named twice; name each once")
    blocks = [Table(each, f"space {i}") for i, each in enumerate(top.tables("space"), 1)]
    top.finish()
    if not blocks:
        raise ConfigError("there is no [[space]]; declare one, as docs/sweep.md shows")
    points: dict[tuple, Point] = {}
    for block in blocks:
        for point in _points(block, by_name):
            earlier = points.get(point.design)
            if earlier is not None:
                both = dict.fromkeys((*earlier.networks, *point.networks))
                point = replace(earlier, networks=tuple(both))
            points[point.design] = point
    return Space(
        name=name, title=title, seed=seed, stimulus=stimulus, networks=networks, points=tuple(points.values())
    )


def _network(table: Table) -> Network:
    name = table.choice("name", tuple(NETWORKS), None)
    images = table.number_or_word("images", ALL, ALL, 1, NETWORKS[name])
    calibration = table.choice("calibration", CALIBRATIONS, CALIBRATIONS[0])
    table.finish()
    return Network(name=name, images=None if images == ALL else images, calibration=calibration)


def _points(block: Table, networks: dict[str, Network]) -> list[Point]:
    """The cross product of a block."""
    kind = block.choice("accumulator", KINDS, None) if "accumulator" in block.content else None
    names = block.texts("configs", [])
    if (kind is None) is not bool(names):
        raise ConfigError(f"{block.where}: give either accumulator, one of {', '.join(KINDS)}, or configs")
    configs = [find(name) for name in names] if kind is None else configs_of(kind, block)
    offsets = block.choices("offsets", OFFSETS, ["registers"])
    stages = block.numbers_or_word("stages", SEARCH, [0], 0, MAX_STAGES)
    technologies = block.texts("technology", ["sky130hd"])
    clocks = block.clocks("clock_ns", RELAXED, [RELAXED])
    judged = block.choices("networks", tuple(networks), list(networks))
    block.finish()
    if not configs:
        raise ConfigError(f"{block.where}: no format has these bits; widen bits, exp_bits or man_bits")
    return [
        Point(
            config=config,
            offsets="none" if config.always_hardwired else offset,
            stages=None if stage == SEARCH else stage,
            technology=technology,
            clock_ps=clock,
            networks=tuple(networks[name] for name in judged),
        )
        for config, offset, technology, clock, stage in crossed(
            configs, offsets, technologies, clocks, stages
        )
    ]
