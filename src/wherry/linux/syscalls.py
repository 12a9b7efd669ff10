"""The one port to system calls that Python does not wrap, and its recording fake.

``LinuxSyscalls`` calls libc through ctypes, which releases the interpreter lock. Every method
raises ``OSError`` with the errno and a text that names call and operand. ``RecordingSyscalls``
keeps the calls in order, so that mount and namespace logic is tested without privileges.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import struct
from collections.abc import Sequence
from typing import Protocol

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

MNT_DETACH = 2

FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_RDONLY = 1
OPEN_TREE_CLONE = 1
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# Numbers shared by every architecture since Linux 5.0 (asm-generic table).
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_PIDFD_OPEN = 434
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_SYS_PIDFD_SEND_SIGNAL = 424

_FS_IOC_FSGETXATTR, _FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820
_FSXATTR = struct.Struct("IIIII8x")
"""``struct fsxattr``: flags first, project number fourth."""

PR_SET_CHILD_SUBREAPER = 36
PR_CAPBSET_READ = 23


class Syscalls(Protocol):
    """What mount and namespace logic needs of the kernel."""

    def unshare(self, flags: int) -> None: ...

    def setns(self, fd: int, kind: int) -> None: ...

    def mount(
        self, source: str | None, target: str, fstype: str | None, flags: int, data: str | None
    ) -> None: ...

    def umount(self, target: str, flags: int = 0) -> None: ...

    def syncfs(self, fd: int) -> None:
        """Write everything of the file system that the descriptor is in."""

    def kernel(self) -> tuple[int, int]:
        """Version of the running kernel, such as (6, 12)."""

    def fsopen(self, fstype: str) -> int: ...

    def fsconfig_string(self, fd: int, key: str, value: str) -> None: ...

    def fsconfig_create(self, fd: int) -> None: ...

    def fsmount(self, fd: int, attributes: int = 0) -> int: ...

    def move_mount(self, fd: int, target: str) -> None: ...

    def open_tree(self, path: str, flags: int) -> int: ...

    def mount_setattr(
        self,
        fd: int,
        path: str,
        *,
        set_flags: int = 0,
        clear_flags: int = 0,
        propagation: int = 0,
        userns_fd: int = 0,
        recursive: bool = False,
    ) -> None: ...

    def openat2(self, dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
        """A new descriptor; ``O_CLOEXEC`` is added."""

    def close(self, fd: int) -> None: ...

    def quotactl(self, command: int, device: str, identity: int, data: bytes) -> bytes:
        """``command`` whole, with the type of quota; ``data``: the structure it takes, returned
        as the kernel leaves it."""

    def project(self, path: str) -> tuple[int, int]:
        """Flags (``FS_XFLAG_*``) and project number of a directory."""

    def set_project(self, path: str, flags: int, number: int) -> None: ...


_OPEN_TRIES = 1000


class _OpenHow(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


@functools.cache
def _library() -> ctypes.CDLL:
    """The C library; each ``CDLL`` makes classes of its own, 0.1 ms."""
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


class LinuxSyscalls:
    """The real thing."""

    def __init__(self) -> None:
        self._libc = _library()

    def _done(self, result: int, what: str) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")
        return int(result)

    def _syscall(self, what: str, number: int, *arguments: object) -> int:
        converted = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
        return self._done(self._libc.syscall(ctypes.c_long(number), *converted), what)

    def unshare(self, flags: int) -> None:
        self._done(self._libc.unshare(ctypes.c_int(flags)), "unshare")

    def setns(self, fd: int, kind: int) -> None:
        self._done(self._libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")

    def mount(
        self, source: str | None, target: str, fstype: str | None, flags: int, data: str | None
    ) -> None:
        self._done(
            self._libc.mount(
                _text(source), _text(target), _text(fstype), ctypes.c_ulong(flags), _text(data)
            ),
            f"mount {fstype or source or ''} at {target}",
        )

    def umount(self, target: str, flags: int = 0) -> None:
        self._done(self._libc.umount2(_text(target), ctypes.c_int(flags)), f"unmount {target}")

    def syncfs(self, fd: int) -> None:
        self._done(self._libc.syncfs(ctypes.c_int(fd)), "syncfs")

    def kernel(self) -> tuple[int, int]:
        major, minor = os.uname().release.split(".", 2)[:2]
        return int(major), int(minor.partition("-")[0])

    def fsopen(self, fstype: str) -> int:
        return self._syscall(f"fsopen {fstype}", _SYS_FSOPEN, _text(fstype), FSOPEN_CLOEXEC)

    def fsconfig_string(self, fd: int, key: str, value: str) -> None:
        self._syscall(
            f"fsconfig {key}={value}",
            _SYS_FSCONFIG,
            fd,
            FSCONFIG_SET_STRING,
            _text(key),
            _text(value),
            0,
        )

    def fsconfig_create(self, fd: int) -> None:
        self._syscall("fsconfig create", _SYS_FSCONFIG, fd, FSCONFIG_CMD_CREATE, None, None, 0)

    def fsmount(self, fd: int, attributes: int = 0) -> int:
        return self._syscall("fsmount", _SYS_FSMOUNT, fd, FSMOUNT_CLOEXEC, attributes)

    def move_mount(self, fd: int, target: str) -> None:
        self._syscall(
            f"move_mount to {target}",
            _SYS_MOVE_MOUNT,
            fd,
            b"",
            AT_FDCWD,
            _text(target),
            MOVE_MOUNT_F_EMPTY_PATH,
        )

    def open_tree(self, path: str, flags: int) -> int:
        return self._syscall(
            f"open_tree {path}", _SYS_OPEN_TREE, AT_FDCWD, _text(path), flags | os.O_CLOEXEC
        )

    def mount_setattr(
        self,
        fd: int,
        path: str,
        *,
        set_flags: int = 0,
        clear_flags: int = 0,
        propagation: int = 0,
        userns_fd: int = 0,
        recursive: bool = False,
    ) -> None:
        attributes = _MountAttr(set_flags, clear_flags, propagation, userns_fd)
        flags = (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
        self._syscall(
            f"mount_setattr {path}",
            _SYS_MOUNT_SETATTR,
            fd,
            _text(path),
            flags,
            ctypes.byref(attributes),
            ctypes.sizeof(attributes),
        )

    def openat2(self, dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
        how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
        for _ in range(_OPEN_TRIES):
            try:
                return self._open_once(dirfd, path, how)
            except OSError as error:
                # ".." below a root while anything on the machine is renamed or mounted
                if error.errno != errno.EAGAIN:
                    raise
        return self._open_once(dirfd, path, how)

    def _open_once(self, dirfd: int, path: str, how: _OpenHow) -> int:
        return self._syscall(
            f"open {path}",
            _SYS_OPENAT2,
            dirfd,
            _text(path),
            ctypes.byref(how),
            ctypes.sizeof(how),
        )

    def close(self, fd: int) -> None:
        os.close(fd)

    def quotactl(self, command: int, device: str, identity: int, data: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(data, len(data))
        self._done(
            self._libc.quotactl(
                ctypes.c_int(ctypes.c_int32(command).value), _text(device), identity, buffer
            ),
            f"quotactl {device}",
        )
        return buffer.raw

    def project(self, path: str) -> tuple[int, int]:
        fields = self._attributes(path)
        return fields[0], fields[3]

    def set_project(self, path: str, flags: int, number: int) -> None:
        fields = [*self._attributes(path)]
        fields[0], fields[3] = flags, number
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, _FSXATTR.pack(*fields))
        finally:
            os.close(fd)

    def _attributes(self, path: str) -> tuple[int, ...]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _FSXATTR.unpack(fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size)))
        finally:
            os.close(fd)

    def bounding_set(self) -> frozenset[int]:
        """Numbers of the capabilities that this process may hand on."""
        held = set()
        for number in range(64):
            answer = self._libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0)
            if answer < 0:
                break
            if answer == 1:
                held.add(number)
        return frozenset(held)


class RecordingSyscalls:
    """Records every call as (name, arguments...); descriptors count up from 100.

    ``fail`` maps a call's name to the errno it shall fail with.
    """

    def __init__(self, fail: dict[str, int] | None = None) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.fail = fail or {}
        self.version = (6, 12)
        self.open: set[int] = set()
        self.projects: dict[str, tuple[int, int]] = {}
        self.quotas: dict[int, bytes] = {}
        self._next = 100

    def _record(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        if name in self.fail:
            number = self.fail[name]
            raise OSError(number, f"{name}: {os.strerror(number)}")

    def _descriptor(self) -> int:
        self._next += 1
        self.open.add(self._next)
        return self._next

    def names(self) -> Sequence[object]:
        return [call[0] for call in self.calls]

    def unshare(self, flags: int) -> None:
        self._record("unshare", flags)

    def setns(self, fd: int, kind: int) -> None:
        self._record("setns", fd, kind)

    def mount(
        self, source: str | None, target: str, fstype: str | None, flags: int, data: str | None
    ) -> None:
        self._record("mount", source, target, fstype, flags, data)

    def umount(self, target: str, flags: int = 0) -> None:
        self._record("umount", target, flags)

    def syncfs(self, fd: int) -> None:
        self._record("syncfs")

    def kernel(self) -> tuple[int, int]:
        return self.version

    def fsopen(self, fstype: str) -> int:
        self._record("fsopen", fstype)
        return self._descriptor()

    def fsconfig_string(self, fd: int, key: str, value: str) -> None:
        self._record("fsconfig", key, value)

    def fsconfig_create(self, fd: int) -> None:
        self._record("fsconfig_create")

    def fsmount(self, fd: int, attributes: int = 0) -> int:
        self._record("fsmount", attributes)
        return self._descriptor()

    def move_mount(self, fd: int, target: str) -> None:
        self._record("move_mount", target)

    def open_tree(self, path: str, flags: int) -> int:
        self._record("open_tree", path, flags)
        return self._descriptor()

    def mount_setattr(
        self,
        fd: int,
        path: str,
        *,
        set_flags: int = 0,
        clear_flags: int = 0,
        propagation: int = 0,
        userns_fd: int = 0,
        recursive: bool = False,
    ) -> None:
        self._record("mount_setattr", path, set_flags, clear_flags, propagation, recursive)

    def openat2(self, dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
        self._record("openat2", path, flags, mode, resolve)
        return self._descriptor()

    def close(self, fd: int) -> None:
        self.open.discard(fd)

    def quotactl(self, command: int, device: str, identity: int, data: bytes) -> bytes:
        self._record("quotactl", command, device, identity, data)
        if len(data) > 32 and command >> 8 == 0x800008:
            self.quotas[identity] = data
        return self.quotas.get(identity, data)

    def project(self, path: str) -> tuple[int, int]:
        return self.projects.get(path, (0, 0))

    def set_project(self, path: str, flags: int, number: int) -> None:
        self._record("set_project", path, flags, number)
        self.projects[path] = (flags, number)
