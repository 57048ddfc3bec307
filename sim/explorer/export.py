"""What a sweep exports, read with care: what is no export is refused in one sentence, gaps are not."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from golden.config import ConfigError
from sim.explorer.axes import NETWORK_FIELDS, NUMBERS

__all__ = ["default_view", "networks_of", "read_export", "tidy"]

#: Fields that are one word or one line of text.
TEXTS = (
    *("label", "config", "silicon", "kind", "rounding", "overflow", "product", "operands", "offsets"),
    *("technology", "timer", "stimulus", "recipe"),
)

#: Parts of a figure, {part: number}.
PARTS = ("parts_um2", "parts_pj", "critical_ns")

#: What makes one: said where a file is none.
_HOW = "python -m sim.sweep SPACE.toml makes one"

#: The network that is shown first where it is there.
_FIRST_NETWORK = "resnet20"


def read_export(path: Path) -> dict[str, Any]:
    """The export in a file, tidied. Raises :class:`ConfigError` where it is not one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; name a sweep's export, {_HOW}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text; name a sweep's export, {_HOW}") from error
    try:
        export = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}); name a sweep's export, {_HOW}") from error
    try:
        return tidy(export)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def tidy(export: Any) -> dict[str, Any]:
    """The export with every field of the right kind: figures finite or None, ids text and distinct.

    Absent fields stay absent, fields we do not know are dropped. Raises :class:`ConfigError`.
    """
    if not isinstance(export, dict) or not isinstance(export.get("points"), list):
        raise ConfigError(f'an export is {{"meta": {{...}}, "points": [...]}}, and this is none; {_HOW}')
    if not export["points"]:
        raise ConfigError("the export has no points yet; let the sweep finish some")
    if not isinstance(export.get("meta", {}), dict):
        raise ConfigError(f"the export's meta must be an object; {_HOW}")
    points = [_point(point, i) for i, point in enumerate(export["points"])]
    name, times = Counter(point["id"] for point in points).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"{times} points have the id {name}; a point's id must be its own")
    return {"meta": _finite(export.get("meta", {})), "points": points}


def _point(point: Any, place: int) -> dict[str, Any]:
    if not isinstance(point, dict):
        raise ConfigError(f"point {place} must be an object, not {point!r:.40}")
    name = str(point.get("id", place))
    found: dict[str, Any] = {"id": name}
    for field in TEXTS:
        if point.get(field) is not None:
            found[field] = _need(point[field], str, "text", name, field)
    found.setdefault("label", found.get("config", name))
    for field in NUMBERS:
        if field in point:
            found[field] = _number(point[field], name, field)
    if point.get("met") is not None:
        found["met"] = _need(point["met"], bool, "true, false or null", name, "met")
    for field in (*NETWORK_FIELDS, *PARTS):
        if point.get(field) is not None:
            numbers = _need(point[field], dict, "an object of numbers", name, field)
            found[field] = {key: _number(each, name, f"{field} of {key}") for key, each in numbers.items()}
    if point.get("interval") is not None:
        intervals = _need(point["interval"], dict, "an object of [low, high]", name, "interval")
        found["interval"] = {key: _pair(each, name, f"interval of {key}") for key, each in intervals.items()}
    if point.get("commands") is not None:
        commands = _need(point["commands"], dict, "an object of command lines", name, "commands")
        found["commands"] = {
            key: _need(line, str, "text", name, f"command {key}")
            for key, line in commands.items()
            if line is not None
        }
    return found


def _pair(value: Any, name: str, field: str) -> list[float | None]:
    if not isinstance(value, list) or len(value) != 2:
        raise ConfigError(f"{field} of point {name} must be [low, high], not {value!r:.40}")
    return [_number(each, name, field) for each in value]


def _need(value: Any, kind: type, words: str, name: str, field: str) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(f"{field} of point {name} must be {words}, not {value!r:.40}")
    return value


def _number(value: Any, name: str, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{field} of point {name} must be a number or null, not {value!r:.40}")
    return value if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """The same JSON without the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def networks_of(points: Iterable[Mapping[str, Any]]) -> list[str]:
    """Networks that some point has an accuracy or a loss for, as they first come."""
    return list(
        dict.fromkeys(
            name for point in points for field in ("accuracy", "loss") for name in point.get(field, {})
        )
    )


def default_view(points: list[dict[str, Any]]) -> dict[str, Any]:
    """One network, one technology and one clock, to begin with: {"network", "technology", "clock_ns"}.

    ResNet-20 where it is there, else the network with the most points; then the technology with the most
    points that have an area and that network's accuracy, and the clock that most of them meet. No clock
    target only where there is no clock that any of them meets.
    """
    networks = networks_of(points)
    counts = {name: sum(name in point.get("accuracy", {}) for point in points) for name in networks}
    plain = {name.lower().replace("-", ""): name for name in reversed(networks)}
    network = plain.get(_FIRST_NETWORK, max(networks, key=lambda name: counts[name], default=None))
    full = [
        point
        for point in points
        if point.get("um2") is not None and (network is None or network in point.get("accuracy", {}))
    ] or points
    technology = _most([point.get("technology") for point in full])
    here = [point for point in full if point.get("technology") == technology]
    meet = [
        point["clock_ns"]
        for point in here
        if point.get("clock_ns") is not None and point.get("met") is not False
    ]
    clock = _most(meet or [point.get("clock_ns") for point in here])
    return {"network": network, "technology": technology, "clock_ns": clock}


def _most(values: list[Any]) -> Any:
    """The commonest value, None only where there is no other; of equally common ones the first."""
    counts = Counter(each for each in values if each is not None)
    return max(counts, key=lambda each: counts[each], default=None)
