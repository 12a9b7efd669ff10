"""The one SQLite database of a daemon: open, migrate, transact.

One connection, used from the event loop's thread only: a write in WAL mode with
``synchronous=NORMAL`` takes about 0.1 ms and survives ``kill -9``. Schema changes are numbered
``migrations/NNNN_name.sql`` files, applied once each, in order, in one transaction a file.

The log is emptied by a thread with a connection of its own: that waits for the disk, which may
take as long as it likes. On a full disk there is the room of ``store.reserve``.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path

from wherry.errors import Exhausted, Internal
from wherry.store.reserve import CHECKPOINT, Reserve

_log = logging.getLogger(__name__)

_CHANGES = 64
"""Rows changed between two looks at the log; each may take some pages of it."""
_LOOKS = 16
"""Looks at the log between two at the reserve."""


class Database:
    """A migrated connection. ``path`` may be ``:memory:`` in tests.

    ``spare``: where room is kept on the disk; None: none is kept.
    """

    def __init__(self, path: Path | str, spare: Path | None = None) -> None:
        self.path = str(path)
        self._reserve = Reserve(Path(path), spare) if spare is not None else None
        if self._reserve is not None:
            self._reserve.release()
        self._connection = _connect(self.path)
        self._connection.row_factory = sqlite3.Row
        self._depth = 0
        self._seen = 0
        self._looks = 0
        self._checkpoints = _Checkpoints(self.path) if self.path != ":memory:" else None
        # SQLite's own checkpoint, in the middle of a write, comes only when ours is late.
        self._connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT}")
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._connection.execute("PRAGMA cache_size=-2000")
        self._migrate()
        if self._reserve is not None:
            self._reserve.take(self._connection)

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

        Raises ``Exhausted`` when the disk is full, ``Internal`` when it fails otherwise;
        ``sqlite3.IntegrityError`` passes through, so that the caller can say what was in conflict.
        """
        try:
            rows = self._connection.execute(sql, parameters).fetchall()
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            if "full" not in str(error):
                _log.error("the database %s: %s", self.path, error)
                raise Internal(f"the database {self.path} cannot be used: {error}") from error
            rows = self._execute_again(sql, parameters, error)
        if self._connection.total_changes - self._seen >= _CHANGES:
            self._look()
        return rows

    def _execute_again(
        self, sql: str, parameters: tuple[object, ...], error: sqlite3.Error
    ) -> list[sqlite3.Row]:
        """The disk is full: once more with the room that was kept for this."""
        whole = not self._depth or self._connection.in_transaction
        if self._reserve is not None and self._reserve.release() and whole:
            _log.warning("the disk is full: the database has taken the room kept for it")
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except sqlite3.DatabaseError as again:
                error = again
        raise Exhausted(f"no space left on device for the database {self.path}") from error

    def _look(self) -> None:
        """Some rows have changed: have the log emptied, and see to the room for a full disk."""
        self._seen = self._connection.total_changes
        if self._checkpoints is not None:
            self._checkpoints.due()
        self._looks += 1
        if self._looks % _LOOKS == 0 and self._reserve is not None and not self._depth:
            self._reserve.take(self._connection)

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
            self.execute("COMMIT")
        except BaseException:
            # SQLite takes some failures of the disk back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth -= 1

    def close(self) -> None:
        """The log goes into the database; its room is kept by the spare file until the next."""
        if self._checkpoints is not None:
            self._checkpoints.close()
        self._connection.close()
        if self._reserve is not None:
            self._reserve.restore()


class _Checkpoints:
    """A thread that moves the log's pages into the database when told that it is time.

    It never makes a writer wait; what it cannot move now, it moves the next time.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._due = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def due(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
            self._thread.start()
        self._due.set()

    def close(self) -> None:
        self._closed = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        with closing(_connect(self._path)) as connection:
            while self._due.wait() and not self._closed:
                self._due.clear()
                try:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                except sqlite3.Error as error:
                    _log.debug("the database's log was not emptied: %s", error)


def _connect(path: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error as error:
        raise Internal(f"cannot open the database {path}: {error}") from error
    return connection
