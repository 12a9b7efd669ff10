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

NAMED, ANONYMOUS, MADE = 0, 1, 2
"""How a container refers to a volume: by a name that was there, to one without a name that was
made for it alone, or by a name that was made together with the container."""


@dataclass(frozen=True)
class VolumeRow:
    """``backing``: '' a directory, ``image`` a loop-mounted file, ``quota`` a project quota,
    ``mount`` a file system that the options name. ``size_limit``: bytes, 0 for none.
    ``state``: one of the words above. ``moved_from``: the name under which its directory may
    still be, while it is being renamed. ``bare``: made without options, not even an empty map."""

    id: str
    name: str
    driver: str
    created_ns: int
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] | None = None
    size_limit: int = 0
    backing: str = ""
    state: str = READY
    moved_from: str = ""
    bare: bool = True

    @property
    def hidden(self) -> bool:
        """Not there for anybody: it is going, or not yet whole."""
        return self.state in (REMOVING, MAKING)


def _row(row: sqlite3.Row) -> VolumeRow:
    options = json.loads(row["options"])
    return VolumeRow(
        id=row["id"],
        name=row["name"],
        driver=row["driver"],
        created_ns=row["created_ns"],
        options=options or {},
        bare=options is None,
        labels=json.loads(row["labels"]),
        size_limit=row["size_limit"],
        backing=row["backing"],
        state=row["state"],
        moved_from=row["moved_from"],
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
                    json.dumps(None if row.bare and not row.options else dict(row.options)),
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

    def set_made(self, row: VolumeRow) -> None:
        """What the driver decided, of a volume that was added before it was made."""
        self.database.execute(
            "UPDATE volumes SET size_limit = ?, backing = ?, state = ? WHERE id = ?",
            (row.size_limit, row.backing, row.state, row.id),
        )

    def rename(self, volume_id: str, name: str, moved_from: str) -> None:
        """``moved_from``: the old name, until its directory has the new one too."""
        try:
            self.database.execute(
                "UPDATE volumes SET name = ?, moved_from = ? WHERE id = ?",
                (name, moved_from, volume_id),
            )
        except sqlite3.IntegrityError as error:
            raise Conflict(f"volume name must be unique: {name}") from error

    def delete(self, volume_id: str) -> None:
        self.database.execute("DELETE FROM volumes WHERE id = ?", (volume_id,))

    def use(self, volume_id: str, container_id: str, kind: int = NAMED) -> None:
        """Idempotent. ``kind``: one of the numbers above; the highest one stays."""
        self.database.execute(
            "INSERT INTO volume_uses VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET anonymous ="
            " max(anonymous, excluded.anonymous)",
            (volume_id, container_id, kind),
        )

    def uses_of(self, container_id: str) -> list[tuple[str, bool]]:
        """(volume id, whether it is an anonymous one of its own) of one container."""
        rows = self.database.execute(
            "SELECT volume_id, anonymous FROM volume_uses WHERE container_id = ?", (container_id,)
        )
        return [(row["volume_id"], row["anonymous"] == ANONYMOUS) for row in rows]

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

    def abandon(self, container_id: str) -> list[str]:
        """Drop a container's uses; what was made for it alone and nobody else refers to is
        marked to be removed. Ids of these volumes."""
        doomed = []
        with self.database.transaction():
            uses = self.uses_of(container_id)
            self.unuse(container_id)
            for volume_id, anonymous in uses:
                if anonymous and not self.users(volume_id) and not self.holders(volume_id):
                    self.set_state(volume_id, REMOVING)
                    doomed.append(volume_id)
        return doomed

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

    def keep_only(self, containers: Iterable[str], running: Sequence[str]) -> list[str]:
        """Drop uses of containers that do not exist and mounts of those that do not run.

        Returns ids of volumes that were made together with such a container.
        """
        known, alive = set(containers), set(running)
        made_for: list[str] = []
        with self.database.transaction():
            for row in self.database.execute("SELECT DISTINCT container_id FROM volume_uses"):
                if row["container_id"] not in known:
                    uses = self.database.execute(
                        "SELECT volume_id FROM volume_uses WHERE container_id = ? AND anonymous",
                        (row["container_id"],),
                    )
                    self.unuse(row["container_id"])
                    made_for += [use["volume_id"] for use in uses]
            for row in self.database.execute("SELECT * FROM volume_mounts"):
                if row["holder"] not in alive:
                    self.unhold(row["volume_id"], row["holder"])
        return [each for each in made_for if not self.users(each)]
