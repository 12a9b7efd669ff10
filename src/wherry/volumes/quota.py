"""Project quotas (ext4 and xfs mounted with ``prjquota``): limit what one directory tree holds.

A directory gets a project number which all below it inherits (ioctl FS_IOC_FSSETXATTR), and the
project a block limit (quotactl(2)). Numbers come from a range of our own.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import fcntl
import os
import struct
from pathlib import Path

from wherry.errors import Internal
from wherry.linux.mounts import MountEntry, mount_of, read_mounts

FIRST_PROJECT = 0x57480000
_GETXATTR, _SETXATTR = 0x801C581F, 0x401C5820
_INHERIT = 0x200
_PRJQUOTA = 2
_Q_SETQUOTA, _Q_XSETQLIM, _Q_GETINFO, _Q_XGETQSTAT = 0x800008, 0x5804, 0x800005, 0x5805
_SUBCMD_SHIFT = 8
_QIF_BLIMITS = 1
_XATTR = struct.Struct("IIIII8x")


def _command(command: int) -> int:
    return ctypes.c_int((command << _SUBCMD_SHIFT) | _PRJQUOTA).value


def _quotactl(
    command: int, device: str, identity: int, buffer: ctypes.Array[ctypes.c_char]
) -> None:
    libc = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
    done = libc.quotactl(_command(command), os.fsencode(device), identity, buffer)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), device)


def _mount(directory: Path) -> MountEntry | None:
    return mount_of(read_mounts(), str(directory.resolve()))


def available(directory: Path) -> bool:
    """Whether the file system that holds ``directory`` enforces project quotas."""
    entry = _mount(directory)
    if entry is None or entry.fstype not in ("ext4", "xfs"):
        return False
    words = {"prjquota", "pquota", "prjquota=on"}
    return bool(words & {*entry.options, *entry.super_options}) and entry.source.startswith("/dev/")


def project_of(directory: Path) -> int:
    """The project number of a directory; 0 for none."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return int(_XATTR.unpack(fcntl.ioctl(fd, _GETXATTR, bytes(_XATTR.size)))[3])
    finally:
        os.close(fd)


def free_project(directory: Path) -> int:
    """A number that no other volume beside ``directory`` has."""
    taken = set()
    for each in directory.parent.parent.glob("*/_data"):
        try:
            taken.add(project_of(each))
        except OSError:
            continue
    number = FIRST_PROJECT
    while number in taken:
        number += 1
    return number


def assign(directory: Path, project: int, size: int) -> None:
    """Put ``directory`` into ``project`` and limit it to ``size`` bytes (0: no limit)."""
    entry = _mount(directory)
    if entry is None:
        raise Internal(f"no mount holds {directory}")
    try:
        _set_project(directory, project)
        if entry.fstype == "xfs":
            _limit_xfs(entry.source, project, size)
        else:
            _limit_ext4(entry.source, project, size)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise Internal(f"project quota is not switched on for {entry.source}") from error
        raise Internal(f"cannot set the quota of {directory}: {error}") from error


def join(directory: Path, project: int) -> None:
    """Put an empty directory into a project that has its limit already. Raises ``OSError``."""
    _set_project(directory, project)


def _set_project(directory: Path, project: int) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags, *rest = _XATTR.unpack(fcntl.ioctl(fd, _GETXATTR, bytes(_XATTR.size)))
        rest[2] = project
        fcntl.ioctl(fd, _SETXATTR, _XATTR.pack(flags | _INHERIT, *rest))
    finally:
        os.close(fd)


def _limit_ext4(device: str, project: int, size: int) -> None:
    """``struct if_dqblk``: limits in blocks of 1 KiB."""
    blocks = -(-size // 1024)
    raw = struct.pack("8QI4x", blocks, blocks, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS)
    _quotactl(_Q_SETQUOTA, device, project, ctypes.create_string_buffer(raw, len(raw)))


def _limit_xfs(device: str, project: int, size: int) -> None:
    """``struct fs_disk_quota``: limits in blocks of 512 bytes."""
    blocks = -(-size // 512)
    soft_hard = (1 << 2) | (1 << 3)
    raw = struct.pack("bbHI", 1, 2, soft_hard, project) + struct.pack("2Q", blocks, blocks)
    raw = raw.ljust(112, b"\0")
    _quotactl(_Q_XSETQLIM, device, project, ctypes.create_string_buffer(raw, len(raw)))
