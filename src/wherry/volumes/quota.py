"""Project quotas (ext4 and xfs mounted with ``prjquota``): limit what one directory tree holds.

A directory gets a project number which all below it inherits (ioctl FS_IOC_FSSETXATTR), and the
project a block limit (quotactl(2)). Numbers come from a range of our own.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from wherry.errors import Internal, WherryError
from wherry.linux.mounts import MountEntry, mount_of, read_mounts
from wherry.linux.syscalls import Syscalls

FIRST_PROJECT = 0x57480000
INHERIT = 0x200
"""FS_XFLAG_PROJINHERIT."""
_PRJQUOTA = 2
_Q_SETQUOTA, _Q_XSETQLIM = 0x800008, 0x5804
_QIF_BLIMITS = 1
_SOFT_AND_HARD = 1 << 2 | 1 << 3
_ENFORCED = frozenset({"prjquota", "pquota", "prjquota=on"})


class Quotas:
    """``mounts`` gives the mount table."""

    def __init__(
        self, calls: Syscalls, mounts: Callable[[], Sequence[MountEntry]] = read_mounts
    ) -> None:
        self._calls = calls
        self._mounts = mounts

    def _mount(self, directory: Path) -> MountEntry | None:
        return mount_of(self._mounts(), str(directory.resolve()))

    def available(self, directory: Path) -> bool:
        """Whether the file system that holds ``directory`` enforces project quotas."""
        entry = self._mount(directory)
        if entry is None or entry.fstype not in ("ext4", "xfs"):
            return False
        words = {*entry.options, *entry.super_options}
        return bool(_ENFORCED & words) and entry.source.startswith("/dev/")

    def begin(self, directory: Path, size: int) -> None:
        """Limit an empty directory to ``size`` bytes, by a project that no other volume has."""
        self._assign(directory, self._free(directory), size)

    def limit(self, directory: Path, size: int) -> None:
        """Another limit for a directory that has one (0: none)."""
        try:
            _, number = self._calls.project(str(directory))
        except OSError as error:
            raise Internal(f"cannot read the quota of {directory}: {error}") from error
        self._assign(directory, number, size)

    def drop(self, directory: Path) -> None:
        """Free the project of a volume that goes. Never raises."""
        try:
            self.limit(directory, 0)
        except WherryError:
            return

    def join(self, directory: Path, other: Path) -> None:
        """Count an empty directory together with ``other``. Raises ``OSError``."""
        _, number = self._calls.project(str(other))
        self._set(directory, number)

    def _free(self, directory: Path) -> int:
        taken = set()
        for each in directory.parent.parent.glob("*/_data"):
            try:
                taken.add(self._calls.project(str(each))[1])
            except OSError:
                continue
        number = FIRST_PROJECT
        while number in taken:
            number += 1
        return number

    def _set(self, directory: Path, number: int) -> None:
        flags, _ = self._calls.project(str(directory))
        self._calls.set_project(str(directory), flags | INHERIT, number)

    def _assign(self, directory: Path, number: int, size: int) -> None:
        entry = self._mount(directory)
        if entry is None:
            raise Internal(f"no mount holds {directory}")
        try:
            self._set(directory, number)
            if entry.fstype == "xfs":
                command, data = _xfs(number, size)
            else:
                command, data = _ext4(size)
            self._calls.quotactl(command << 8 | _PRJQUOTA, entry.source, number, data)
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise Internal(f"project quota is not switched on for {entry.source}") from error
            raise Internal(f"cannot set the quota of {directory}: {error}") from error


def _ext4(size: int) -> tuple[int, bytes]:
    """``struct if_dqblk``: limits in blocks of 1 KiB."""
    blocks = -(-size // 1024)
    return _Q_SETQUOTA, struct.pack("8QI4x", blocks, blocks, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS)


def _xfs(number: int, size: int) -> tuple[int, bytes]:
    """``struct fs_disk_quota``: limits in blocks of 512 bytes."""
    blocks = -(-size // 512)
    head = struct.pack("bbHI2Q", 1, _PRJQUOTA, _SOFT_AND_HARD, number, blocks, blocks)
    return _Q_XSETQLIM, head.ljust(112, b"\0")
