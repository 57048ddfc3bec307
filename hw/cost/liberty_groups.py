"""Liberty text as groups of attributes, of the kinds that power takes; everything else is skipped unread."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = [
    "DELAYS",
    "LOADS",
    "POWERS",
    "SLEWS",
    "TEMPLATES",
    "Group",
    "cell_places",
    "numbers",
    "parse_groups",
]


@dataclass(slots=True)
class Group:
    """``kind (arguments) { ... }``."""

    kind: str
    arguments: tuple[str, ...]
    attributes: dict[str, str] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)  #: ``index_1 (...)`` and their like.
    groups: list[Group] = field(default_factory=list)

    def each(self, *kinds: str) -> Iterator[Group]:
        return (group for group in self.groups if group.kind in kinds)


POWERS, DELAYS = ("rise_power", "fall_power", "power"), ("cell_rise", "cell_fall")
TEMPLATES = ("power_lut_template", "lu_table_template")
_READ = (
    "library",
    "cell",
    "pin",
    "leakage_power",
    "internal_power",
    "timing",
    *TEMPLATES,
    *POWERS,
    *DELAYS,
)

#: What an index may be of.
SLEWS, LOADS = ("input_transition_time", "input_net_transition"), ("total_output_net_capacitance",)
_TOKEN = re.compile(r'/\*.*?\*/|"[^"]*"|[{};]', re.DOTALL)
_HEADER = re.compile(r"(\w+)\s*\(([^()]*)\)\s*\Z")
_ATTRIBUTE = re.compile(r'^\s*(\w+)\s*:\s*("[^"]*"|[^;"\n]+)', re.MULTILINE)
_LIST = re.compile(r'(\w+)\s*\(((?:[^()"]|"[^"]*")*)\)')
_CELL = re.compile(r'^\s*cell\s*\(\s*"?(\w+)"?\s*\)', re.MULTILINE)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def parse_groups(text: str) -> Group:
    """The groups named in ``_READ`` with all attributes; others are skipped, and open ends are closed."""
    root = Group("", ())
    stack, skipped, start, statement = [root], 0, 0, ""
    for token in _TOKEN.finditer(text):
        kind = token[0][0]
        if skipped:
            skipped += {"{": 1, "}": -1}.get(kind, 0)
            start, statement = token.end(), ""
            continue
        if kind == '"':
            continue
        statement += text[start : token.start()]
        start = token.end()
        if kind == "/":
            continue
        header = _HEADER.search(statement) if kind == "{" else None
        body = statement[: header.start()] if header else statement
        for name, value in _ATTRIBUTE.findall(body):
            stack[-1].attributes.setdefault(name, value.strip(' "'))
        for name, values in _LIST.findall(body):
            stack[-1].lists.setdefault(name, values)
        if kind == "{":
            if header is None or header[1] not in _READ:
                skipped = 1
            else:
                group = Group(header[1], tuple(part.strip(' "\t\n') for part in header[2].split(",")))
                stack[-1].groups.append(group)
                stack.append(group)
        elif kind == "}" and len(stack) > 1:
            stack.pop()
        statement = ""
    return root


def cell_places(text: str) -> dict[str, tuple[int, int]]:
    """Where the text of each cell begins and ends."""
    starts = {match[1]: match.start() for match in _CELL.finditer(text)}
    ends = [*list(starts.values())[1:], len(text)]
    return {name: (start, end) for (name, start), end in zip(starts.items(), ends, strict=True)}


def numbers(text: str) -> list[float]:
    """All that there are in a list such as ``"1, 2", "3, 4"``."""
    return [float(number) for number in _NUMBER.findall(text)]
