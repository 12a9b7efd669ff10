"""Writing a stream to a file while hashing it: two threads, both outside the interpreter lock."""

from __future__ import annotations

import ctypes
import hashlib
import os
import queue
import threading
from pathlib import Path

from wherry.errors import Exhausted

CHUNK = 1 << 20
RESERVE = 64 << 20
"""Free bytes that an archive may never take: the database and running containers need them."""
_CHECK_EVERY = 32 << 20
_SYNC_EVERY = 16 << 20
_SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)


def no_space(where: str) -> Exhausted:
    return Exhausted(f"no space left on device: {where}")


def check_space(folder: int | str) -> None:
    """Raise ``Exhausted`` when the file system of ``folder`` is down to the reserve."""
    figures = os.statvfs(folder)
    reserve = min(RESERVE, figures.f_blocks * figures.f_frsize // 20)
    if figures.f_bavail * figures.f_frsize < reserve:
        raise no_space("the archive does not fit on the disk")


class Hasher:
    """SHA-256 in a thread of its own, at most a few chunks behind."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | memoryview | None] = queue.Queue(maxsize=8)
        self._thread: threading.Thread | None = None

    def update(self, data: bytes | memoryview) -> None:
        if self._thread is None:
            if len(data) < 65536:
                self._hash.update(data)
                return
            self._thread = threading.Thread(target=self._run, daemon=True, name="sha256")
            self._thread.start()
        self._queue.put(data)

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            self._hash.update(data)

    def digest(self) -> str:
        """``sha256:<hex>`` of all that was given; ends the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        return "sha256:" + self._hash.hexdigest()


class Sink:
    """A new file of a job's folder: hashed, pushed to the disk as it grows, synced at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.digest = ""
        self._hasher = Hasher()
        self._unchecked = 0
        self._pushed = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """``data`` must not change afterwards: the hashing thread reads it later."""
        if not data:
            return
        self._hasher.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self.size += len(data)
        self._unchecked += len(data)
        if self._unchecked >= _CHECK_EVERY:
            self._unchecked = 0
            check_space(self._descriptor)
        if self.size - self._pushed >= _SYNC_EVERY:
            # Start writing to the disk now, so that the sync at the end has little left to do.
            _libc.sync_file_range(
                self._descriptor,
                ctypes.c_int64(self._pushed),
                ctypes.c_int64(self.size - self._pushed),
                _SYNC_FILE_RANGE_WRITE,
            )
            self._pushed = self.size

    def close(self, *, sync: bool = True) -> str:
        """Finish; returns the digest."""
        if self._descriptor >= 0:
            if sync:
                os.fdatasync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self.digest = self._hasher.digest()
        return self.digest
