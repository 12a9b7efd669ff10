"""Writing a layer's tar: ustar headers, PAX records where ustar has no room."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from wherry.trees import tarfmt

_OCTAL_8 = 0o7777777
_OCTAL_12 = 0o77777777777
_MAGIC = b"ustar\00000"
_PLAIN = b"%%b%%07o\0%%07o\0%%07o\0%%011o\0%%011o\0        0%b" % (
    bytes(100) + _MAGIC + bytes(tarfmt.BLOCK - 265)
)
_TAIL = _MAGIC + bytes(tarfmt.BLOCK - 265)


def _record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n``, where the length counts itself."""
    size = len(key) + len(value) + 3
    total = size + len(str(size))
    if len(str(total)) != len(str(size)):
        total = size + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % tarfmt.BLOCK)


def _block(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    if kind in (tarfmt.CHAR, tarfmt.BLOCKDEV):
        tail = b"%b%b%07o\0%07o\0%b" % (_MAGIC, bytes(64), *device, bytes(167))
    else:
        tail = _TAIL
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b%b" % (
        name.ljust(100, b"\0"),
        mode,
        uid,
        gid,
        size,
        mtime,
        kind,
        link.ljust(100, b"\0"),
        tail,
    )
    # The low half of Adler-32 is one more than the sum of the bytes, modulo 65521; two names of
    # 100 bytes and the digits do not come near to that.
    return b"%b%06o\0 %b" % (block[:148], (zlib.adler32(block) & 0xFFFF) - 1, block[156:])


class Attributes(NamedTuple):
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: Mapping[bytes, bytes] = MappingProxyType({})


def member(
    name: bytes,
    kind: bytes,
    own: Attributes,
    *,
    size: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """The header blocks of one member; its payload, padded to 512, follows."""
    records: list[bytes] = []
    mode, uid, gid, mtime_ns, xattrs = own
    seconds, part = divmod(mtime_ns, 1_000_000_000)
    if len(name) > 100 or not name.isascii():
        records.append(_record(b"path", name))
    if len(link) > 100 or not link.isascii():
        records.append(_record(b"linkpath", link))
    if size > _OCTAL_12:
        records.append(_record(b"size", b"%d" % size))
    if uid > _OCTAL_8:
        records.append(_record(b"uid", b"%d" % uid))
    if gid > _OCTAL_8:
        records.append(_record(b"gid", b"%d" % gid))
    if part or not 0 <= seconds <= _OCTAL_12:
        text = b"%d.%09d" % (seconds, part) if seconds >= 0 else b"%d" % (seconds + (part > 0))
        records.append(_record(b"mtime", text))
    for key, value in sorted(xattrs.items()):
        records.append(_record(b"SCHILY.xattr." + key, value))
    head = b""
    if records:
        payload = b"".join(records)
        head = _block(
            b"PaxHeaders/" + name[-80:].rpartition(b"/")[2],
            b"x",
            0o644,
            0,
            0,
            len(payload),
            0,
            b"",
            (0, 0),
        ) + _pad(payload)
    return head + _block(
        name[:100],
        kind,
        mode & 0o7777,
        uid if uid < _OCTAL_8 else _OCTAL_8,
        gid if gid < _OCTAL_8 else _OCTAL_8,
        size if size < _OCTAL_12 else _OCTAL_12,
        min(max(seconds, 0), _OCTAL_12),
        link[:100],
        device,
    )


def plain_file(name: bytes, mode: int, uid: int, gid: int, size: int, seconds: int) -> bytes:
    """The header of a regular file that needs no records; b"" for one that does."""
    if len(name) > 100 or not name.isascii() or uid > _OCTAL_8 or gid > _OCTAL_8:
        return b""
    if size > _OCTAL_12 or not 0 <= seconds <= _OCTAL_12:
        return b""
    block = _PLAIN % (name.ljust(100, b"\0"), mode & 0o7777, uid, gid, size, seconds)
    return b"%b%06o\0 %b" % (block[:148], (zlib.adler32(block) & 0xFFFF) - 1, block[156:])


def padding(size: int) -> bytes:
    """Zeros after a payload of ``size`` bytes."""
    return bytes(-size % tarfmt.BLOCK)


END = bytes(2 * tarfmt.BLOCK)
