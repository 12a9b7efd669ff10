"""The one SQLite database of a daemon: open, migrate, transact.

One connection, used from the event loop's thread only: a write in WAL mode with
``synchronous=NORMAL`` takes about 0.1 ms and survives ``kill -9``. Schema changes are numbered
``migrations/NNNN_name.sql`` files, applied once each, in order, in one transaction a file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from wherry.errors import Exhausted, Internal


class Database:
    """A migrated connection. ``path`` may be ``:memory:`` in tests."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        try:
            self._connection = sqlite3.connect(self.path, isolation_level=None)
        except sqlite3.Error as error:
            raise Internal(f"cannot open the database {self.path}: {error}") from error
        self._connection.row_factory = sqlite3.Row
        self._depth = 0
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._connection.execute("PRAGMA cache_size=-2000")
        self._migrate()

    def _migrate(self) -> None:
        self.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
        done = {row["name"] for row in self.execute("SELECT name FROM migrations")}
        folder = resources.files("wherry.store") / "migrations"
        for entry in sorted(folder.iterdir(), key=lambda each: each.name):
            if not entry.name.endswith(".sql") or entry.name in done:
                continue
            script = entry.read_text()
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {script}; "
                f"INSERT INTO migrations (name) VALUES ('{entry.name}'); COMMIT;"
            )

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """Run one statement and return its rows.

        Raises ``Exhausted`` when the disk is full; ``sqlite3.IntegrityError`` passes through, so
        that the caller can say what was in conflict.
        """
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise Exhausted(f"no space left for the database {self.path}") from error
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside happen, or none. May be nested; the outermost one commits.

        Never ``await`` inside: the connection is shared by all tasks of the loop.
        """
        if self._depth:
            yield
            return
        self.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        else:
            self.execute("COMMIT")
        finally:
            self._depth -= 1

    def close(self) -> None:
        self._connection.close()
