"""The store: results by the hash of what was computed, in one SQLite file.

A row is written once, whole or not at all; whatever is killed leaves the rows before it. Readers may look at
any time. Each half of a sweep has one writer, which holds a lock that ends with its process.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from golden.config import ConfigError
from sim.sweep.items import Item, canonical

__all__ = ["Store", "group_of"]

_WAIT_S = 60

_TABLES = """
CREATE TABLE IF NOT EXISTS items (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, item TEXT NOT NULL, result TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, item TEXT NOT NULL, sentence TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seconds (key TEXT PRIMARY KEY, seconds REAL NOT NULL) WITHOUT ROWID;
"""


class Store:
    """Results of items.

    Parameters
    ----------
    path : Path
        The file, made where there is none.

    Raises :class:`ConfigError` where it cannot be opened, or is no store.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{path} is no store of sweeps ({error}); name another with --store") from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @contextmanager
    def writing(self, halves: Iterable[str]) -> Iterator[None]:
        """Be the only one that computes these halves; ends with the process, however that ends.

        Raises :class:`ConfigError` where another process does so already.
        """
        with ExitStack() as files:
            for half in halves:
                file = files.enter_context(open(f"{self.path}.{half}.lock", "w"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise ConfigError(
                        f"another sweep is computing {half} into {self.path}; wait for it, or name another "
                        "with --store"
                    ) from None
            yield

    def results(self) -> dict[str, dict[str, Any]]:
        """Everything, by key."""
        with closing(self._connection.execute("SELECT key, result FROM items")) as rows:
            return {key: json.loads(result) for key, result in rows}

    def __contains__(self, item: Item) -> bool:
        found = self._connection.execute("SELECT 1 FROM items WHERE key = ?", (item.key,)).fetchone()
        return found is not None

    def add(self, item: Item, result: dict[str, Any], seconds: float) -> None:
        """Keep a result; what is there already stays as it is."""
        key = item.key
        with self._transaction():
            execute = self._connection.execute
            execute(
                "INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?)",
                (key, item.kind, item.text, canonical(result)),
            )
            execute("INSERT OR IGNORE INTO seconds VALUES (?, ?)", (key, seconds))
            execute("DELETE FROM failures WHERE key = ?", (key,))

    def fail(self, item: Item, sentence: str) -> None:
        """Keep why an item failed, until it succeeds."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)",
                (item.key, item.kind, item.text, sentence),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def failures(self) -> dict[str, str]:
        """Key -> sentence."""
        return dict(self._connection.execute("SELECT key, sentence FROM failures ORDER BY key"))

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Key, kind, item and result of everything, in order of keys."""
        return self._connection.execute("SELECT * FROM items ORDER BY key").fetchall()

    def seconds(self) -> dict[str, float]:
        """What an item took on average, by :func:`group_of`."""
        rows = self._connection.execute("SELECT kind, item, seconds FROM items JOIN seconds USING (key)")
        sums: dict[str, list[float]] = {}
        for kind, item, seconds in rows:
            sums.setdefault(_group(kind, json.loads(item)["arguments"]), []).append(seconds)
        return {name: sum(each) / len(each) for name, each in sums.items()}


def group_of(item: Item) -> str:
    """A name for items that take about as long as each other."""
    return _group(item.kind, json.loads(item.arguments))


def _group(kind: str, arguments: dict[str, Any]) -> str:
    return f"{kind} {arguments.get('network', arguments.get('technology', ''))}".strip()
