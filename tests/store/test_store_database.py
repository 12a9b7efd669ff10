"""What becomes of errors of SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wherry.daemon.events import EventBus
from wherry.errors import Internal
from wherry.store.database import Database
from wherry.store.events import EventTable
from wherry.store.reserve import PAGES, Reserve


def test_a_failing_disk_is_one_of_our_errors(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    with pytest.raises(Internal, match="cannot be used: no such table: absent"):
        database.execute("SELECT * FROM absent")
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO migrations SELECT * FROM migrations")
    database.close()


def test_an_event_that_cannot_be_kept_is_lost_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    bus = EventBus(EventTable(database))
    database.execute("DROP TABLE events")
    bus.publish("container", "die", "c1", {})
    database.close()


class Failing(sqlite3.Connection):
    """A disk that fails when the log is emptied."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, parameters)


def test_a_log_that_is_not_emptied_fails_nobodys_write(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path, isolation_level=None, factory=Failing)) as connection:
        Reserve(path, tmp_path / "spare").take(connection)
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    assert free >= PAGES // 2
