"""An EROFS image that holds a layer's names and points into its tar for the bytes of files.

The layer is then mounted, not unpacked: the metadata image is the file system, the uncompressed
tar its second device. Format: Linux ``fs/erofs/erofs_fs.h`` (on-disk version 1) with 512-byte
blocks (tar's own alignment), extended inodes, chunk-based files of one chunk each (a block map per
512 bytes where a file is sparse) and a device table with one slot.

Layout: superblock at 1024, device slot at 1152, inodes from 1536 on (short symbolic links inline),
then the blocks of folders and long links.
"""

from __future__ import annotations

import stat
import struct
from typing import BinaryIO

from wherry.images.worker.layertree import BLOCK, PREFIXES, Node, NotIndexable, Tree

BITS = BLOCK.bit_length() - 1
_META = 3
"""Block where inodes start: superblock and device slot come before."""
_MAGIC = 0xE0F5E1E2
_CHUNKED_FILE, _DEVICE_TABLE = 0x4, 0x8
_FLAT_PLAIN, _FLAT_INLINE, _CHUNKED = 0, 2, 4
_CHUNK_INDEXES = 0x20
_EXTENDED = 1
_TAR_DEVICE = 1
_HOLE = 0xFFFFFFFF

_SUPER = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB23x")
_SLOT = struct.Struct("<64sII56x")
_INODE = struct.Struct("<HHHHQIIIIQII16x")
_CHUNK = struct.Struct("<HHI")
_DIRENT = struct.Struct("<QHBx")
_XATTR = struct.Struct("<BBH")
_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}


def write(tree: Tree, out: BinaryIO, tar_size: int) -> None:
    """Write the image for ``tree`` to ``out`` (seekable, empty). ``tar_size`` in bytes.

    Deterministic: the same members give the same bytes.
    """
    inodes, folders = _walk(tree.root)
    end = _place_inodes(inodes)
    block = -(-end // BLOCK)
    blobs: list[bytes] = []
    parent_of = {id(child): folder for folder, child in folders if child is not folder}
    for node in inodes:
        if node.children is not None:
            data = _folder_data(node, parent_of.get(id(node), node))
        elif stat.S_ISLNK(node.mode) and not _inline(node):
            data = node.target
        else:
            continue
        node.position = block
        node.size = len(data)
        padded = -(-len(data) // BLOCK) * BLOCK
        blobs.append(data.ljust(padded, b"\0"))
        block += padded // BLOCK
    out.write(bytes(1024))
    out.write(
        _SUPER.pack(
            _MAGIC,
            0,
            0,
            BITS,
            0,
            tree.root.nid,
            len(inodes),
            0,
            0,
            block,
            _META,
            0,
            b"",
            b"",
            _CHUNKED_FILE | _DEVICE_TABLE,
            0,
            1,
            9,
            0,
            0,
            0,
            0,
            0,
        )
    )
    out.write(_SLOT.pack(b"layer", -(-tar_size // BLOCK), 0))
    area = bytearray(-(-end // BLOCK) * BLOCK - _META * BLOCK)
    out.write(bytes(_META * BLOCK - out.tell()))
    for number, node in enumerate(inodes, 1):
        _put_inode(area, node, number)
    out.write(area)
    out.writelines(blobs)


def _walk(root: Node) -> tuple[list[Node], list[tuple[Node, Node]]]:
    """All inodes once, root first, in folder order; and (parent, folder) pairs."""
    inodes = [root]
    pairs = [(root, root)]
    seen: set[int] = set()
    for folder in inodes:
        if folder.children is None:
            continue
        folder.children = dict(sorted(folder.children.items()))
        folder.links = 2
        for child in folder.children.values():
            if child.children is not None:
                folder.links += 1
                pairs.append((folder, child))
            elif child.links > 1:
                if id(child) in seen:
                    continue
                seen.add(id(child))
            inodes.append(child)
    return inodes, pairs


def _inline(node: Node) -> bool:
    """Whether a symbolic link's target fits behind its inode in one block."""
    return _INODE.size + _xattr_size(node) + len(node.target) <= BLOCK


def _chunk_bits(node: Node) -> int:
    if node.sparse is not None:
        return BITS
    return max(BITS, (node.size - 1).bit_length())


def _place_inodes(inodes: list[Node]) -> int:
    """Give every inode its nid; returns the end of the inode area, bytes."""
    base = _META * BLOCK
    at = base + _INODE.size
    for node in inodes:
        size = _INODE.size + (_xattr_size(node) if node.xattrs else 0)
        if stat.S_ISREG(node.mode) and node.size:
            count = -(-node.size // BLOCK) if node.sparse is not None else 1
            size = -(-size // 8) * 8 + 8 * count
        elif stat.S_ISLNK(node.mode) and _inline(node):
            size += len(node.target)
            if at % BLOCK + size > BLOCK:
                at = -(-at // BLOCK) * BLOCK
        node.nid = (at - base) >> 5
        at += -(-size // 32) * 32
    return at


def _xattr_entries(node: Node) -> list[tuple[int, bytes, bytes]]:
    found = []
    for name, value in sorted((node.xattrs or {}).items()):
        for prefix, index in PREFIXES:
            if name.startswith(prefix):
                found.append((index, name[len(prefix) :], value))
                break
    return found


def _xattr_size(node: Node) -> int:
    """Bytes between inode and what follows it: 0, or a 12-byte header and the entries."""
    if not node.xattrs:
        return 0
    size = 12
    for _, suffix, value in _xattr_entries(node):
        if len(suffix) > 255 or len(value) > 0xFFFF:
            raise NotIndexable("an extended attribute is too long")
        size += -(-(4 + len(suffix) + len(value)) // 4) * 4
    if (size - 12) // 4 + 1 > 0xFFFF:
        raise NotIndexable("too many extended attributes")
    return size


def _put_inode(area: bytearray, node: Node, number: int) -> None:
    at = node.nid << 5
    mode = node.mode
    layout = _FLAT_PLAIN
    field = 0
    xattrs = _xattr_size(node) if node.xattrs else 0
    tail = at + _INODE.size + xattrs
    if node.children is not None:
        field = node.position
    elif stat.S_ISREG(mode):
        if node.size:
            layout = _CHUNKED
            field = _CHUNK_INDEXES | (_chunk_bits(node) - BITS)
            _put_chunks(area, -(-tail // 8) * 8, node)
    elif stat.S_ISLNK(mode):
        if _inline(node):
            layout = _FLAT_INLINE
            field = _HOLE
            area[tail : tail + node.size] = node.target
        else:
            field = node.position
    else:
        field = node.device
    seconds, nanos = divmod(node.mtime, 1_000_000_000)
    _INODE.pack_into(
        area,
        at,
        _EXTENDED | layout << 1,
        (xattrs - 12) // 4 + 1 if xattrs else 0,
        mode,
        0,
        node.size,
        field,
        number & 0xFFFFFFFF,
        node.uid,
        node.gid,
        seconds & 0xFFFFFFFFFFFFFFFF,
        nanos,
        node.links,
    )
    if xattrs:
        _put_xattrs(area, at + _INODE.size, node)


def _put_chunks(area: bytearray, at: int, node: Node) -> None:
    start = node.data >> BITS
    if node.sparse is None:
        _CHUNK.pack_into(area, at, 0, _TAR_DEVICE, start)
        return
    count = -(-node.size // BLOCK)
    for index in range(count):
        _CHUNK.pack_into(area, at + 8 * index, 0, 0, _HOLE)
    stored = node.data
    for offset, length in node.sparse:
        if offset % BLOCK or stored % BLOCK:
            raise NotIndexable("a sparse file's pieces are not aligned")
        for step in range(-(-length // BLOCK)):
            where = at + 8 * (offset // BLOCK + step)
            _CHUNK.pack_into(area, where, 0, _TAR_DEVICE, stored // BLOCK + step)
        if length % BLOCK and offset + length != node.size:
            raise NotIndexable("a sparse file's pieces are not aligned")
        stored += length


def _put_xattrs(area: bytearray, at: int, node: Node) -> None:
    at += 12
    for index, suffix, value in _xattr_entries(node):
        _XATTR.pack_into(area, at, len(suffix), index, len(value))
        start = at + _XATTR.size
        area[start : start + len(suffix)] = suffix
        area[start + len(suffix) : start + len(suffix) + len(value)] = value
        at += -(-(4 + len(suffix) + len(value)) // 4) * 4


def _folder_data(node: Node, parent: Node) -> bytes:
    """The folder's blocks: entries sorted by name; each block holds heads, then names."""
    assert node.children is not None
    names = [(b".", node, 2), (b"..", parent, 2)]
    names += [
        (name, child, _TYPES[stat.S_IFMT(child.mode)]) for name, child in node.children.items()
    ]
    names.sort(key=lambda each: each[0])
    blocks: list[bytes] = []
    batch: list[tuple[bytes, Node, int]] = []
    used = 0
    for each in names:
        need = _DIRENT.size + len(each[0])
        if used + need > BLOCK:
            blocks.append(_folder_block(batch).ljust(BLOCK, b"\0"))
            batch, used = [], 0
        batch.append(each)
        used += need
    blocks.append(_folder_block(batch))
    return b"".join(blocks)


def _folder_block(batch: list[tuple[bytes, Node, int]]) -> bytes:
    heads = bytearray(_DIRENT.size * len(batch))
    offset = len(heads)
    for index, (name, child, kind) in enumerate(batch):
        _DIRENT.pack_into(heads, _DIRENT.size * index, child.nid, offset, kind)
        offset += len(name)
    return bytes(heads) + b"".join(name for name, _, _ in batch)
