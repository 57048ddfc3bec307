"""Values of a TOML table, taken key by key and checked; a key that nobody took is an error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from golden.config import ConfigError

__all__ = ["Table"]

#: Clocks that are asked for, in ns.
_FASTEST_NS, _SLOWEST_NS = Fraction(1, 100), 10_000


class Table:
    """One table of the file.

    Every method takes a key with the value that stands for a missing one (None: it must be there), and raises
    :class:`ConfigError` in one sentence that names the table, the key and what would work. Where several
    values may stand, one alone may, too.
    """

    def __init__(self, content: dict[str, Any], where: str):
        self.content = content
        self.where = where  #: For messages.
        self._taken: dict[str, None] = {}

    def error(self, key: str, value: object, wanted: str) -> ConfigError:
        """The sentence."""
        return ConfigError(f"{self.where}: {key} is {value!r}; use {wanted}")

    def _take(self, key: str, default: Any) -> Any:
        self._taken[key] = None
        if key not in self.content and default is None:
            raise ConfigError(f"{self.where} has no {key}; give it one")
        return self.content.get(key, default)

    def _several(self, key: str, default: Any) -> list:
        value = self._take(key, default)
        values = value if isinstance(value, list) else [value]
        if not values:
            raise self.error(key, value, "one value at least, or leave it out")
        return values

    def finish(self) -> None:
        """Raise for a key that was not taken."""
        for key in self.content:
            if key not in self._taken:
                near = difflib.get_close_matches(key, self._taken, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(self._taken)}"
                raise ConfigError(f"{self.where} has no use for {key!r}; {hint}")

    def text(self, key: str, default: str | None) -> str:
        """A string that is not empty."""
        value = self._take(key, default)
        if not isinstance(value, str) or not value:
            raise self.error(key, value, "a string")
        return value

    def texts(self, key: str, default: list[str]) -> list[str]:
        """Strings."""
        if key not in self.content and not default:
            self._taken[key] = None
            return []
        values = self._several(key, default)
        if not all(isinstance(value, str) and value for value in values):
            raise self.error(key, self.content[key], "strings")
        return values

    def tables(self, key: str) -> list[dict[str, Any]]:
        """Tables [[key]]; none where there are none."""
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.error(key, value, f"tables, [[{key}]]")
        return value

    def choice(self, key: str, choices: Sequence[str], default: str | None) -> str:
        """One of these words."""
        value = self._take(key, default)
        if value not in choices:
            raise self.error(key, value, _one_of(choices))
        return value

    def choices(self, key: str, choices: Sequence[str], default: list[str]) -> list[str]:
        """Some of these words."""
        if not default:
            self._taken[key] = None
        values = self._several(key, default) if key in self.content or default else []
        for value in values:
            if value not in choices:
                raise self.error(key, value, _one_of(choices) if choices else "none: there are none declared")
        return values

    def integer(self, key: str, default: int | None, low: int, high: int) -> int:
        """An integer from low to high."""
        return self._integer(key, self._take(key, default), low, high)

    def number_or_word(self, key: str, word: str, default: int | str, low: int, high: int) -> int | str:
        """An integer, or the word."""
        value = self._take(key, default)
        return value if value == word else self._integer(key, value, low, high, word)

    def numbers(self, key: str, default: list[int] | None, low: int, high: int) -> list[int]:
        """Integers; ``"6-24"`` stands for all of them, ``"6-24/2"`` for every second."""
        return [n for value in self._several(key, default) for n in self._range(key, value, low, high, None)]

    def numbers_or_word(self, key: str, word: str, default: list, low: int, high: int) -> list[int | str]:
        """Integers and ranges, or the word among them."""
        found: list[int | str] = []
        for value in self._several(key, default):
            found += [value] if value == word else self._range(key, value, low, high, word)
        return found

    def clocks(self, key: str, word: str, default: list) -> list[int | None]:
        """Clock periods in ns, as ps; the word stands for None."""
        found: list[int | None] = []
        for value in self._several(key, default):
            if value == word:
                found.append(None)
                continue
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not _FASTEST_NS <= value <= _SLOWEST_NS:
                raise self.error(
                    key, value, f'a period in ns, from {float(_FASTEST_NS):g} to {_SLOWEST_NS}, or "{word}"'
                )
            found.append(round(Fraction(str(value)) * 1000))
        return found

    def _integer(self, key: str, value: object, low: int, high: int, word: str | None = None) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            wanted = f"an integer from {low} to {high}" + (f' or "{word}"' if word else "")
            raise self.error(key, value, wanted)
        return value

    def _range(self, key: str, value: object, low: int, high: int, word: str | None) -> list[int]:
        match = re.fullmatch(r"(\d+)-(\d+)(?:/([1-9]\d*))?", value) if isinstance(value, str) else None
        if match is None:
            return [self._integer(key, value, low, high, word)]
        first, last = (self._integer(key, int(end), low, high) for end in match.group(1, 2))
        if first > last:
            raise self.error(key, value, f'the smaller first, "{last}-{first}"')
        return list(range(first, last + 1, int(match[3] or 1)))


def _one_of(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
