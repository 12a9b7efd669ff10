"""An overlayfs upper folder into a layer's tar (commit).

Runs confined to the upper folder: its container may swap a folder for a link at any moment, and
then a path still ends inside. What overlayfs notes for itself becomes whiteouts again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from wherry.errors import Conflict
from wherry.images import diff
from wherry.images.worker.sink import CHUNK, Sink
from wherry.trees import tarfmt, tarwrite
from wherry.trees.tarwrite import Attributes

_SKIPPED_XATTRS = ("trusted.", "system.", "user.overlay.", "security.selinux")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Packer:
    """Writes the given changes, in order, to ``sink``."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._links: dict[tuple[int, int], bytes] = {}

    def run(self, changes: Sequence[tuple[str, int]]) -> None:
        for path, kind in changes:
            name = os.fsencode(path)[1:]
            if kind == diff.DELETED:
                self._whiteout(name)
                continue
            try:
                self._member(name)
            except FileNotFoundError:
                # Removed since the comparison, by a container that was not paused.
                continue
        self._sink.write(tarwrite.END)

    def _whiteout(self, name: bytes) -> None:
        parent, _, last = name.rpartition(b"/")
        hidden = b"/".join(part for part in (parent, b".wh." + last) if part)
        self._sink.write(tarwrite.member(hidden, tarfmt.REGULAR, Attributes(mode=0o600)))

    def _member(self, name: bytes) -> None:
        path = b"/" + name
        found = os.lstat(path)
        mode = found.st_mode
        own = Attributes(
            stat.S_IMODE(mode), found.st_uid, found.st_gid, found.st_mtime_ns, _xattrs(path)
        )
        if stat.S_ISDIR(mode):
            if _has(path, "trusted.overlay.redirect"):
                shown = path.decode("utf-8", "replace")
                raise Conflict(f"cannot commit: {shown} is a redirected directory")
            self._sink.write(tarwrite.member(name + b"/", tarfmt.DIRECTORY, own))
            return
        if found.st_nlink > 1:
            first = self._links.setdefault((found.st_dev, found.st_ino), name)
            if first != name:
                self._sink.write(tarwrite.member(name, tarfmt.LINK, own, link=first))
                return
        if stat.S_ISREG(mode):
            self._file(name, path, found.st_size, own)
        elif stat.S_ISLNK(mode):
            link = os.readlink(path)
            self._sink.write(tarwrite.member(name, tarfmt.SYMLINK, own, link=link))
        elif stat.S_ISFIFO(mode):
            self._sink.write(tarwrite.member(name, tarfmt.FIFO, own))
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            kind = tarfmt.CHAR if stat.S_ISCHR(mode) else tarfmt.BLOCKDEV
            device = (os.major(found.st_rdev), os.minor(found.st_rdev))
            self._sink.write(tarwrite.member(name, kind, own, device=device))

    def _file(self, name: bytes, path: bytes, size: int, own: Attributes) -> None:
        """A file that grows or shrinks while it is read keeps the size it had."""
        descriptor = os.open(path, _READ)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return
            self._sink.write(tarwrite.member(name, tarfmt.REGULAR, own, size=size))
            left = size
            while left:
                data = os.read(descriptor, min(left, CHUNK))
                if not data:
                    break
                self._sink.write(data)
                left -= len(data)
            while left:
                self._sink.write(bytes(min(left, CHUNK)))
                left -= min(left, CHUNK)
            self._sink.write(tarwrite.padding(size))
        finally:
            os.close(descriptor)


def _has(path: bytes, name: str) -> bool:
    try:
        os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return False
    return True


def _xattrs(path: bytes) -> dict[bytes, bytes]:
    found = {}
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    for name in names:
        if name.startswith(_SKIPPED_XATTRS):
            continue
        try:
            found[os.fsencode(name)] = os.getxattr(path, name, follow_symlinks=False)
        except OSError:
            continue
    return found
