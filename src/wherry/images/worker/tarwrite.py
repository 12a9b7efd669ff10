"""Writing a layer's tar: ustar headers, PAX records where ustar has no room."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field

from wherry.images.worker import tarfmt

_OCTAL_8 = 0o7777777
_OCTAL_12 = 0o77777777777


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


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
    block = bytearray(tarfmt.BLOCK)
    block[0 : len(name)] = name
    block[100:108] = _octal(mode, 8)
    block[108:116] = _octal(uid, 8)
    block[116:124] = _octal(gid, 8)
    block[124:136] = _octal(size, 12)
    block[136:148] = _octal(mtime, 12)
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\00000"
    if kind in (tarfmt.CHAR, tarfmt.BLOCKDEV):
        block[329:337] = _octal(device[0], 8)
        block[337:345] = _octal(device[1], 8)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@dataclass(frozen=True)
class Attributes:
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


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
    seconds, part = divmod(own.mtime_ns, 1_000_000_000)
    if len(name) > 100 or not name.isascii():
        records.append(_record(b"path", name))
    if len(link) > 100 or not link.isascii():
        records.append(_record(b"linkpath", link))
    if size > _OCTAL_12:
        records.append(_record(b"size", b"%d" % size))
    for key, number in ((b"uid", own.uid), (b"gid", own.gid)):
        if number > _OCTAL_8:
            records.append(_record(key, b"%d" % number))
    if part or not 0 <= seconds <= _OCTAL_12:
        text = b"%d.%09d" % (seconds, part) if seconds >= 0 else b"%d" % (seconds + (part > 0))
        records.append(_record(b"mtime", text))
    for key, value in sorted(own.xattrs.items()):
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
        stat.S_IMODE(own.mode),
        min(own.uid, _OCTAL_8),
        min(own.gid, _OCTAL_8),
        min(size, _OCTAL_12),
        min(max(seconds, 0), _OCTAL_12),
        link[:100],
        device,
    )


def padding(size: int) -> bytes:
    """Zeros after a payload of ``size`` bytes."""
    return bytes(-size % tarfmt.BLOCK)


END = bytes(2 * tarfmt.BLOCK)
