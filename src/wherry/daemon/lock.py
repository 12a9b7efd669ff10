"""One daemon a data root: an flock that the kernel drops when the process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from wherry.errors import Conflict, Invalid


class RootLock:
    """Held from ``__init__`` until ``release`` or the end of the process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Raises ``Conflict`` naming the process that has the data root."""
        self._path = path
        self._descriptor = _locked(path)
        while not self._is_there():  # one that was given up in between
            os.close(self._descriptor)
            self._descriptor = _locked(path)
        line = f"{os.getpid()}\n".encode()
        # For people only; on a full disk the block is kept, or there is no number.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))

    def _is_there(self) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False

    def release(self, *, forget: bool = False) -> None:
        """``forget``: nothing is kept in the data root, not even the lock's file."""
        if forget:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _locked(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Invalid(f"cannot lock the data root: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        by = f" (process {owner})" if owner else ""
        raise Conflict(
            f"another wherryd{by} is using the data root {path.parent}; "
            "give this one its own with --data-root"
        ) from None
    return descriptor
