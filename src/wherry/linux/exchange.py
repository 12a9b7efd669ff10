"""Renames that swap two paths, or refuse to replace one (renameat2(2))."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from pathlib import Path

SWAP = ".swap"
"""Ending of the old content where two renames stand for a swap."""
_NO_REPLACE = 1
_EXCHANGE = 2
_AT_FDCWD = -100
_UNABLE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _rename(old_folder: int, old: str | Path, new_folder: int, new: str | Path, how: int) -> None:
    done = _libc().renameat2(
        old_folder, os.fsencode(old), new_folder, os.fsencode(new), ctypes.c_uint(how)
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(old), None, str(new))


def exchange(one: Path, other: Path) -> None:
    """Both must exist on one file system. Raises ``OSError``.

    Where the file system cannot swap, renames do it: a crash between them leaves the old
    content of ``other`` under the name ``<other>.swap``; ``settle`` undoes or finishes that.
    """
    try:
        _rename(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        aside = other.with_name(other.name + SWAP)
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


def settle(other: Path) -> Path | None:
    """After a crash: ``other`` is there again, old or new. What is to be removed, if anything."""
    aside = other.with_name(other.name + SWAP)
    if not aside.exists():
        return None
    if other.exists():
        return aside
    aside.rename(other)
    return None


def rename_new(old_folder: int, old: str, new_folder: int, new: str) -> None:
    """Rename between open directories. ``FileExistsError`` when the new name is taken."""
    try:
        _rename(old_folder, old, new_folder, new, _NO_REPLACE)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        try:
            os.lstat(new, dir_fd=new_folder)
        except FileNotFoundError:
            os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from error
