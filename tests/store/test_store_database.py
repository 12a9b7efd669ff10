"""What becomes of errors of SQLite."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from wherry.daemon.events import EventBus
from wherry.errors import Internal
from wherry.store.database import Database
from wherry.store.events import EventTable


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
