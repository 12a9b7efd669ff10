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
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Invalid(f"cannot lock the data root: {error}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            by = f" (process {owner})" if owner else ""
            raise Conflict(
                f"another wherryd{by} is using the data root {path.parent}; "
                "give this one its own with --data-root"
            ) from None
        line = f"{os.getpid()}\n".encode()
        # For people only; on a full disk the block is kept, or there is no number.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))

    def release(self) -> None:
        os.close(self._descriptor)
