"""Swap two paths in one step (renameat2 with RENAME_EXCHANGE)."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_EXCHANGE = 2
_AT_FDCWD = -100
_UNABLE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def exchange(one: Path, other: Path) -> None:
    """Both must exist on one file system. Raises ``OSError``.

    Where the file system cannot swap, two renames do it: a crash between them leaves ``other``
    under the name ``.swap`` beside it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_EXCHANGE)
    )
    if done == 0:
        return
    number = ctypes.get_errno()
    if number not in _UNABLE:
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    aside = other.with_name(other.name + ".swap")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)
