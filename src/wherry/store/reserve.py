"""Room on the disk kept for the database, so that it can be written when everything else is full.

Three kinds, because each is lost at another moment:

- The log of SQLite (``state.db-wal``) is given its blocks when it is opened. SQLite uses the same
  blocks again after each checkpoint; what lies behind its last frame it takes for rubbish.
- The database itself has free pages (SQLite's free list), in which new rows find room without the
  file growing. They are made by putting a large value in and taking it out.
- A spare file holds the room for both while no daemon runs (SQLite removes its log when it is
  closed in order). It is removed before the database is opened, or when the other two did not
  suffice, and made again when there is room.

A container that fills the disk cannot take the first two: they are inside files of ours.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)

LOG_ROOM = 3 << 20
"""Bytes of the write-ahead log; a checkpoint comes after half of it."""
PAGES = 256
"""Free pages that the database should have, of 4096 bytes each: some 5,000 events."""
SPARE = LOG_ROOM + (1 << 20)
_SMALL = 16 << 20
"""On a file system with less than this free nothing is taken beforehand."""
CHECKPOINT = LOG_ROOM // 2 // 4120
"""Frames of a page and its header after which SQLite empties its log."""


class Reserve:
    """The room of one database. The event loop's thread only; every step takes microseconds,
    but for the making of free pages (milliseconds, once for as many as are used up)."""

    def __init__(self, database: Path, spare: Path) -> None:
        self._database = database
        self._log_file = database.with_name(database.name + "-wal")
        self._spare = spare

    def release(self) -> bool:
        """Give the spare room up; False when there was none."""
        try:
            self._spare.unlink()
        except OSError:
            return False
        return True

    def take(self, connection: sqlite3.Connection) -> None:
        """After opening, and from time to time: make what is missing, where there is room."""
        with suppress(OSError):
            _allocate(self._log_file, LOG_ROOM)
        self._free_pages(connection)
        self.restore()

    def restore(self) -> None:
        """Make the spare file again, unless the disk has become tight."""
        if self._spare.exists() or not self._roomy():
            return
        part = self._spare.with_name(self._spare.name + ".new")
        try:
            part.touch(mode=0o600)
            _allocate(part, SPARE)
            part.rename(self._spare)
        except OSError:
            part.unlink(missing_ok=True)

    def _free_pages(self, connection: sqlite3.Connection) -> None:
        free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        if free >= PAGES // 2 or not self._roomy():
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE room (filling BLOB)")
            connection.execute("INSERT INTO room VALUES (zeroblob(?))", (PAGES * 4096,))
            connection.execute("DROP TABLE room")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _log.warning("no room could be kept for the database: %s", error)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return
        with suppress(sqlite3.Error):  # the next one will move the pages
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.execute("PRAGMA shrink_memory")

    def _roomy(self) -> bool:
        try:
            status = os.statvfs(self._database.parent)
        except OSError:
            return False
        return status.f_bavail * status.f_frsize >= _SMALL


def _allocate(path: Path, size: int) -> None:
    """Give a file at least so many bytes of the disk; what it holds stays."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.posix_fallocate(fd, 0, size)
    finally:
        os.close(fd)
