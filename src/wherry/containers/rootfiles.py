"""Files of a container's root, through one directory descriptor and never outside it.

Every lookup is ``openat2`` with ``RESOLVE_IN_ROOT``: links and ``..`` resolve as they do inside the
container, by the kernel's own rule, whatever changes meanwhile. All functions block: call them in a
thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wherry.errors import Conflict, Exhausted, Forbidden, Invalid, NotFound
from wherry.images.worker import tarfmt
from wherry.images.worker.tarfmt import Entry
from wherry.linux.syscalls import RESOLVE_IN_ROOT, Syscalls
from wherry.wire.durations import rfc3339

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_OPEN_FOLDERS = 64
_GO_MODES = (
    (stat.S_IFDIR, 1 << 31),
    (stat.S_IFLNK, 1 << 27),
    (stat.S_IFBLK, 1 << 26),
    (stat.S_IFCHR, 1 << 26 | 1 << 21),
    (stat.S_IFIFO, 1 << 25),
    (stat.S_IFSOCK, 1 << 24),
)


@dataclass(frozen=True)
class Root:
    """The root of a container (or of a mount in it) as an open directory."""

    descriptor: int
    calls: Syscalls
    container: str = ""
    """What the user calls the container, for messages."""

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        return self.calls.openat2(
            self.descriptor, path or ".", flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT
        )


@contextlib.contextmanager
def naming(path: str, container: str) -> Iterator[None]:
    """Errors of the kernel, told with the container's path."""
    try:
        yield
    except OSError as error:
        raise translated(error, path, container) from error


def translated(error: OSError, path: str, container: str) -> Exception:
    """The error kind for what a file operation at ``path`` met."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"Could not find the file {path} in container {container}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Exhausted(f"no space left on device: {path}")
    if error.errno in (errno.EROFS, errno.EPERM, errno.EACCES):
        return Forbidden(f"{path}: {os.strerror(error.errno)}")
    return Invalid(f"{path}: {error.strerror}")


def go_mode(mode: int) -> int:
    """``st_mode`` as Go's ``os.FileMode``, which the API's path stat carries."""
    result = mode & 0o777
    for kind, bits in _GO_MODES:
        if stat.S_IFMT(mode) == kind:
            result |= bits
    for bit, go in ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20)):
        if mode & bit:
            result |= go
    return result


def path_stat(root: Root, path: str) -> dict[str, Any]:
    """``X-Docker-Container-Path-Stat`` of ``path``; a link itself is described, not followed."""
    with naming(path, root.container):
        descriptor = root.open(path, os.O_PATH | _last_link(path))
        try:
            found = os.fstat(descriptor)
            target = ""
            if stat.S_ISLNK(found.st_mode):
                target = _resolved(root, path) or os.readlink("", dir_fd=descriptor)
        finally:
            os.close(descriptor)
    return {
        "name": os.path.basename(path.rstrip("/")) or "/",
        "size": found.st_size,
        "mode": go_mode(found.st_mode),
        "mtime": rfc3339(found.st_mtime_ns),
        "linkTarget": target,
    }


def _last_link(path: str) -> int:
    """A trailing slash (or ``/.``) means what the last link points to."""
    return 0 if path.endswith(("/", "/.")) else os.O_NOFOLLOW


def _resolved(root: Root, path: str) -> str:
    """Where a link leads, as a path inside the root; "" when it leads nowhere."""
    try:
        descriptor = root.open(path, os.O_PATH)
    except OSError:
        return ""
    try:
        here = os.readlink(f"/proc/self/fd/{root.descriptor}").rstrip("/")
        there = os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return there[len(here) :] if there.startswith(here + "/") else there


# ---- out


def archive(root: Root, path: str, name: str, send: Callable[[bytes], None]) -> None:
    """A tar of ``path``, its first member called ``name``; ``send`` may block.

    Sockets are left out, as every archiver does. A file that shrinks while it is read is filled
    with zeros, one that grows is cut: the member's size was promised.
    """
    with naming(path, root.container):
        descriptor = root.open(path, os.O_PATH | _last_link(path))
    try:
        writer = _Writer(send)
        found = os.fstat(descriptor)
        writer.member(found, name, descriptor)
        if stat.S_ISDIR(found.st_mode):
            writer.folder(root, descriptor, name)
        send(bytes(1024))
    finally:
        os.close(descriptor)


class _Writer:
    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._links: dict[tuple[int, int], str] = {}

    def folder(self, root: Root, descriptor: int, name: str) -> None:
        """Everything below an open folder."""
        try:
            listing = os.open(f"/proc/self/fd/{descriptor}", _FOLDER)
        except OSError as error:
            raise translated(error, name, root.container) from error
        try:
            for each in sorted(os.listdir(listing)):
                try:
                    child = os.open(each, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=listing)
                except FileNotFoundError:
                    continue
                try:
                    found = os.fstat(child)
                    below = f"{name.rstrip('/')}/{each}" if name != "." else f"./{each}"
                    self.member(found, below, child)
                    if stat.S_ISDIR(found.st_mode):
                        self.folder(root, child, below)
                finally:
                    os.close(child)
        finally:
            os.close(listing)

    def member(self, found: os.stat_result, name: str, descriptor: int) -> None:
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFSOCK:
            return
        info = tarfile.TarInfo(name)
        info.mode = stat.S_IMODE(found.st_mode)
        info.uid, info.gid = found.st_uid, found.st_gid
        info.mtime = found.st_mtime_ns // 1_000_000_000
        self._kind(info, found, kind, name, descriptor)
        info.pax_headers = _attributes(descriptor, kind)
        if nanos := found.st_mtime_ns % 1_000_000_000:
            info.pax_headers["mtime"] = f"{info.mtime}.{nanos:09d}"
        self._send(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        if info.type == tarfile.REGTYPE and info.size:
            self._payload(descriptor, info.size)

    def _kind(
        self, info: tarfile.TarInfo, found: os.stat_result, kind: int, name: str, descriptor: int
    ) -> None:
        if kind == stat.S_IFDIR:
            info.type = tarfile.DIRTYPE
            info.name = name.rstrip("/") + "/"
            return
        key = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and key in self._links:
            info.type = tarfile.LNKTYPE
            info.linkname = self._links[key]
            return
        if found.st_nlink > 1:
            self._links[key] = name
        if kind == stat.S_IFREG:
            info.size = found.st_size
        elif kind == stat.S_IFLNK:
            info.type = tarfile.SYMTYPE
            info.linkname = os.readlink("", dir_fd=descriptor)
        elif kind == stat.S_IFIFO:
            info.type = tarfile.FIFOTYPE
        else:
            info.type = tarfile.CHRTYPE if kind == stat.S_IFCHR else tarfile.BLKTYPE
            info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)

    def _payload(self, descriptor: int, size: int) -> None:
        source = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            left = size
            while left:
                piece = os.read(source, min(left, _PIECE))
                if not piece:
                    piece = bytes(min(left, _PIECE))
                self._send(piece)
                left -= len(piece)
        finally:
            os.close(source)
        if size % 512:
            self._send(bytes(512 - size % 512))


def _attributes(descriptor: int, kind: int) -> dict[str, str]:
    """Capabilities and the user's own attributes, as PAX records."""
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        return {}
    handle = f"/proc/self/fd/{descriptor}"
    found: dict[str, str] = {}
    try:
        for name in os.listxattr(handle):
            if name == "security.capability" or name.startswith("user."):
                value = os.getxattr(handle, name)
                found[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
    except OSError:
        return found
    return found


# ---- in


@dataclass(frozen=True)
class PutOptions:
    """``owner``: (uid, gid) for everything that is written; None keeps the archive's."""

    owner: tuple[int, int] | None = None
    keep_kinds: bool = False
    """Refuse to replace a folder by something else, or the other way round."""


def extract(root: Root, path: str, source: tarfmt.Source, options: PutOptions) -> None:
    """Unpack an archive into the folder ``path`` of the root; existing files are replaced."""
    with naming(path, root.container):
        descriptor = root.open(path, os.O_PATH)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise Invalid("extraction point is not a directory")
        finally:
            os.close(descriptor)
    _Extractor(root, path.rstrip("/"), source, options).run()


class _Extractor:
    def __init__(self, root: Root, base: str, source: tarfmt.Source, options: PutOptions) -> None:
        self._root = root
        self._base = base
        self._source = source
        self._options = options
        self._folders: dict[str, int] = {}
        self._times: dict[str, int] = {}

    def run(self) -> None:
        try:
            for entry in tarfmt.entries(self._source):
                name = tarfmt.clean(entry.name).decode("utf-8", "surrogateescape")
                with naming(f"{self._base}/{name}", self._root.container):
                    self._one(entry, name)
            for name, when in self._times.items():
                with contextlib.suppress(OSError):
                    os.utime(self._folder(name), ns=(when, when))
        finally:
            self._forget()

    def _folder(self, name: str) -> int:
        known = self._folders.get(name)
        if known is not None:
            return known
        try:
            descriptor = self._root.open(f"{self._base}/{name}", _FOLDER)
        except FileNotFoundError:
            parent, _, last = name.rpartition("/")
            os.mkdir(last, 0o755, dir_fd=self._folder(parent))
            self._own(last, self._folder(parent), 0, 0)
            descriptor = self._root.open(f"{self._base}/{name}", _FOLDER)
        if len(self._folders) >= _OPEN_FOLDERS:
            os.close(self._folders.pop(next(iter(self._folders))))
        self._folders[name] = descriptor
        return descriptor

    def _own(self, name: str, at: int, uid: int, gid: int) -> None:
        uid, gid = self._options.owner or (uid, gid)
        os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)

    def _one(self, entry: Entry, name: str) -> None:
        parent, _, last = name.rpartition("/")
        if entry.kind == tarfmt.DIRECTORY:
            self._directory(entry, name, parent, last)
            return
        if not last:
            return
        self._make_room(entry, name, last, self._folder(parent))
        at = self._folder(parent)
        if entry.kind == tarfmt.REGULAR:
            self._file(entry, last, at)
            return
        if entry.kind == tarfmt.LINK:
            self._hard_link(entry, last, at)
            return
        if entry.kind == tarfmt.SYMLINK:
            os.symlink(entry.link, last, dir_fd=at)
        else:
            kind = {tarfmt.FIFO: stat.S_IFIFO, tarfmt.CHAR: stat.S_IFCHR}.get(
                entry.kind, stat.S_IFBLK
            )
            os.mknod(last, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=at)
        self._own(last, at, entry.uid, entry.gid)
        if entry.kind != tarfmt.SYMLINK:
            os.chmod(last, entry.mode, dir_fd=at)
        os.utime(last, ns=(entry.mtime, entry.mtime), dir_fd=at, follow_symlinks=False)

    def _make_room(self, entry: Entry, name: str, last: str, at: int) -> bool:
        """Remove what stands at the name, links never followed; False if it may stay.

        A folder stays where the archive has a folder. ``Conflict`` when kinds are to be kept.
        """
        try:
            found = os.lstat(last, dir_fd=at)
        except FileNotFoundError:
            return True
        was, comes = stat.S_ISDIR(found.st_mode), entry.kind == tarfmt.DIRECTORY
        if was and comes:
            return False
        if was != comes and self._options.keep_kinds:
            kinds = ("directory", "non-directory") if was else ("non-directory", "directory")
            raise Conflict(
                f'cannot overwrite {kinds[0]} "{self._base}/{name}" with {kinds[1]} "{name}"'
            )
        if was:
            self._forget()
            shutil.rmtree(last, dir_fd=self._folder(name.rpartition("/")[0]))
        else:
            os.unlink(last, dir_fd=at)
        return True

    def _forget(self) -> None:
        for descriptor in self._folders.values():
            os.close(descriptor)
        self._folders.clear()

    def _directory(self, entry: Entry, name: str, parent: str, last: str) -> None:
        if not last:
            return
        if self._make_room(entry, name, last, self._folder(parent)):
            os.mkdir(last, entry.mode, dir_fd=self._folder(parent))
        descriptor = self._folder(name)
        uid, gid = self._options.owner or (entry.uid, entry.gid)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, entry.mode)
        self._xattrs(entry, descriptor)
        self._times[name] = entry.mtime

    def _file(self, entry: Entry, last: str, at: int) -> None:
        descriptor = os.open(last, _CREATE, 0o600, dir_fd=at)
        try:
            pieces = entry.sparse if entry.sparse is not None else [(0, entry.size)]
            position = entry.data
            for offset, length in pieces:
                os.lseek(descriptor, offset, os.SEEK_SET)
                self._copy(position, length, descriptor)
                position += length
            if entry.sparse is not None:
                os.ftruncate(descriptor, entry.size)
            uid, gid = self._options.owner or (entry.uid, entry.gid)
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, entry.mode)
            self._xattrs(entry, descriptor)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _copy(self, position: int, length: int, descriptor: int) -> None:
        while length:
            piece = self._source.get(position, min(length, _PIECE))
            if not piece:
                raise tarfmt.cut_short()
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
            position += len(piece)
            length -= len(piece)

    def _hard_link(self, entry: Entry, last: str, at: int) -> None:
        target = tarfmt.clean(entry.link).decode("utf-8", "surrogateescape")
        parent, _, name = target.rpartition("/")
        os.link(name, last, src_dir_fd=self._folder(parent), dst_dir_fd=at, follow_symlinks=False)

    @staticmethod
    def _xattrs(entry: Entry, descriptor: int) -> None:
        for name, value in (entry.xattrs or {}).items():
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise
