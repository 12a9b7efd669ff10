"""The events table: the last ones, in order, for ``/events`` with ``since``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wherry.store.database import Database

_LAST_TIME = (1 << 63) - 1


@dataclass(frozen=True)
class EventRow:
    """``time`` in nanoseconds since 1970; ``sequence`` grows by each event."""

    sequence: int
    time: int
    kind: str
    action: str
    actor: str
    attributes: Mapping[str, str]


class EventTable:
    """Bounded: ``append`` forgets all but about the newest ``keep`` events."""

    def __init__(self, database: Database, keep: int = 10_000) -> None:
        self._database = database
        self._keep = keep

    def append(
        self, time: int, kind: str, action: str, actor: str, attributes: Mapping[str, str]
    ) -> int:
        """Add one event; returns its sequence number."""
        text = json.dumps(dict(attributes), ensure_ascii=False, separators=(",", ":"))
        rows = self._database.execute(
            "INSERT INTO events (time, kind, action, actor, attributes) VALUES (?, ?, ?, ?, ?) "
            "RETURNING sequence",
            (time, kind, action, actor, text),
        )
        sequence = int(rows[0]["sequence"])
        if sequence % 256 == 0:
            self._database.execute(
                "DELETE FROM events WHERE sequence <= ?", (sequence - self._keep,)
            )
        return sequence

    def after(self, sequence: int, limit: int = 256) -> Sequence[EventRow]:
        """The oldest ``limit`` events beyond ``sequence``."""
        rows = self._database.execute(
            "SELECT * FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", (sequence, limit)
        )
        return [_row(row) for row in rows]

    def last(self) -> int:
        """Sequence of the newest event, 0 when there was none."""
        rows = self._database.execute("SELECT MAX(sequence) AS last FROM events")
        return int(rows[0]["last"] or 0)

    def before_time(self, time: int) -> int:
        """Sequence of the last event older than ``time``, so that ``after`` starts there.

        A time may lie beyond the 64 bits of the database's numbers (the year 9999 does).
        """
        bound = max(-_LAST_TIME, min(time, _LAST_TIME))
        rows = self._database.execute(
            "SELECT MIN(sequence) AS first FROM events WHERE time >= ?", (bound,)
        )
        first = rows[0]["first"]
        return self.last() if first is None else int(first) - 1


def _row(row: sqlite3.Row) -> EventRow:
    return EventRow(
        row["sequence"],
        row["time"],
        row["kind"],
        row["action"],
        row["actor"],
        json.loads(row["attributes"]),
    )
