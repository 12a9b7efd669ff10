"""The tables of volumes: what exists, who refers to it, who has it mounted now.

A *use* is a container that names the volume, running or not; a *mount* is a holder (a running
container, or an operation of ours) that needs the volume's file system in place.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wherry.errors import Conflict
from wherry.store.database import Database

READY = "ready"
REMOVING = "removing"
"""The user's word to remove was given; start-up finishes it."""
MAKING = "making"
"""Being filled by an operation; nobody sees it, and start-up removes it."""
POPULATING = "populating"
"""Image content is being copied in; what is there after a crash is a part of it."""


@dataclass(frozen=True)
class VolumeRow:
    """``backing``: '' a directory, ``image`` a loop-mounted file, ``quota`` a project quota,
    ``mount`` a file system that the options name. ``size_limit``: bytes, 0 for none.
    ``state``: one of the words above."""

    id: str
    name: str
    driver: str
    created_ns: int
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] | None = None
    size_limit: int = 0
    backing: str = ""
    state: str = READY

    @property
    def hidden(self) -> bool:
        """Not there for anybody: it is going, or not yet whole."""
        return self.state in (REMOVING, MAKING)


def _row(row: sqlite3.Row) -> VolumeRow:
    return VolumeRow(
        id=row["id"],
        name=row["name"],
        driver=row["driver"],
        created_ns=row["created_ns"],
        options=json.loads(row["options"]),
        labels=json.loads(row["labels"]),
        size_limit=row["size_limit"],
        backing=row["backing"],
        state=row["state"],
    )


class VolumeTable:
    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, row: VolumeRow) -> None:
        """``Conflict`` when the name is taken."""
        try:
            self.database.execute(
                "INSERT INTO volumes (id, name, driver, options, labels, created_ns, size_limit,"
                " backing, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.id,
                    row.name,
                    row.driver,
                    json.dumps(dict(row.options)),
                    json.dumps(None if row.labels is None else dict(row.labels)),
                    row.created_ns,
                    row.size_limit,
                    row.backing,
                    row.state,
                ),
            )
        except sqlite3.IntegrityError as error:
            raise Conflict(f"volume name must be unique: {row.name}") from error

    def by_name(self, name: str) -> VolumeRow | None:
        rows = self.database.execute("SELECT * FROM volumes WHERE name = ?", (name,))
        return _row(rows[0]) if rows else None

    def by_id(self, volume_id: str) -> VolumeRow | None:
        rows = self.database.execute("SELECT * FROM volumes WHERE id = ?", (volume_id,))
        return _row(rows[0]) if rows else None

    def all(self) -> list[VolumeRow]:
        """Ordered by name."""
        return [_row(row) for row in self.database.execute("SELECT * FROM volumes ORDER BY name")]

    def set_state(self, volume_id: str, state: str) -> None:
        self.database.execute("UPDATE volumes SET state = ? WHERE id = ?", (state, volume_id))

    def set_size(self, volume_id: str, size_limit: int, options: Mapping[str, str]) -> None:
        self.database.execute(
            "UPDATE volumes SET size_limit = ?, options = ? WHERE id = ?",
            (size_limit, json.dumps(dict(options)), volume_id),
        )

    def set_labels(self, volume_id: str, labels: Mapping[str, str] | None) -> None:
        self.database.execute(
            "UPDATE volumes SET labels = ? WHERE id = ?",
            (json.dumps(None if labels is None else dict(labels)), volume_id),
        )

    def rename(self, volume_id: str, name: str) -> None:
        try:
            self.database.execute("UPDATE volumes SET name = ? WHERE id = ?", (name, volume_id))
        except sqlite3.IntegrityError as error:
            raise Conflict(f"volume name must be unique: {name}") from error

    def delete(self, volume_id: str) -> None:
        self.database.execute("DELETE FROM volumes WHERE id = ?", (volume_id,))

    def use(self, volume_id: str, container_id: str, *, anonymous: bool) -> None:
        """Idempotent. ``anonymous``: this container had the volume made for it."""
        self.database.execute(
            "INSERT INTO volume_uses VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET anonymous ="
            " max(anonymous, excluded.anonymous)",
            (volume_id, container_id, anonymous),
        )

    def uses_of(self, container_id: str) -> list[tuple[str, bool]]:
        """(volume id, anonymous) of one container."""
        rows = self.database.execute(
            "SELECT volume_id, anonymous FROM volume_uses WHERE container_id = ?", (container_id,)
        )
        return [(row["volume_id"], bool(row["anonymous"])) for row in rows]

    def users(self, volume_id: str) -> list[str]:
        """Ids of containers that refer to the volume."""
        rows = self.database.execute(
            "SELECT container_id FROM volume_uses WHERE volume_id = ? ORDER BY container_id",
            (volume_id,),
        )
        return [row["container_id"] for row in rows]

    def use_counts(self) -> dict[str, int]:
        """Volume id -> number of containers that refer to it; unused ones are absent."""
        rows = self.database.execute(
            "SELECT volume_id, count(*) AS n FROM volume_uses GROUP BY volume_id"
        )
        return {row["volume_id"]: row["n"] for row in rows}

    def unuse(self, container_id: str) -> None:
        self.database.execute("DELETE FROM volume_uses WHERE container_id = ?", (container_id,))

    def unuse_one(self, volume_id: str, container_id: str) -> None:
        self.database.execute(
            "DELETE FROM volume_uses WHERE volume_id = ? AND container_id = ?",
            (volume_id, container_id),
        )

    def hold(self, volume_id: str, holder: str) -> None:
        self.database.execute(
            "INSERT OR IGNORE INTO volume_mounts VALUES (?, ?)", (volume_id, holder)
        )

    def unhold(self, volume_id: str, holder: str) -> None:
        self.database.execute(
            "DELETE FROM volume_mounts WHERE volume_id = ? AND holder = ?", (volume_id, holder)
        )

    def held_by(self, holder: str) -> list[str]:
        """Volume ids that a holder has mounted."""
        rows = self.database.execute(
            "SELECT volume_id FROM volume_mounts WHERE holder = ?", (holder,)
        )
        return [row["volume_id"] for row in rows]

    def holders(self, volume_id: str) -> list[str]:
        rows = self.database.execute(
            "SELECT holder FROM volume_mounts WHERE volume_id = ? ORDER BY holder", (volume_id,)
        )
        return [row["holder"] for row in rows]

    def keep_only(self, containers: Iterable[str], running: Sequence[str]) -> None:
        """Drop uses of containers that do not exist and mounts of those that do not run."""
        known, alive = set(containers), set(running)
        with self.database.transaction():
            for row in self.database.execute("SELECT DISTINCT container_id FROM volume_uses"):
                if row["container_id"] not in known:
                    self.unuse(row["container_id"])
            for row in self.database.execute("SELECT * FROM volume_mounts"):
                if row["holder"] not in alive:
                    self.unhold(row["volume_id"], row["holder"])
