"""A tree of files into a tar.

Small members gather in one buffer, into which the kernel reads their contents; large files go from
the kernel to the receiver without coming here. Everything goes through descriptors and follows no
link, whatever changes meanwhile. All of it blocks.
"""

from __future__ import annotations

import errno
import os
import stat

from wherry.trees import tarfmt, tarwrite
from wherry.trees.flow import STEP, Outlet
from wherry.trees.tarwrite import Attributes

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})
"""Something else is there now: a link, a device."""
_LARGE = 256 * 1024
"""Bytes from which a file does not go through the buffer."""
_SECOND = 1_000_000_000


class Packer:
    """Writes members to ``outlet``; ``end`` when all are there.

    Sockets are left out, as every archiver does. A file that shrinks while it is read is filled
    with zeros, one that grows is cut: the member's size was promised. Times are whole seconds, as
    Docker's are. ``OSError`` of a file names its member.
    """

    def __init__(self, outlet: Outlet, closed: frozenset[int] = frozenset()) -> None:
        """``closed``: device numbers of file systems that are not entered on the way down."""
        self._outlet = outlet
        self._closed = closed
        self._links: dict[tuple[int, int], bytes] = {}
        self._view = memoryview(bytearray(STEP))
        self._used = 0
        self._device = 0

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
        """A file called ``name``, or a folder and all below it; without a name its content.

        ``descriptor``: open with ``O_PATH``.
        """
        self._device = os.fstat(descriptor).st_dev
        self._any(descriptor, name)

    def _any(self, descriptor: int, name: bytes) -> None:
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
        if found.st_dev in self._closed and found.st_dev != self._device:
            return
        with os.scandir(descriptor) as entries:
            inside = sorted(entries, key=_name)
        for entry in inside:
            last = os.fsencode(entry.name)
            try:
                self._child(descriptor, last, prefix + last, entry.is_file(follow_symlinks=False))
            except FileNotFoundError:
                continue  # removed meanwhile
            except ConnectionError:
                raise
            except OSError as error:
                if error.filename is None or error.filename == last:
                    error.filename = os.fsdecode(prefix + last)
                raise

    def _child(self, parent: int, last: bytes, name: bytes, regular: bool) -> None:
        """``regular``: what the folder said a moment ago; opening anything else could block."""
        if regular:
            try:
                descriptor = os.open(last, _FILE, dir_fd=parent)
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
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
                self._any(descriptor, name)
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
        if found.st_nlink > 1 and self._linked(found, name):
            return
        size = found.st_size
        xattrs = _xattrs(descriptor)
        head = b""
        if not xattrs:
            seconds = found.st_mtime_ns // _SECOND
            head = tarwrite.plain_file(
                name, found.st_mode, found.st_uid, found.st_gid, size, seconds
            )
        if not head:
            head = tarwrite.member(name, tarfmt.REGULAR, _own(found, xattrs), size=size)
        self._put(head)
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


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


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
