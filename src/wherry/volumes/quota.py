"""Project quotas (ext4 and xfs mounted with ``prjquota``): limit what one directory tree holds.

A directory gets a project number which all below it inherits (ioctl FS_IOC_FSSETXATTR), and the
project a block limit (quotactl(2), which takes the same structure for both file systems). Numbers
come from a range of our own, by chance: other data roots on the same file system take theirs from
it too. A number outside that range is somebody else's (0 is all that is in no project), and its
limit is never touched.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from wherry.errors import Conflict, Internal, WherryError
from wherry.linux.mounts import MountEntry, mount_of, read_mounts
from wherry.linux.syscalls import Syscalls

FIRST_PROJECT, PROJECTS = 0x57000000, 1 << 24
INHERIT = 0x200
"""FS_XFLAG_PROJINHERIT."""
_PRJQUOTA = 2
_Q_GETQUOTA, _Q_SETQUOTA = 0x800007, 0x800008
_QIF_BLIMITS = 1
_BLOCK = struct.Struct("8QI4x")
"""``struct if_dqblk``: limits in blocks of 1 KiB, the third is bytes in use, the sixth files."""
_TRIES = 100
_ENFORCED = frozenset({"prjquota", "pquota", "prjquota=on"})


class Figures(NamedTuple):
    """Bytes, 0 for no limit; directories and files."""

    limit: int
    used: int
    files: int


def _by_chance() -> int:
    return FIRST_PROJECT + secrets.randbelow(PROJECTS)


def _ours(number: int) -> bool:
    return FIRST_PROJECT <= number < FIRST_PROJECT + PROJECTS


class Quotas:
    """``mounts`` gives the mount table, ``pick`` a number that may be taken."""

    def __init__(
        self,
        calls: Syscalls,
        mounts: Callable[[], Sequence[MountEntry]] = read_mounts,
        pick: Callable[[], int] = _by_chance,
    ) -> None:
        self._calls = calls
        self._mounts = mounts
        self._pick = pick

    def available(self, directory: Path) -> bool:
        """Whether the file system that holds ``directory`` enforces project quotas, and leaves
        the choice of the project to us: not below a directory that is limited itself."""
        entry = mount_of(self._mounts(), str(directory.resolve()))
        if entry is None or entry.fstype not in ("ext4", "xfs"):
            return False
        if not _ENFORCED & {*entry.options, *entry.super_options}:
            return False
        try:
            if self._calls.project(str(directory))[0] & INHERIT:
                return False
            self._read(_device(entry), FIRST_PROJECT)
        except (OSError, WherryError):
            return False
        return True

    def begin(self, directory: Path, size: int) -> None:
        """Limit an empty directory to ``size`` bytes, by a project that nothing else has."""
        device = self._holder(directory)
        try:
            number = self._free(device)
            flags, _ = self._calls.project(str(directory))
            # In this order: a limit that nothing leads to would never be lifted.
            self._calls.set_project(str(directory), flags | INHERIT, number)
            self._set(device, number, size)
        except OSError as error:
            raise _refused(directory, error) from error

    def succeed(self, directory: Path, other: Path) -> None:
        """Limit an empty directory as ``other`` is, by a project of its own."""
        self.begin(directory, self.figures(other).limit)

    def figures(self, directory: Path) -> Figures:
        """Of the directory's project; all 0 when it has none of ours."""
        try:
            number = self._number(directory)
            return self._read(self._holder(directory), number) if number else Figures(0, 0, 0)
        except OSError as error:
            raise Internal(f"cannot read the quota of {directory}: {error}") from error

    def keep(self, directory: Path, size: int) -> None:
        """Set the limit of a directory that has one, whatever it holds."""
        try:
            number = self._number(directory)
            if not number:
                raise Conflict(
                    f"{directory} is in no project any more, so that nothing limits it: clone the "
                    "volume to have its limit again"
                )
            self._set(self._holder(directory), number, size)
        except OSError as error:
            raise _refused(directory, error) from error

    def change(self, directory: Path, size: int) -> None:
        """Another limit; ``Conflict`` when the directory holds more already."""
        before = self.figures(directory)
        self.keep(directory, size)
        # Looked at last: what was written meanwhile counts.
        used = self.figures(directory).used
        if used > size:
            self.keep(directory, before.limit)
            raise Conflict(f"the volume holds {used} bytes: a limit of {size} is too small")

    def exceeded(self, directory: Path) -> bool:
        """Whether it holds more than its limit, as only holders of CAP_SYS_RESOURCE may."""
        found = self.figures(directory)
        return bool(found.limit) and found.used > found.limit

    def drop(self, directory: Path) -> None:
        """Lift the limit of a directory that goes, if it has one of ours. The number is free when
        the last file has gone. Never raises."""
        try:
            if self._number(directory):
                self.keep(directory, 0)
        except (OSError, WherryError):
            return

    def _number(self, directory: Path) -> int:
        """The directory's project if it is one of ours, else 0. Raises ``OSError``."""
        _, number = self._calls.project(str(directory))
        return number if _ours(number) else 0

    def _free(self, device: str) -> int:
        for _ in range(_TRIES):
            number = self._pick()
            if self._read(device, number) == (0, 0, 0):
                return number
        raise OSError(errno.EBUSY, "no free project number")

    def _holder(self, directory: Path) -> str:
        entry = mount_of(self._mounts(), str(directory.resolve()))
        if entry is None:
            raise Internal(f"no mount holds {directory}")
        return _device(entry)

    def _read(self, device: str, number: int) -> Figures:
        command = _Q_GETQUOTA << 8 | _PRJQUOTA
        try:
            data = self._calls.quotactl(command, device, number, bytes(_BLOCK.size))
        except FileNotFoundError:  # xfs, of a project that never was
            return Figures(0, 0, 0)
        hard, _, used, _, _, files, *_ = _BLOCK.unpack(data)
        return Figures(hard * 1024, used, files)

    def _set(self, device: str, number: int, size: int) -> None:
        blocks = -(-size // 1024)
        data = _BLOCK.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS)
        self._calls.quotactl(_Q_SETQUOTA << 8 | _PRJQUOTA, device, number, data)


def _device(entry: MountEntry) -> str:
    """Its block device; not all are there under the name that the mount table has. Raises
    ``Internal``."""
    for path in (entry.source, f"/dev/block/{entry.device}"):
        if path.startswith("/dev/") and os.path.exists(path):
            return path
    raise Internal(f"there is no device {entry.source}")


def _refused(directory: Path, error: OSError) -> WherryError:
    if error.errno == errno.ESRCH:
        return Conflict(f"project quota is not switched on for the file system of {directory}")
    return Internal(f"cannot set the quota of {directory}: {error}")
