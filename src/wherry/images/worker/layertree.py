"""The file system that a layer's members describe: what the index of a tar is made from.

Whiteouts become overlayfs's: a character device 0:0 for a removed name, the extended attribute
``trusted.overlay.opaque`` on a folder that hides what is below.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable

from wherry.errors import Invalid
from wherry.trees import tarfmt
from wherry.trees.tarfmt import Entry

BLOCK = tarfmt.BLOCK
"""Bytes of a block of the index: as in the tar, so that both have the same places."""
_SPARSE_BLOCKS = 1 << 20
PREFIXES = (
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
)
"""Extended attributes that EROFS has a number for."""
_STEERS_OVERLAYFS = (b"trusted.overlay.", b"user.overlay.")
_OPAQUE = b"trusted.overlay.opaque"


class NotIndexable(Exception):
    """The archive needs what a tar index cannot give; unpack it instead. The text says why."""


class Node:
    """One inode. ``children`` is set for folders, ``chunks`` for files, ``target`` for links."""

    __slots__ = (
        "children",
        "data",
        "device",
        "gid",
        "links",
        "mode",
        "mtime",
        "nid",
        "position",
        "size",
        "sparse",
        "target",
        "uid",
        "xattrs",
    )

    def __init__(self, mode: int, uid: int = 0, gid: int = 0, mtime: int = 0) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        """Nanoseconds since the epoch."""
        self.children: dict[bytes, Node] | None = {} if stat.S_ISDIR(mode) else None
        self.target = b""
        self.data = 0
        """Offset of the payload in the tar, bytes."""
        self.size = 0
        self.sparse: list[tuple[int, int]] | None = None
        self.device = 0
        self.links = 1
        self.xattrs: dict[bytes, bytes] | None = None
        self.nid = 0
        self.position = 0
        """Block of the folder's or long link's own data."""

    @property
    def whiteout(self) -> bool:
        return stat.S_ISCHR(self.mode) and self.device == 0


class Tree:
    """The file system a layer's members describe; later members replace earlier ones."""

    def __init__(self) -> None:
        self.root = Node(stat.S_IFDIR | 0o755)
        self.size = 0
        """Bytes of regular files, as the members say."""
        self._last: tuple[bytes, Node] = (b"", self.root)
        self._sparse_blocks = 0

    def add(self, entry: Entry) -> None:
        """Place one member. Raises ``Invalid`` (a broken archive) or ``NotIndexable``."""
        path = tarfmt.clean(entry.name)
        parent_path, _, name = path.rpartition(b"/")
        if name.startswith(b".wh."):
            self._whiteout(parent_path, name)
            return
        if len(name) > 255:
            raise Invalid(f"cannot unpack {_shown(entry)}: File name too long")
        if entry.kind == tarfmt.DIRECTORY:
            self._folder(entry, parent_path, name)
            return
        if not name:
            raise Invalid("a layer's root can only be a directory")
        parent = self._parent(parent_path)
        assert parent.children is not None
        if entry.kind == tarfmt.LINK:
            target = tarfmt.clean(entry.link)
            found = None if target.startswith(path + b"/") else self._find(target)
            if found is None or found.children is not None or found.whiteout:
                raise Invalid(f"cannot unpack {_shown(entry)}: No such file or directory")
            if parent.children.get(name) is not found:
                self._replace(parent, name, found)
                found.links += 1
            return
        node = self._leaf(entry)
        self._replace(parent, name, node)

    def _leaf(self, entry: Entry) -> Node:
        node = Node(entry.mode, entry.uid, entry.gid, entry.mtime)
        if entry.kind == tarfmt.REGULAR:
            node.mode |= stat.S_IFREG
            node.size = entry.size
            node.data = entry.data
            node.sparse = entry.sparse
            if entry.sparse is not None:
                # A map entry per block: a file that claims terabytes would need gigabytes of map.
                self._sparse_blocks += -(-entry.size // BLOCK)
                if self._sparse_blocks > _SPARSE_BLOCKS:
                    raise NotIndexable("sparse files are too large")
            self.size += entry.size
        elif entry.kind == tarfmt.SYMLINK:
            node.mode = stat.S_IFLNK | 0o777
            node.target = entry.link or b"."
            node.size = len(node.target)
            if node.size > 4095:
                raise Invalid(f"cannot unpack {_shown(entry)}: File name too long")
        elif entry.kind == tarfmt.FIFO:
            node.mode |= stat.S_IFIFO
        else:
            node.mode |= stat.S_IFCHR if entry.kind == tarfmt.CHAR else stat.S_IFBLK
            node.device = _device(entry.major, entry.minor)
        self._xattrs(node, entry)
        return node

    @staticmethod
    def _xattrs(node: Node, entry: Entry) -> None:
        if not entry.xattrs:
            return
        kept = {
            name: value
            for name, value in entry.xattrs.items()
            if not name.startswith(_STEERS_OVERLAYFS)
            and any(name.startswith(prefix) for prefix, _ in PREFIXES)
        }
        if node.xattrs:
            kept |= {k: v for k, v in node.xattrs.items() if k == _OPAQUE}
        node.xattrs = kept or None

    def _folder(self, entry: Entry, parent_path: bytes, name: bytes) -> None:
        if not name:
            node = self.root
        else:
            parent = self._parent(parent_path)
            assert parent.children is not None
            found = parent.children.get(name)
            if found is not None and found.children is not None:
                node = found
            else:
                node = Node(stat.S_IFDIR)
                if found is not None and found.whiteout:
                    node.xattrs = {_OPAQUE: b"y"}
                self._replace(parent, name, node)
        node.mode = stat.S_IFDIR | entry.mode
        node.uid, node.gid, node.mtime = entry.uid, entry.gid, entry.mtime
        self._xattrs(node, entry)

    def _replace(self, parent: Node, name: bytes, node: Node) -> None:
        assert parent.children is not None
        old = parent.children.get(name)
        if old is not None:
            if old.children is not None:
                self._last = (b"", self.root)
            old.links -= 1
        parent.children[name] = node

    def _whiteout(self, parent_path: bytes, name: bytes) -> None:
        if name == b".wh..wh..opq":
            parent = self._parent(parent_path)
            parent.xattrs = {**(parent.xattrs or {}), _OPAQUE: b"y"}
            return
        if name.startswith(b".wh..wh."):
            return
        hidden = name[4:]
        if hidden in (b"", b".", b".."):
            raise Invalid(f"invalid whiteout {name.decode('utf-8', 'replace')!r}")
        if len(hidden) > 255:
            raise Invalid(f"cannot unpack {name.decode('utf-8', 'replace')!r}: File name too long")
        parent = self._parent(parent_path)
        assert parent.children is not None
        found = parent.children.get(hidden)
        if found is None:
            parent.children[hidden] = Node(stat.S_IFCHR)
        elif found.children is not None:
            found.xattrs = {**(found.xattrs or {}), _OPAQUE: b"y"}

    def _parent(self, path: bytes) -> Node:
        """The folder ``path``; missing ones are made (root's, 0755) as an unpacker would."""
        if path == self._last[0]:
            return self._last[1]
        node = self.root
        for part in path.split(b"/") if path else ():
            assert node.children is not None
            child = node.children.get(part)
            if child is None or child.whiteout:
                fresh = Node(stat.S_IFDIR | 0o755)
                if child is not None:
                    fresh.xattrs = {_OPAQUE: b"y"}
                if len(part) > 255:
                    raise Invalid("cannot unpack: File name too long")
                node.children[part] = child = fresh
            elif child.children is None:
                if stat.S_ISLNK(child.mode):
                    raise NotIndexable("a member's path leads through a symbolic link")
                shown = path.decode("utf-8", "replace")
                raise Invalid(f"cannot unpack {shown!r}: Not a directory")
            node = child
        self._last = (path, node)
        return node

    def _find(self, path: bytes) -> Node | None:
        node: Node = self.root
        for part in path.split(b"/") if path else ():
            if node.children is None:
                if stat.S_ISLNK(node.mode):
                    raise NotIndexable("a hard link's target leads through a symbolic link")
                return None
            child = node.children.get(part)
            if child is None:
                return None
            node = child
        return node


def build(entries: Iterable[Entry]) -> Tree:
    """The tree of an archive's members."""
    tree = Tree()
    add = tree.add
    for entry in entries:
        add(entry)
    return tree


def _device(major: int, minor: int) -> int:
    """The kernel's ``new_encode_dev``."""
    if major > 0xFFF or minor > 0xFFFFF:
        raise NotIndexable("a device number is too large")
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _shown(entry: Entry) -> str:
    return repr(entry.name.decode("utf-8", "replace"))
