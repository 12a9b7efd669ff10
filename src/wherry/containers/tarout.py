"""A tree of a container's files as a tar.

Small members gather in one buffer, into which the kernel reads their contents; large files go from
the kernel to the client without coming here. All of it blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import os
import stat

from wherry.containers.rootfiles import Root, last_link, naming, translated
from wherry.images.worker import tarfmt, tarwrite
from wherry.images.worker.tarwrite import Attributes
from wherry.linux.flow import STEP, Outlet

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGE = 256 * 1024
"""Bytes from which a file does not go through the buffer."""
_SECOND = 1_000_000_000


def archive(root: Root, path: str, name: str, outlet: Outlet) -> None:
    """A tar of ``path``, its first member called ``name``; without a name, of what is in it.

    Sockets are left out, as every archiver does. A file that shrinks while it is read is filled
    with zeros, one that grows is cut: the member's size was promised. Times are whole seconds, as
    Docker's are.
    """
    with naming(path, root.container):
        descriptor = root.open(path, os.O_PATH | last_link(path))
    try:
        writer = _Writer(outlet, root)
        writer.top(descriptor, os.fsencode(name))
        writer.end()
    finally:
        os.close(descriptor)


class _Writer:
    def __init__(self, outlet: Outlet, root: Root) -> None:
        self._outlet = outlet
        self._root = root
        self._links: dict[tuple[int, int], bytes] = {}
        self._buffer = bytearray(STEP)
        self._view = memoryview(self._buffer)
        self._used = 0

    # ---- the buffer

    def _put(self, data: bytes) -> None:
        if self._used + len(data) > STEP:
            self._flush()
            if len(data) > STEP:
                self._outlet.write(data)
                return
        self._view[self._used : self._used + len(data)] = data
        self._used += len(data)

    def _flush(self) -> None:
        if self._used:
            self._outlet.write(self._view[: self._used])
            self._used = 0

    def end(self) -> None:
        self._put(tarwrite.END)
        self._flush()

    # ---- members

    def top(self, descriptor: int, name: bytes) -> None:
        """The named file, or the folder and all below it."""
        found = os.fstat(descriptor)
        handle = f"/proc/self/fd/{descriptor}"
        if stat.S_ISDIR(found.st_mode):
            opened = os.open(handle, _FOLDER)
            try:
                self._folder(opened, found, name)
            finally:
                os.close(opened)
        elif stat.S_ISREG(found.st_mode):
            opened = os.open(handle, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._file(opened, found, name)
            finally:
                os.close(opened)
        else:
            self._other(descriptor, found, name)

    def _folder(self, descriptor: int, found: os.stat_result, name: bytes) -> None:
        prefix = name.rstrip(b"/") + b"/" if name else b""
        if name:
            own = _own(found, _xattrs(descriptor))
            self._put(tarwrite.member(prefix, tarfmt.DIRECTORY, own))
        try:
            with os.scandir(descriptor) as entries:
                inside = sorted(
                    (os.fsencode(each.name), each.is_file(follow_symlinks=False))
                    for each in entries
                )
        except OSError as error:
            raise translated(error, os.fsdecode(name), self._root.container) from error
        for last, regular in inside:
            with contextlib.suppress(FileNotFoundError):
                self._child(descriptor, last, prefix + last, regular)

    def _child(self, parent: int, last: bytes, name: bytes, regular: bool) -> None:
        """``regular``: what the folder said a moment ago; opening anything else could block."""
        if regular:
            try:
                descriptor = os.open(last, _FILE, dir_fd=parent)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
                regular = False
            else:
                try:
                    found = os.fstat(descriptor)
                    if stat.S_ISREG(found.st_mode):
                        self._file(descriptor, found, name)
                        return
                finally:
                    os.close(descriptor)
        descriptor = os.open(last, _LOOK, dir_fd=parent)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode):
                self.top(descriptor, name)
            else:
                self._other(descriptor, found, name)
        finally:
            os.close(descriptor)

    def _linked(self, found: os.stat_result, name: bytes) -> bool:
        """Write a further name of a file that went out before as a hard link to that."""
        if found.st_nlink < 2:
            return False
        first = self._links.setdefault((found.st_dev, found.st_ino), name)
        if first == name:
            return False
        self._put(tarwrite.member(name, tarfmt.LINK, _own(found, {}), link=first))
        return True

    def _file(self, descriptor: int, found: os.stat_result, name: bytes) -> None:
        if self._linked(found, name):
            return
        size = found.st_size
        own = _own(found, _xattrs(descriptor))
        self._put(tarwrite.member(name, tarfmt.REGULAR, own, size=size))
        if size >= _LARGE:
            self._flush()
            self._outlet.file(descriptor, size)
            self._put(tarwrite.padding(size))
            return
        padded = size + (-size % tarfmt.BLOCK)
        if self._used + padded > STEP:
            self._flush()
        start, end = self._used, self._used + size
        while start < end:
            count = os.readv(descriptor, [self._view[start:end]])
            if not count:
                break
            start += count
        rest = self._used + padded - start
        self._view[start : start + rest] = bytes(rest)
        self._used += padded

    def _other(self, descriptor: int, found: os.stat_result, name: bytes) -> None:
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFSOCK or self._linked(found, name):
            return
        own = _own(found, {})
        if kind == stat.S_IFLNK:
            link = os.fsencode(os.readlink("", dir_fd=descriptor))
            self._put(tarwrite.member(name, tarfmt.SYMLINK, own, link=link))
        elif kind == stat.S_IFIFO:
            self._put(tarwrite.member(name, tarfmt.FIFO, own))
        else:
            sort = tarfmt.CHAR if kind == stat.S_IFCHR else tarfmt.BLOCKDEV
            device = (os.major(found.st_rdev), os.minor(found.st_rdev))
            self._put(tarwrite.member(name, sort, own, device=device))


def _own(found: os.stat_result, xattrs: dict[bytes, bytes]) -> Attributes:
    mtime = found.st_mtime_ns // _SECOND * _SECOND
    return Attributes(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, mtime, xattrs)


def _xattrs(descriptor: int) -> dict[bytes, bytes]:
    """Capabilities and the user's own attributes."""
    found: dict[bytes, bytes] = {}
    try:
        for name in os.listxattr(descriptor):
            if name == "security.capability" or name.startswith("user."):
                found[os.fsencode(name)] = os.getxattr(descriptor, name)
    except OSError:
        return found
    return found
