"""A layer's tar into a folder of its own, as overlayfs wants it (the directory back end).

Whiteouts (OCI image spec 1.1, "Whiteouts") become overlayfs's: a character device 0:0 for a removed
name, ``trusted.overlay.opaque=y`` on a folder that hides what is below. They only speak of layers
below: what the same layer brings stays, in whatever order the archive has it.

The code runs confined (see ``confine``): paths here start at the layer's root.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable

from wherry.errors import Invalid
from wherry.trees import tarfmt
from wherry.trees.tarfmt import Entry

OPAQUE = b"trusted.overlay.opaque"
WHITEOUT_PREFIX = b".wh."
OPAQUE_MARK = b".wh..wh..opq"
_META_PREFIX = b".wh..wh."
_KEPT_BY_KERNEL = (b"trusted.overlay.", b"user.overlay.")
"""Extended attributes that steer overlayfs: ours to set, never an archive's."""
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_FOLDERS = 64
_SPACE_STEP = 32 << 20


class Unpacker:
    """One layer being written below ``/`` of the calling thread."""

    def __init__(
        self, members: Iterable[Entry], data: memoryview, check_space: Callable[[], None]
    ) -> None:
        """``data``: the whole archive that ``members`` are read from."""
        self._members = members
        self._data = data
        self._check_space = check_space
        self._folders: dict[bytes, int] = {}
        self._times: dict[bytes, int] = {b"": 0}
        """Folders' times are set last; those that no member gives are 0, the same every time."""
        self._since_check = 0
        self.size = 0
        """Bytes of regular files so far."""

    def run(self) -> int:
        """Unpack everything; returns the bytes of regular files."""
        try:
            for entry in self._members:
                try:
                    self._one(entry)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM):
                        raise
                    shown = entry.name.decode("utf-8", "replace")
                    raise Invalid(f"cannot unpack {shown!r}: {error.strerror}") from error
            for path, when in self._times.items():
                try:
                    descriptor = os.open(b"/" + path, _FOLDER | os.O_NOFOLLOW)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                os.utime(descriptor, ns=(when, when))
                os.close(descriptor)
        finally:
            self._forget_folders()
        return self.size

    def _one(self, entry: Entry) -> None:
        path = tarfmt.clean(entry.name)
        parent, _, name = path.rpartition(b"/")
        if name.startswith(WHITEOUT_PREFIX):
            self._whiteout(parent, name)
            return
        kind = entry.kind
        if kind == tarfmt.REGULAR:
            self._file(entry, self._open_folder(parent), name, path)
        elif kind == tarfmt.DIRECTORY:
            self._directory(entry, parent, name, path)
        elif kind == tarfmt.SYMLINK:
            self._make(
                path, name, parent, lambda at: os.symlink(entry.link or b".", name, dir_fd=at)
            )
            self._attributes(entry, parent, name, follow=False)
        elif kind == tarfmt.LINK:
            self._hard_link(entry, parent, name, path)
        else:
            self._node(entry, parent, name, path)

    # ---- folders

    def _open_folder(self, path: bytes) -> int:
        known = self._folders.get(path)
        if known is not None:
            return known
        try:
            descriptor = os.open(b"/" + path, _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            # Not there, or hidden by a whiteout that came first.
            self._make_parents(path)
            descriptor = os.open(b"/" + path, _FOLDER)
        if len(self._folders) >= _OPEN_FOLDERS:
            oldest = next(iter(self._folders))
            os.close(self._folders.pop(oldest))
        self._folders[path] = descriptor
        return descriptor

    def _make_parents(self, path: bytes) -> None:
        """Folders that the archive did not mention: root's, 0755."""
        done = b""
        for part in path.split(b"/"):
            done += b"/" + part
            try:
                os.mkdir(done, 0o755)
            except FileExistsError:
                if not _is_whiteout(os.lstat(done)):
                    continue
                os.unlink(done)
                os.mkdir(done, 0o755)
                os.setxattr(done, OPAQUE, b"y")
            self._times[done[1:]] = 0

    def _forget_folders(self) -> None:
        for descriptor in self._folders.values():
            os.close(descriptor)
        self._folders.clear()

    # ---- members

    def _clear(self, parent: bytes, name: bytes, path: bytes) -> bool:
        """Remove what an earlier member left at ``path``; True if it was a whiteout."""
        at = self._open_folder(parent)
        found = os.lstat(name, dir_fd=at)
        if stat.S_ISDIR(found.st_mode):
            self._forget_folders()
            shutil.rmtree(b"/" + path)
            gone = path + b"/"
            for each in [key for key in self._times if (key + b"/").startswith(gone)]:
                del self._times[each]
            return False
        os.unlink(name, dir_fd=at)
        return _is_whiteout(found)

    def _make(self, path: bytes, name: bytes, parent: bytes, make: Callable[[int], None]) -> None:
        if not name:
            raise Invalid("a layer's root can only be a directory")
        try:
            make(self._open_folder(parent))
        except FileExistsError:
            self._clear(parent, name, path)
            make(self._open_folder(parent))

    def _file(self, entry: Entry, at: int, name: bytes, path: bytes) -> None:
        if not name:
            raise Invalid("a layer's root can only be a directory")
        mode = entry.mode
        try:
            descriptor = os.open(name, _WRITE, mode, dir_fd=at)
        except FileExistsError:
            parent = path.rpartition(b"/")[0]
            self._clear(parent, name, path)
            descriptor = os.open(name, _WRITE, mode, dir_fd=self._open_folder(parent))
        try:
            if entry.sparse is not None:
                self._sparse(entry, descriptor)
            elif entry.size:
                self._write(descriptor, entry.data, entry.size)
            if entry.uid or entry.gid:
                os.fchown(descriptor, entry.uid, entry.gid)
                if mode & 0o7000:
                    os.fchmod(descriptor, mode)
            if entry.xattrs:
                _set_xattrs(descriptor, entry.xattrs, follow=True)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)
        self.size += entry.size

    def _write(self, descriptor: int, start: int, size: int) -> None:
        end = start + size
        self._since_check += size
        if self._since_check > _SPACE_STEP:
            self._since_check = 0
            self._check_space()
        while start < end:
            start += os.write(descriptor, self._data[start : min(end, start + _SPACE_STEP)])

    def _sparse(self, entry: Entry, descriptor: int) -> None:
        position = entry.data
        for offset, length in entry.sparse or ():
            os.lseek(descriptor, offset, os.SEEK_SET)
            self._write(descriptor, position, length)
            position += length
        os.ftruncate(descriptor, entry.size)

    def _directory(self, entry: Entry, parent: bytes, name: bytes, path: bytes) -> None:
        whole = b"/" + path
        if name:
            at = self._open_folder(parent)
            try:
                os.mkdir(name, entry.mode, dir_fd=at)
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(name, dir_fd=at).st_mode):
                    hid = self._clear(parent, name, path)
                    os.mkdir(name, entry.mode, dir_fd=self._open_folder(parent))
                    if hid:
                        os.setxattr(whole, OPAQUE, b"y")
        os.chown(whole, entry.uid, entry.gid, follow_symlinks=False)
        os.chmod(whole, entry.mode)
        if entry.xattrs:
            _set_xattrs(whole, entry.xattrs, follow=False)
        self._times[path] = entry.mtime

    def _hard_link(self, entry: Entry, parent: bytes, name: bytes, path: bytes) -> None:
        target = tarfmt.clean(entry.link)
        if not name:
            raise Invalid("a layer's root can only be a directory")
        source = b"/" + target

        def make(at: int) -> None:
            os.link(source, name, dst_dir_fd=at, follow_symlinks=False)

        found = os.lstat(source)
        if _is_whiteout(found) or target.startswith(path + b"/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if stat.S_ISDIR(found.st_mode):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        if target != path:
            self._make(path, name, parent, make)

    def _node(self, entry: Entry, parent: bytes, name: bytes, path: bytes) -> None:
        if entry.kind == tarfmt.FIFO:
            mode, device = stat.S_IFIFO, 0
        else:
            mode = stat.S_IFCHR if entry.kind == tarfmt.CHAR else stat.S_IFBLK
            device = os.makedev(entry.major, entry.minor)
        self._make(
            path, name, parent, lambda at: os.mknod(name, mode | entry.mode, device, dir_fd=at)
        )
        self._attributes(entry, parent, name, follow=True)

    def _attributes(self, entry: Entry, parent: bytes, name: bytes, *, follow: bool) -> None:
        """Owner, mode, extended attributes, time of what was just made (never a link's target)."""
        at = self._open_folder(parent)
        os.chown(name, entry.uid, entry.gid, dir_fd=at, follow_symlinks=False)
        if follow:
            os.chmod(name, entry.mode, dir_fd=at)
        if entry.xattrs:
            _set_xattrs(b"/" + parent + b"/" + name, entry.xattrs, follow=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=at, follow_symlinks=False)

    # ---- whiteouts

    def _whiteout(self, parent: bytes, name: bytes) -> None:
        if name == OPAQUE_MARK:
            self._open_folder(parent)
            os.setxattr(b"/" + parent, OPAQUE, b"y")
            return
        if name.startswith(_META_PREFIX):
            return
        hidden = name[len(WHITEOUT_PREFIX) :]
        if hidden in (b"", b".", b".."):
            raise Invalid(f"invalid whiteout {name.decode('utf-8', 'replace')!r}")
        at = self._open_folder(parent)
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=at)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=at).st_mode):
                os.setxattr(b"/" + parent + b"/" + hidden, OPAQUE, b"y")


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _set_xattrs(target: int | bytes, xattrs: dict[bytes, bytes], *, follow: bool) -> None:
    """What the file system does not take (ENOTSUP, EPERM) is left out, as Docker does."""
    for name, value in xattrs.items():
        if name.startswith(_KEPT_BY_KERNEL):
            continue
        try:
            if follow:
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
