"""What a study is: a question, parts that measure, and a page that is written from what they gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Expected", "MantissaBits", "Part", "Study"]


@dataclass(frozen=True)
class Part:
    """A measurement of a few minutes at most, run and kept apart from the others."""

    name: str
    #: (quick, report) -> what was measured, as JSON takes it. ``quick``: a small version of the same.
    #: ``report`` shows a line of progress. Raises :class:`sim.data.DataError` where data are missing.
    measure: Callable[[bool, Callable[[str], None]], dict]
    optional: bool = False  #: The page does without it where its data are missing.


@dataclass(frozen=True)
class Expected:
    """A figure that was known before, beside ours."""

    what: str
    known: str  #: Published, or first estimated, with its unit.
    measured: str
    note: str = ""  #: Why the two differ, where they do.


@dataclass(frozen=True, kw_only=True)
class MantissaBits:
    """What a study asks of a float accumulator, in mantissa bits; fractions are a theory's."""

    what: str  #: What so many bits are enough for.
    truncating: float  #: Toward zero, as it comes.
    repaired: float  #: Toward zero, made up for without other hardware.
    how: str  #: By what.
    nearest: float  #: Nearest even, as it comes.


def _no_bits(_: dict) -> MantissaBits | None:
    return None


def _no_figures(_: dict) -> dict[str, str]:
    return {}


def _nothing_expected(_: dict) -> list[Expected]:
    return []


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question, and the functions that answer it from a results file.

    The results of a study are ``{"study": name, "parts": {part: {"made_by", "quick", "seconds", "versions",
    and "data": what it measured, or "missing": why not}}}``. The functions below take ``{part: data}``,
    without the parts that miss something.
    """

    name: str  #: Of the command, the page and the results file.
    title: str  #: The page's heading.
    question: str
    parts: tuple[Part, ...]
    page: Callable[
        [dict], str
    ]  #: Markdown: method, figures, tables, limits; headings of the second level on.
    headline: Callable[[dict], str]  #: The answer in one sentence, for the README.
    answer: Callable[[dict], str]  #: One paragraph, its figures from the results.
    figures: Callable[[dict], dict[str, str]] = _no_figures  #: Name of an SVG file -> its text.
    expected: Callable[[dict], Sequence[Expected]] = _nothing_expected
    bits: Callable[[dict], MantissaBits | None] = _no_bits  #: None where bits are not what matters.

    @property
    def file(self) -> str:
        """Name of the results file."""
        return f"study-{self.name}.json"
