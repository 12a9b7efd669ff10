"""Copy a directory tree: owners, modes, times, links, extended attributes, holes, shared blocks.

Threads of this process do it, so that a killed daemon leaves no copier behind that goes on
writing. A file costs few system calls: everything is done on descriptors, names are resolved
below the two roots only and never through links, so whoever changes either tree meanwhile cannot
lead the copy out of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from wherry.errors import Exhausted, Internal, WherryError
from wherry.linux.capabilities import within_limits
from wherry.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, Syscalls

THREADS = 2
_FICLONE = 0x40049409
_AT_ONCE = 1 << 16
"""Bytes up to which a file is read and written in one go."""
_SPAN = 1 << 24
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOATIME
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_UNSHARED = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTTY})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HIDDEN = "trusted.overlay."
"""Attributes of overlayfs's own, which say nothing about the content."""


@dataclass(frozen=True)
class _Directory:
    """What a directory gets when all that is in it is there."""

    path: str
    found: os.stat_result
    attributes: Sequence[tuple[str, bytes]]


class Stopped(Exception):
    """The copy was told to stop; what is there is a part."""


class TreeCopy:
    """One copy of all that is in ``source`` into the empty directory ``target``.

    Both are descriptors that the caller keeps open. ``run`` blocks until all is there, or
    until somebody sets ``stop``.
    """

    def __init__(
        self, calls: Syscalls, source: int, target: int, stop: threading.Event | None = None
    ) -> None:
        self._calls = calls
        self._source = source
        self._target = target
        self._stop = stop or threading.Event()
        self._todo: deque[str] = deque(["."])
        self._busy = 0
        self._change = threading.Condition()
        self._linking = threading.Lock()
        self._links: dict[tuple[int, int], str] = {}
        self._done: list[_Directory] = []
        self._shares = True
        """Until the file systems refuse to share blocks."""
        self._error: BaseException | None = None

    def run(self) -> None:
        """Raises ``Exhausted`` for a full target, ``Internal`` naming the path, ``Stopped``."""
        helpers = [threading.Thread(target=self._work, daemon=True) for _ in range(THREADS - 1)]
        for each in helpers:
            each.start()
        self._work()
        for each in helpers:
            each.join()
        if self._error is None:
            try:
                for made in reversed(self._done):
                    self._finish(made)
            except OSError as error:
                raise _failure(error, made.path) from error
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        """What one thread does. A volume's limit binds what we put into it as well."""
        try:
            with within_limits():
                self._copy_directories()
        except OSError as error:
            with self._change:
                self._error = self._error or _failure(error, ".")
                self._change.notify_all()

    def _copy_directories(self) -> None:
        while True:
            with self._change:
                while not self._todo and self._busy and self._error is None:
                    self._change.wait()
                if self._error is not None or not self._todo:
                    return
                path = self._todo.pop()
                self._busy += 1
            try:
                self._copy_directory(path)
            except BaseException as error:
                with self._change:
                    self._error = self._error or (
                        _failure(error, path) if isinstance(error, OSError) else error
                    )
            finally:
                with self._change:
                    self._busy -= 1
                    self._change.notify_all()

    def _copy_directory(self, path: str) -> None:
        source = self._calls.openat2(self._source, path, _DIRECTORY, resolve=_RESOLVE)
        try:
            target = self._calls.openat2(self._target, path, _DIRECTORY, resolve=_RESOLVE)
            try:
                below = self._copy_entries(source, target, path)
            finally:
                os.close(target)
            made = _Directory(path, os.fstat(source), attributes_of(source))
        finally:
            os.close(source)
        with self._change:
            self._done.append(made)
            self._todo.extend(below)
            self._change.notify_all()

    def _copy_entries(self, source: int, target: int, path: str) -> list[str]:
        """Copy what is in one directory; subdirectories are made, and returned as paths."""
        below = []
        with os.scandir(source) as entries:
            for entry in entries:
                if self._error is not None or self._stop.is_set():
                    raise Stopped
                name = entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        os.mkdir(name, 0o700, dir_fd=target)
                        below.append(f"{path}/{name}")
                    elif entry.is_file(follow_symlinks=False):
                        self._copy_file(source, target, name, path)
                    else:
                        self._copy_special(source, target, name, path)
                except OSError as error:
                    raise _failure(error, f"{path}/{name}") from error
        return below

    def _copy_file(self, source: int, target: int, name: str, path: str) -> None:
        reader = _open(name, source)
        try:
            found = os.fstat(reader)
            mode = stat.S_IMODE(found.st_mode)
            if found.st_nlink > 1:
                with self._linking:
                    if self._link(found, target, name, path):
                        return
                    writer = os.open(name, _WRITE, mode & 0o755, dir_fd=target)
            else:
                writer = os.open(name, _WRITE, mode & 0o755, dir_fd=target)
            try:
                if found.st_size:
                    self._copy_content(reader, writer, found)
                if found.st_uid or found.st_gid:
                    os.fchown(writer, found.st_uid, found.st_gid)
                if mode != mode & 0o755:
                    os.fchmod(writer, mode)
                if names := _names(reader):
                    _set(writer, [(each, os.getxattr(reader, each)) for each in names])
                os.utime(writer, ns=(found.st_atime_ns, found.st_mtime_ns))
            finally:
                os.close(writer)
        finally:
            os.close(reader)

    def _link(self, found: os.stat_result, target: int, name: str, path: str) -> bool:
        """Make a further name of a file that was copied; False, and noted, for its first."""
        key = (found.st_dev, found.st_ino)
        first = self._links.setdefault(key, f"{path}/{name}")
        if first == f"{path}/{name}":
            return False
        held = self._calls.openat2(self._target, first, os.O_PATH | os.O_NOFOLLOW, resolve=_RESOLVE)
        try:
            os.link(f"/proc/self/fd/{held}", name, dst_dir_fd=target, follow_symlinks=True)
        finally:
            os.close(held)
        return True

    def _copy_content(self, reader: int, writer: int, found: os.stat_result) -> None:
        if self._shares and found.st_size >= 4096:
            try:
                fcntl.ioctl(writer, _FICLONE, reader)
                return
            except OSError as error:
                if error.errno not in _UNSHARED:
                    raise
                self._shares = False
        if found.st_size <= _AT_ONCE:
            data = os.read(reader, found.st_size)
            if os.write(writer, data) == len(data) == found.st_size:
                return
            os.lseek(reader, 0, os.SEEK_SET)
            os.ftruncate(writer, 0)
            os.lseek(writer, 0, os.SEEK_SET)
        if found.st_blocks * 512 >= found.st_size:
            copy_range(reader, writer, 0, found.st_size)
        else:
            copy_sparse(reader, writer, found.st_size)

    def _copy_special(self, source: int, target: int, name: str, path: str) -> None:
        """Links, devices, pipes, sockets."""
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if found.st_nlink > 1:
            with self._linking:
                if self._link(found, target, name, path):
                    return
                self._make_special(source, target, name, found)
        else:
            self._make_special(source, target, name, found)
        os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            os.chmod(f"/proc/self/fd/{target}/{name}", stat.S_IMODE(found.st_mode))
        there = f"/proc/self/fd/{source}/{name}"
        for each in _names(there):
            value = os.getxattr(there, each, follow_symlinks=False)
            _set(f"/proc/self/fd/{target}/{name}", [(each, value)])
        times = (found.st_atime_ns, found.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)

    def _make_special(self, source: int, target: int, name: str, found: os.stat_result) -> None:
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, found.st_mode & ~0o7777 | 0o600, found.st_rdev, dir_fd=target)

    def _finish(self, made: _Directory) -> None:
        target = self._calls.openat2(self._target, made.path, _DIRECTORY, resolve=_RESOLVE)
        try:
            dress(target, made.found, made.attributes)
        finally:
            os.close(target)


def dress(
    target: int, found: os.stat_result, attributes: Sequence[tuple[str, bytes]] | None = None
) -> None:
    """Give an open directory the owner, mode, attributes and times of another one."""
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    _set(target, attributes or ())
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def attributes_of(source: int) -> list[tuple[str, bytes]]:
    return [(name, os.getxattr(source, name)) for name in _names(source)]


def _open(name: str, folder: int) -> int:
    try:
        return os.open(name, _READ, dir_fd=folder)
    except PermissionError:  # O_NOATIME is for owners
        return os.open(name, _READ & ~os.O_NOATIME, dir_fd=folder)


def _names(where: int | str) -> list[str]:
    try:
        found = os.listxattr(where, follow_symlinks=isinstance(where, int))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return []
        raise
    return [name for name in found if not name.startswith(_HIDDEN)]


def _set(where: int | str, attributes: Sequence[tuple[str, bytes]]) -> None:
    """A target that keeps no such attributes goes without, as with ``cp -a``."""
    for name, value in attributes:
        try:
            os.setxattr(where, name, value, follow_symlinks=isinstance(where, int))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise


def copy_range(reader: int, writer: int, start: int, end: int) -> None:
    """Copy bytes from ``start`` to ``end`` at the same place, inside the kernel where it can."""
    at = start
    while at < end:
        try:
            done = os.copy_file_range(reader, writer, min(_SPAN, end - at), at, at)
        except OSError as error:
            if error.errno not in _UNSHARED:
                raise
            data = os.pread(reader, min(1 << 20, end - at), at)
            done = os.pwrite(writer, data, at)
        if done == 0:
            return  # the file has become shorter
        at += done


def copy_sparse(reader: int, writer: int, size: int) -> None:
    """Copy the parts that hold data; the rest stays a hole."""
    os.ftruncate(writer, size)
    at = 0
    while at < size:
        try:
            begin = os.lseek(reader, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = min(size, os.lseek(reader, begin, os.SEEK_HOLE))
        copy_range(reader, writer, begin, at)


def copy_image(source: str, target: str) -> None:
    """A file with its holes, blocks shared where possible, safe on the disk at the end."""
    with open(source, "rb") as reader, open(target, "xb") as writer:
        try:
            fcntl.ioctl(writer, _FICLONE, reader.fileno())
        except OSError as error:
            if error.errno not in _UNSHARED:
                raise
            size = os.fstat(reader.fileno()).st_size
            copy_sparse(reader.fileno(), writer.fileno(), size)
        with suppress(OSError):
            os.fchmod(writer.fileno(), stat.S_IMODE(os.fstat(reader.fileno()).st_mode))
        os.fsync(writer.fileno())


def _failure(error: BaseException, path: str) -> WherryError | BaseException:
    if not isinstance(error, OSError):
        return error
    text = f"{path.removeprefix('./')}: {error.strerror or error}"
    return Exhausted(text) if error.errno in _FULL else Internal(text)
