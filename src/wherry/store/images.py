"""Tables of the image store. Called from the event loop's thread only, inside transactions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from wherry.store.database import Database


@dataclass(frozen=True)
class ReferenceRow:
    name: str
    target: str
    tagged: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True)
class ManifestRow:
    """One complete image below a target."""

    target: str
    digest: str
    image_id: str
    os: str
    architecture: str
    variant: str


@dataclass(frozen=True)
class LayerRow:
    diff_id: str
    kind: str
    size: int
    added: int


class ImageTables:
    def __init__(self, database: Database) -> None:
        self.database = database

    # ---- references

    def references(self) -> list[ReferenceRow]:
        rows = self.database.execute(
            "SELECT name, target, tagged FROM image_references ORDER BY name"
        )
        return [ReferenceRow(*row) for row in rows]

    def references_to(self, target: str) -> list[ReferenceRow]:
        rows = self.database.execute(
            "SELECT name, target, tagged FROM image_references WHERE target = ? ORDER BY name",
            (target,),
        )
        return [ReferenceRow(*row) for row in rows]

    def reference(self, name: str) -> str | None:
        """Target of a canonical name."""
        rows = self.database.execute("SELECT target FROM image_references WHERE name = ?", (name,))
        return str(rows[0]["target"]) if rows else None

    def set_reference(self, name: str, target: str) -> None:
        self.database.execute(
            "INSERT OR REPLACE INTO image_references (name, target, tagged) VALUES (?, ?, ?)",
            (name, target, time.time_ns()),
        )

    def drop_reference(self, name: str) -> None:
        self.database.execute("DELETE FROM image_references WHERE name = ?", (name,))

    # ---- targets and their images

    def targets(self, *, hidden: bool = False) -> dict[str, int]:
        """Digest -> when it was added, oldest first; the hidden ones instead on request."""
        rows = self.database.execute(
            "SELECT digest, added FROM image_targets WHERE hidden = ? ORDER BY added", (hidden,)
        )
        return {row["digest"]: row["added"] for row in rows}

    def hide_target(self, digest: str) -> None:
        """Take a root out of every view without letting go of its content."""
        with self.database.transaction():
            self.database.execute("DELETE FROM image_references WHERE target = ?", (digest,))
            self.database.execute("UPDATE image_targets SET hidden = 1 WHERE digest = ?", (digest,))

    def put_target(self, digest: str, media_type: str, manifests: Iterable[ManifestRow]) -> None:
        """Keep a root and note its images; idempotent, newly complete images are added."""
        with self.database.transaction():
            self.database.execute(
                "INSERT INTO image_targets (digest, media_type, added) VALUES (?, ?, ?)"
                " ON CONFLICT (digest) DO UPDATE SET hidden = 0",
                (digest, media_type, time.time_ns()),
            )
            for position, row in enumerate(manifests):
                self.database.execute(
                    "INSERT OR REPLACE INTO image_manifests (target, digest, position, image_id,"
                    " os, architecture, variant) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        digest,
                        row.digest,
                        position,
                        row.image_id,
                        row.os,
                        row.architecture,
                        row.variant,
                    ),
                )

    def drop_target(self, digest: str) -> None:
        with self.database.transaction():
            self.database.execute("DELETE FROM image_references WHERE target = ?", (digest,))
            self.database.execute("DELETE FROM image_targets WHERE digest = ?", (digest,))

    def manifests(self, target: str | None = None, *, hidden: bool = False) -> list[ManifestRow]:
        """Images of one target, in its order; of all targets, oldest target first."""
        where, parameters = (" AND m.target = ?", (target,)) if target else ("", ())
        return self._manifests(
            f"t.hidden = ?{where} ORDER BY t.added, m.target, m.position", (hidden, *parameters)
        )

    def manifests_of_image(self, image_id: str) -> list[ManifestRow]:
        return self._manifests(
            "t.hidden = 0 AND m.image_id = ? ORDER BY m.target, m.position", (image_id,)
        )

    def _manifests(self, where: str, parameters: tuple[object, ...]) -> list[ManifestRow]:
        rows = self.database.execute(
            "SELECT m.target, m.digest, m.image_id, m.os, m.architecture, m.variant"
            " FROM image_manifests m JOIN image_targets t ON t.digest = m.target"
            f" WHERE {where}",
            parameters,
        )
        return [ManifestRow(*row) for row in rows]

    def images_starting(self, hex_prefix: str) -> list[str]:
        """Ids of at most two images whose hex starts so (lower-case hex digits only)."""
        low = f"sha256:{hex_prefix}"
        rows = self.database.execute(
            "SELECT DISTINCT m.image_id FROM image_manifests m"
            " JOIN image_targets t ON t.digest = m.target"
            " WHERE t.hidden = 0 AND m.image_id >= ? AND m.image_id < ? LIMIT 2",
            (low, low + "g"),
        )
        return [row["image_id"] for row in rows]

    # ---- notes

    def parent(self, image_id: str) -> str:
        rows = self.database.execute(
            "SELECT parent FROM image_notes WHERE image_id = ?", (image_id,)
        )
        return str(rows[0]["parent"]) if rows else ""

    def parents(self) -> dict[str, str]:
        rows = self.database.execute("SELECT image_id, parent FROM image_notes WHERE parent != ''")
        return {row["image_id"]: row["parent"] for row in rows}

    def set_parent(self, image_id: str, parent: str) -> None:
        self.database.execute(
            "INSERT INTO image_notes (image_id, parent) VALUES (?, ?)"
            " ON CONFLICT (image_id) DO UPDATE SET parent = excluded.parent",
            (image_id, parent),
        )

    def last_tagged(self, image_id: str) -> int:
        rows = self.database.execute(
            "SELECT tagged FROM image_notes WHERE image_id = ?", (image_id,)
        )
        return int(rows[0]["tagged"]) if rows else 0

    def set_tagged(self, image_id: str) -> None:
        self.database.execute(
            "INSERT INTO image_notes (image_id, tagged) VALUES (?, ?)"
            " ON CONFLICT (image_id) DO UPDATE SET tagged = excluded.tagged",
            (image_id, time.time_ns()),
        )

    def drop_notes(self, image_id: str) -> None:
        """Forget an image; its children keep their pictures without a parent."""
        self.database.execute("DELETE FROM image_notes WHERE image_id = ?", (image_id,))
        self.database.execute("UPDATE image_notes SET parent = '' WHERE parent = ?", (image_id,))

    # ---- layers and blobs

    def layers(self) -> dict[str, LayerRow]:
        rows = self.database.execute("SELECT diff_id, kind, size, added FROM image_layers")
        return {row["diff_id"]: LayerRow(*row) for row in rows}

    def layer(self, diff_id: str) -> LayerRow | None:
        rows = self.database.execute(
            "SELECT diff_id, kind, size, added FROM image_layers WHERE diff_id = ?", (diff_id,)
        )
        return LayerRow(*rows[0]) if rows else None

    def put_layer(self, diff_id: str, kind: str, size: int) -> None:
        self.database.execute(
            "INSERT OR IGNORE INTO image_layers (diff_id, kind, size, added) VALUES (?, ?, ?, ?)",
            (diff_id, kind, size, time.time_ns()),
        )

    def drop_layer(self, diff_id: str) -> None:
        self.database.execute("DELETE FROM image_layers WHERE diff_id = ?", (diff_id,))

    def blobs(self) -> dict[str, int]:
        """Digest -> size in bytes."""
        rows = self.database.execute("SELECT digest, size FROM image_blobs")
        return {row["digest"]: row["size"] for row in rows}

    def inflated(self) -> dict[str, str]:
        """Compressed layer -> its diff id, for those that were inflated once."""
        rows = self.database.execute("SELECT digest, diff_id FROM image_blobs WHERE diff_id != ''")
        return {row["digest"]: row["diff_id"] for row in rows}

    def put_blob(self, digest: str, size: int, diff_id: str = "") -> None:
        self.database.execute(
            "INSERT INTO image_blobs (digest, size, diff_id) VALUES (?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET"
            " diff_id = CASE excluded.diff_id WHEN '' THEN diff_id ELSE excluded.diff_id END",
            (digest, size, diff_id),
        )

    def drop_blob(self, digest: str) -> None:
        self.database.execute("DELETE FROM image_blobs WHERE digest = ?", (digest,))
