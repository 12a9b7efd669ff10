"""The containers table: one row a container, its record as JSON; the name is unique.

The record's shape belongs to ``wherry.containers.record``; the columns beside it are what the
database itself must know (the key, the unique name, the order).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from wherry.errors import Conflict
from wherry.store.database import Database


@dataclass(frozen=True)
class Row:
    id: str
    name: str
    created_ns: int
    record: bytes


class ContainerTable:
    """Rows of containers. All calls are from the event loop's thread, about 0.1 ms each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, row: Row) -> None:
        """Raises ``Conflict`` when the id or the name is taken."""
        try:
            self._database.execute(
                "INSERT INTO containers (id, name, created_ns, record) VALUES (?, ?, ?, ?)",
                (row.id, row.name, row.created_ns, row.record),
            )
        except sqlite3.IntegrityError as error:
            raise Conflict(f'the container name "{row.name}" is already in use') from error

    def update(self, row: Row) -> None:
        """Replace the record (and the name). Raises ``Conflict`` when the name is taken."""
        try:
            self._database.execute(
                "UPDATE containers SET name = ?, record = ? WHERE id = ?",
                (row.name, row.record, row.id),
            )
        except sqlite3.IntegrityError as error:
            raise Conflict(f'the container name "{row.name}" is already in use') from error

    def delete(self, container_id: str) -> None:
        self._database.execute("DELETE FROM containers WHERE id = ?", (container_id,))

    def all(self) -> list[Row]:
        """Every row, oldest first."""
        rows = self._database.execute(
            "SELECT id, name, created_ns, record FROM containers ORDER BY created_ns, id"
        )
        return [Row(row["id"], row["name"], row["created_ns"], row["record"]) for row in rows]
