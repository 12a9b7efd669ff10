"""A tar into a folder.

Members are made through descriptors of their folders, no link is ever followed to a file, and what
stands in the way is replaced. A large file gets its name when it is whole: until then it has none,
so nothing is left of it when the stream is cut or the process killed. All of it blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import secrets
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import Conflict, Invalid
from wherry.trees import tarfmt
from wherry.trees.incoming import Incoming
from wherry.trees.tarfmt import Entry

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
_OPEN_FOLDERS = 64
_LARGE = 128 * 1024
"""Bytes from which a file is made without a name first."""


@dataclass(frozen=True)
class Target:
    """The folder that an archive is unpacked in."""

    base: str
    """What it is called in messages."""
    folder: Callable[[str], int]
    """Open a folder below it ("" itself) for reading; ``FileNotFoundError`` where there is none."""
    refusal: Callable[[OSError, str], Exception]
    """The error to raise for what happened at a path."""
    owner: tuple[int, int] | None = None
    """(uid, gid) for everything that is written; None keeps the archive's."""
    keep_kinds: bool = False
    """Refuse to replace a folder by something else, or the other way round."""
    place: Callable[[bytes], str] = lambda name: os.fsdecode(tarfmt.clean(name))
    """Where a member of a name belongs, from the folder; nothing in it climbs."""


class _Place:
    """An open folder, and what is known of files made in it."""

    __slots__ = ("descriptor", "fresh", "inherits")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.fresh: tuple[int, int] | None = None
        """Owner that a new file gets by itself; None: no file was made here yet."""
        try:
            os.getxattr(descriptor, "system.posix_acl_default")
        except OSError:
            self.inherits = False
        else:
            self.inherits = True


class Unpacker:
    """Unpacks what ``source`` holds into ``target``; ``run`` once."""

    def __init__(self, source: Incoming, target: Target) -> None:
        self._source = source
        self._target = target
        self._places: dict[str, _Place] = {}
        self._times: dict[str, int] = {}
        self._masked = _umask()

    def run(self) -> None:
        try:
            for entry in tarfmt.entries(self._source):
                name = self._inside(entry.name)
                try:
                    self._one(entry, name)
                except OSError as error:
                    raise self._target.refusal(error, f"{self._target.base}/{name}") from error
            for name, when in self._times.items():
                with contextlib.suppress(OSError):
                    os.utime(self._folder(name), ns=(when, when))
        finally:
            self._forget()

    def _inside(self, raw: bytes) -> str:
        """A member's path below the target. ``Invalid`` for one that climbs out of it."""
        if b".." in raw and (posixpath.normpath(raw) + b"/").startswith(b"../"):
            shown = raw.decode("utf-8", "replace")
            raise Invalid(f'"{shown}" is outside of "{self._target.base or "/"}"')
        return self._target.place(raw)

    # ---- folders

    def _place(self, name: str) -> _Place:
        known = self._places.get(name)
        if known is not None:
            return known
        try:
            descriptor = self._target.folder(name)
        except FileNotFoundError:
            parent, _, last = name.rpartition("/")
            os.mkdir(last, 0o755, dir_fd=self._folder(parent))
            self._own(last, self._folder(parent), 0, 0)
            descriptor = self._target.folder(name)
        if len(self._places) >= _OPEN_FOLDERS:
            os.close(self._places.pop(next(iter(self._places))).descriptor)
        self._places[name] = place = _Place(descriptor)
        return place

    def _folder(self, name: str) -> int:
        return self._place(name).descriptor

    def _forget(self) -> None:
        for place in self._places.values():
            os.close(place.descriptor)
        self._places.clear()

    def _own(self, name: str, at: int, uid: int, gid: int) -> None:
        uid, gid = self._target.owner or (uid, gid)
        os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)

    # ---- members

    def _one(self, entry: Entry, name: str) -> None:
        parent, _, last = name.rpartition("/")
        if entry.kind == tarfmt.DIRECTORY:
            self._directory(entry, name, parent, last)
            return
        if not last:
            raise Invalid("the folder itself can only be a directory in an archive for it")
        if entry.kind == tarfmt.REGULAR:
            self._file(entry, name, parent, last)
            return
        self._make_room(entry, name, last, self._folder(parent))
        at = self._folder(parent)
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
        if was != comes and self._target.keep_kinds:
            kinds = ("directory", "non-directory") if was else ("non-directory", "directory")
            raise Conflict(
                f'cannot overwrite {kinds[0]} "{self._target.base}/{name}" with {kinds[1]} "{name}"'
            )
        if was:
            self._forget()
            shutil.rmtree(last, dir_fd=self._folder(name.rpartition("/")[0]))
        else:
            os.unlink(last, dir_fd=at)
        return True

    def _directory(self, entry: Entry, name: str, parent: str, last: str) -> None:
        if not last:
            return
        if self._make_room(entry, name, last, self._folder(parent)):
            os.mkdir(last, entry.mode, dir_fd=self._folder(parent))
        descriptor = self._folder(name)
        uid, gid = self._target.owner or (entry.uid, entry.gid)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, entry.mode)
        _set_xattrs(entry, descriptor)
        self._times[name] = entry.mtime

    def _hard_link(self, entry: Entry, last: str, at: int) -> None:
        parent, _, name = self._inside(entry.link).rpartition("/")
        try:
            source = self._target.folder(parent)
            try:
                os.link(name, last, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
            finally:
                os.close(source)
        except FileNotFoundError as error:
            shown = os.fsdecode(entry.name), os.fsdecode(entry.link)
            raise Invalid('invalid hardlink "{}" -> "{}": no such file'.format(*shown)) from error

    # ---- files

    def _file(self, entry: Entry, name: str, parent: str, last: str) -> None:
        place = self._place(parent)
        if entry.size >= _LARGE and self._large(entry, name, parent, last):
            return
        try:
            descriptor = os.open(last, _CREATE, entry.mode, dir_fd=place.descriptor)
        except FileExistsError:
            self._make_room(entry, name, last, place.descriptor)
            place = self._place(parent)
            descriptor = os.open(last, _CREATE, entry.mode, dir_fd=place.descriptor)
        try:
            self._fill(entry, descriptor, place)
        except BaseException:
            # Half a file must not stay.
            with contextlib.suppress(OSError):
                os.unlink(last, dir_fd=place.descriptor)
            raise
        finally:
            os.close(descriptor)

    def _large(self, entry: Entry, name: str, parent: str, last: str) -> bool:
        """Make the file nameless first; False where the file system cannot."""
        at = self._folder(parent)
        try:
            descriptor = os.open(".", _NAMELESS, entry.mode, dir_fd=at)
        except OSError as error:
            if error.errno in _NO_NAMELESS:
                return False
            raise
        try:
            self._fill(entry, descriptor, self._place(parent))
            try:
                _name(descriptor, last, at)
            except FileExistsError:
                self._replace(entry, name, parent, last, descriptor)
        finally:
            os.close(descriptor)
        return True

    def _replace(self, entry: Entry, name: str, parent: str, last: str, descriptor: int) -> None:
        """Name a new file as an existing one: readers find the old or the new, never none."""
        at = self._folder(parent)
        if stat.S_ISDIR(os.lstat(last, dir_fd=at).st_mode):
            self._make_room(entry, name, last, at)
            _name(descriptor, last, self._folder(parent))
            return
        aside = f".wherry-{secrets.token_hex(8)}"
        _name(descriptor, aside, at)
        try:
            os.rename(aside, last, src_dir_fd=at, dst_dir_fd=at)
        except BaseException:
            os.unlink(aside, dir_fd=at)
            raise

    def _fill(self, entry: Entry, descriptor: int, place: _Place) -> None:
        """Content, owner, mode, attributes, time: what is right already is left alone."""
        if entry.sparse is not None:
            position = entry.data
            for offset, length in entry.sparse:
                os.lseek(descriptor, offset, os.SEEK_SET)
                self._source.copy(position, length, descriptor)
                position += length
            os.ftruncate(descriptor, entry.size)
        elif entry.size:
            self._source.copy(entry.data, entry.size, descriptor)
        owner = self._target.owner or (entry.uid, entry.gid)
        if place.fresh is None:
            found = os.fstat(descriptor)
            place.fresh = (found.st_uid, found.st_gid)
        mode = entry.mode
        if place.fresh != owner:
            os.fchown(descriptor, *owner)
        if place.fresh != owner or place.inherits or mode & (self._masked | 0o7000):
            os.fchmod(descriptor, mode)
        if entry.xattrs:
            _set_xattrs(entry, descriptor)
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))


def _name(descriptor: int, name: str, at: int) -> None:
    """Give a nameless file a name in an open folder; never over an existing one."""
    os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=at, follow_symlinks=True)


def _set_xattrs(entry: Entry, descriptor: int) -> None:
    for name, value in (entry.xattrs or {}).items():
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _umask() -> int:
    """The process's, without changing it even for a moment."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o777
