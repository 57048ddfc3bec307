"""All rows of the proof, and what is known of each: docs/results/verification.json."""

from __future__ import annotations

import fcntl
import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path

from hw.files import write_files
from tb.verify.rows import ROOT, Outcome, Row

__all__ = ["MODULES", "RESULTS", "Record", "all_rows", "explanations", "forget", "read_records", "store"]

RESULTS = ROOT / "docs" / "results" / "verification.json"

#: Modules of methods, in the order of the report.
MODULES = (
    "step",
    "gates",
    "offsets",
    "units",
    "array",
    "protocol",
    "formal",
    "mutation",
    "third_opinions",
    "coverage",
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run of a row gave, as the JSON keeps it."""

    method: str
    subject: str
    what: str
    compared: int
    differences: int
    details: dict
    seed: int
    seconds: float
    versions: dict[str, str]
    digest: str  #: Of what the row depended upon.

    @classmethod
    def of(cls, row: Row, outcome: Outcome, *, seed: int, seconds: float, digest: str) -> Record:
        return cls(
            method=row.method,
            subject=row.subject,
            what=row.what,
            compared=outcome.compared,
            differences=outcome.differences,
            details=outcome.details,
            seed=seed,
            seconds=round(seconds, 1),
            versions=row.versions(),
            digest=digest,
        )

    @property
    def key(self) -> str:
        return f"{self.method} {self.subject}"

    @property
    def green(self) -> bool:
        return self.compared > 0 and self.differences == 0


def _modules() -> Iterator:
    for name in MODULES:
        yield importlib.import_module(f"tb.verify.{name}")


@cache
def all_rows() -> dict[str, Row]:
    """Every row by key; of each method one in turn, so that a run cut short has tried them all."""
    by_method: dict[str, list[Row]] = {}
    for row in chain.from_iterable(module.rows() for module in _modules()):
        by_method.setdefault(row.method, []).append(row)
    turns = chain.from_iterable(zip_longest(*by_method.values()))
    rows = [row for row in turns if row is not None]
    found = {row.key: row for row in rows}
    if len(found) != len(rows):
        raise ValueError("two rows have the same method and subject")
    return found


@cache
def explanations() -> dict[str, str]:
    """What each method does, in the order of the report."""
    return {method: text for module in _modules() for method, text in module.METHODS.items()}


def read_records(path: Path = RESULTS) -> dict[str, Record]:
    """What is known, by key; nothing if there is no file."""
    if not path.is_file():
        return {}
    records = [Record(**fields) for fields in json.loads(path.read_text())["rows"]]
    return {record.key: record for record in records}


def store(record: Record, path: Path = RESULTS) -> None:
    """Add to the file what a row gave, in place of what it gave before. Other runs may do the same."""
    with _locked(path):
        records = read_records(path) | {record.key: record}
        write_files({path.name: as_json(records)}, path.parent)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = ROOT / "build" / "verify" / f"{path.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def forget(path: Path = RESULTS) -> None:
    """Drop from the file the rows that there are no more."""
    with _locked(path):
        records = read_records(path)
        kept = {key: record for key, record in records.items() if key in all_rows()}
        if len(kept) < len(records):
            write_files({path.name: as_json(kept)}, path.parent)


def as_json(records: dict[str, Record]) -> str:
    """A row a line, those of a method together."""
    methods = list(explanations())
    ordered = sorted(
        records.values(),
        key=lambda record: (
            methods.index(record.method) if record.method in methods else len(methods),
            record.subject,
        ),
    )
    lines = ",\n".join(f"  {json.dumps(asdict(record))}" for record in ordered)
    return f'{{\n "rows": [\n{lines}\n ]\n}}\n'
