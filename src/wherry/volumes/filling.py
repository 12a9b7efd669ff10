"""The first content of a volume: copied aside within it, then moved into place.

``COPYING`` holds a part of the content, ``COPIED`` all of it. After a crash a part is removed,
and what is whole is moved on; nothing else in the volume is ever touched, so that what a
container has written meanwhile stays.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from wherry.linux.exchange import rename_new
from wherry.volumes import treecopy

COPYING = ".wherry-copying"
COPIED = ".wherry-copied"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def begin(volume: Path) -> Path:
    """An empty directory to copy into. Raises ``OSError``."""
    recover(volume)
    aside = volume / COPYING
    aside.mkdir(mode=0o700)
    # The volume's own group or access list must not be inherited.
    os.chown(aside, 0, 0)
    aside.chmod(0o700)
    return aside


def finish(volume: Path) -> None:
    """All has been copied: put it in place. Raises ``OSError``."""
    (volume / COPYING).rename(volume / COPIED)
    recover(volume)


def recover(volume: Path) -> None:
    """Remove a part, put in place what is whole. Idempotent. Raises ``OSError``."""
    if (volume / COPYING).is_dir():
        shutil.rmtree(volume / COPYING)
    if (volume / COPIED).is_dir():
        _place(volume)


def _place(volume: Path) -> None:
    root = os.open(volume, _DIRECTORY)
    try:
        aside = os.open(COPIED, _DIRECTORY, dir_fd=root)
        try:
            looks = os.fstat(aside), treecopy.attributes_of(aside)
            for name in os.listdir(aside):
                try:
                    rename_new(aside, name, root, name)
                except FileExistsError:
                    _drop(aside, name)
            treecopy.dress(root, *looks)
        finally:
            os.close(aside)
        os.rmdir(COPIED, dir_fd=root)
        os.utime(root, ns=(looks[0].st_atime_ns, looks[0].st_mtime_ns))
    finally:
        os.close(root)


def _drop(folder: int, name: str) -> None:
    """A running container was faster to use the name: its own stays."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=folder)
