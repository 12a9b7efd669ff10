"""Reading tar archives fast: ustar, PAX (POSIX.1-2001) and GNU long names and sparse files.

One generator yields entries; payloads are never read by it. It works on anything with
``get(position, size)``: a mapped file or a stream that only goes forward. Names are bytes, as tar
has them. The messages of ``Invalid`` are those of Go's ``archive/tar``, which Docker users know.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

from wherry.errors import Invalid

BLOCK = 512
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_NUMBERS = struct.Struct("100x7sB7sB7sB11sB11sB")
_END_BITS = 0xFF & ~0x20
"""What the byte after a number may not have: it is a space or NUL."""
_EXTENSION_LIMIT = 1 << 20
"""Largest PAX or long-name record accepted (Go's reader has the same limit)."""
_SIZE_LIMIT = (1 << 63) - 1
_TIME_LIMIT = _SIZE_LIMIT * 1_000_000_000
"""Nanoseconds, of what a file's time can be (``time_t``)."""
_ZERO = bytes(BLOCK)

REGULAR, LINK, SYMLINK, CHAR, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KNOWN = frozenset({REGULAR, LINK, SYMLINK, CHAR, BLOCKDEV, DIRECTORY, FIFO})
_REGULAR_ALIASES = frozenset({b"\0", b"7", b"S"})


class Source(Protocol):
    """Random or forward-only access to the archive's bytes."""

    def get(self, position: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``position``; fewer only at the end of the archive."""


class Entry:
    """One member. ``data`` is where its payload starts; ``stored`` how many bytes that has."""

    __slots__ = (
        "data",
        "gid",
        "kind",
        "link",
        "major",
        "minor",
        "mode",
        "mtime",
        "name",
        "size",
        "sparse",
        "stored",
        "uid",
        "xattrs",
    )

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    """Nanoseconds since the epoch."""
    size: int
    """The file's size in bytes when unpacked."""
    stored: int
    data: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[bytes, bytes] | None
    sparse: list[tuple[int, int]] | None
    """(offset, length) of each piece of data, in order; None for a plain file."""


class MappedSource:
    """A whole archive in memory or mapped."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data

    def get(self, position: int, size: int) -> bytes:
        return bytes(self._data[position : position + size])


def bad_header() -> Invalid:
    return Invalid("archive/tar: invalid tar header")


def cut_short() -> Invalid:
    return Invalid("unexpected EOF")


def number(field: bytes) -> int:
    """A numeric header field: octal digits, or base 256 when the first bit is set (GNU)."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        if field[0] & 0x40:
            return value - (1 << bits)
        return value - (1 << (bits - 1))
    text = field.strip(b" \0")
    if not text:
        return 0
    try:
        return int(text.split(b"\0", 1)[0], 8)
    except ValueError:
        raise bad_header() from None


def cut(field: bytes) -> bytes:
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


def checksum_right(block: bytes) -> bool:
    """Whether the header's checksum fits, unsigned as the standard says or signed as some write.

    Adler-32 holds the sum of bytes modulo 65521: one C call for the usual case.
    """
    field = block[148:156]
    try:
        want = int(field[:6], 8) if field[6:] == b"\0 " else number(field)
    except (Invalid, ValueError):
        return False
    sum_of_others = want - 256 + sum(field)
    if (1 + sum_of_others) % 65521 == zlib.adler32(block) & 0xFFFF:
        return True
    signed = sum(each - 256 if each > 127 else each for each in block[:148] + block[156:])
    return signed + 256 == want


def entries(source: Source, *, marked: bool = False) -> Iterator[Entry]:
    """The members of an archive. ``Invalid``: not a tar, a damaged header, or cut short.

    An archive may end without its mark of zero blocks, as for Go's reader, unless ``marked``.
    The caller may read payloads between steps; a forward-only source is skipped past them.
    """
    position = 0
    pax: dict[bytes, bytes] = {}
    sparse_pairs: list[tuple[int, int]] = []
    long_name: bytes | None = None
    long_link: bytes | None = None
    get = source.get
    while True:
        block = get(position, BLOCK)
        if len(block) < BLOCK:
            if block.strip(b"\0"):
                raise cut_short()
            if pax or long_name is not None or long_link is not None:
                raise cut_short()
            if marked and position and not block:
                raise cut_short()
            return
        if block == _ZERO:
            return
        if not checksum_right(block):
            raise bad_header()
        kind = block[156:157]
        if kind in b"xgLK":
            size = number(block[124:136])
            if not 0 <= size <= _EXTENSION_LIMIT:
                raise bad_header()
            payload = get(position + BLOCK, size)
            if len(payload) < size:
                raise cut_short()
            position += BLOCK + (size + 511 & ~511)
            if kind == b"x":
                sparse_pairs = []
                pax = parse_pax(payload, sparse_pairs)
            elif kind == b"L":
                long_name = cut(payload)
            elif kind == b"K":
                long_link = cut(payload)
            continue
        entry = read_entry(block, position)
        if long_name is not None:
            entry.name = long_name
        if long_link is not None:
            entry.link = long_link
        if pax:
            apply_pax(entry, pax)
        _check(entry)
        following = entry.data + (entry.stored + 511 & ~511)
        if block[156:157] == b"S":
            following = _old_gnu_sparse(entry, block, source)
        elif pax:
            _pax_sparse(entry, pax, sparse_pairs, source)
        pax, sparse_pairs, long_name, long_link = {}, [], None, None
        yield entry
        position = following


def read_entry(block: bytes, position: int) -> Entry:
    """The plain header at ``position``, before extensions."""
    (
        name,
        mode,
        uid,
        gid,
        size,
        mtime,
        _checksum,
        kind,
        link,
        magic,
        _user,
        _group,
        major,
        minor,
        prefix,
    ) = _HEADER.unpack(block)
    entry = Entry()
    entry.name = cut(name)
    if prefix[0] and magic[:6] == b"ustar\0":
        entry.name = cut(prefix) + b"/" + entry.name
    if kind in _REGULAR_ALIASES:
        directory = kind == b"\0" and entry.name.endswith(b"/")
        kind = DIRECTORY if directory else REGULAR
    entry.kind = kind
    try:
        entry.mode, entry.uid, entry.gid, entry.size, seconds = _plain_numbers(block)
    except ValueError:
        entry.mode, entry.uid, entry.gid = number(mode) & 0o7777, number(uid), number(gid)
        entry.size, seconds = number(size), number(mtime)
    entry.mtime = seconds * 1_000_000_000
    entry.stored = entry.size
    entry.data = position + BLOCK
    entry.link = cut(link)
    if kind in (CHAR, BLOCKDEV):
        entry.major, entry.minor = number(major), number(minor)
    else:
        entry.major = entry.minor = 0
    entry.xattrs = None
    entry.sparse = None
    return entry


def _plain_numbers(block: bytes) -> tuple[int, int, int, int, int]:
    """mode, uid, gid, size and mtime as nearly every archive has them: octal digits and an end.

    ``ValueError``: this one has them in another way.
    """
    mode, end, uid, end1, gid, end2, size, end3, mtime, end4 = _NUMBERS.unpack_from(block)
    if (end | end1 | end2 | end3 | end4) & _END_BITS:
        raise ValueError
    return int(mode, 8) & 0o7777, int(uid, 8), int(gid, 8), int(size, 8), int(mtime, 8)


def _check(entry: Entry) -> None:
    """Numbers in range; members other than files have no payload (whatever their size says)."""
    if entry.kind not in _KNOWN or not 0 <= entry.size <= _SIZE_LIMIT:
        raise bad_header()
    if entry.kind != REGULAR:
        entry.size = entry.stored = 0
    if not (0 <= entry.uid <= 0xFFFFFFFE and 0 <= entry.gid <= 0xFFFFFFFE):
        raise bad_header()
    if not (0 <= entry.major <= 0xFFFFFFFF and 0 <= entry.minor <= 0xFFFFFFFF):
        raise bad_header()
    if abs(entry.mtime) > _TIME_LIMIT:
        raise bad_header()
    _check_name(entry.name)
    if b"\0" in entry.link or any(b"\0" in name for name in entry.xattrs or ()):
        raise bad_header()


def _check_name(name: bytes) -> None:
    if b"\0" in name or not name:
        raise bad_header()


def parse_pax(payload: bytes, sparse_pairs: list[tuple[int, int]]) -> dict[bytes, bytes]:
    """Records ``LENGTH KEY=VALUE\\n``; the repeated keys of sparse format 0.0 go to the list."""
    records: dict[bytes, bytes] = {}
    position = 0
    offset = 0
    while position < len(payload):
        space = payload.find(b" ", position, position + 20)
        if space < 0:
            raise bad_header()
        try:
            length = int(payload[position:space])
        except ValueError:
            raise bad_header() from None
        end = position + length
        if end > len(payload) or end <= space + 1 or payload[end - 1] != 0x0A:
            raise bad_header()
        key, equals, value = payload[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise bad_header()
        if key == b"GNU.sparse.offset":
            offset = _decimal(value)
        elif key == b"GNU.sparse.numbytes":
            sparse_pairs.append((offset, _decimal(value)))
        else:
            records[key] = value
        position = end
    return records


def _decimal(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise bad_header() from None


def nanoseconds(text: bytes) -> int:
    """PAX time, ``SECONDS[.FRACTION]``, exact."""
    whole, _, fraction = text.partition(b".")
    negative = whole.startswith(b"-")
    seconds = _decimal(whole or b"0")
    nanos = _decimal((fraction + b"000000000")[:9]) if fraction else 0
    return seconds * 1_000_000_000 + (-nanos if negative else nanos)


def apply_pax(entry: Entry, pax: dict[bytes, bytes]) -> None:
    """Let extended records replace header fields; an empty value means the header's own."""
    for key, value in pax.items():
        if key == b"path":
            entry.name = value or entry.name
        elif key == b"linkpath":
            entry.link = value or entry.link
        elif key == b"size":
            entry.size = entry.stored = _decimal(value)
        elif key == b"uid":
            entry.uid = _decimal(value)
        elif key == b"gid":
            entry.gid = _decimal(value)
        elif key == b"mtime":
            entry.mtime = nanoseconds(value)
        elif key.startswith(b"SCHILY.xattr."):
            if entry.xattrs is None:
                entry.xattrs = {}
            entry.xattrs[key[13:]] = value


def _old_gnu_sparse(entry: Entry, block: bytes, source: Source) -> int:
    """Type ``S``: the map is in the header and in blocks after it. Returns where the next is."""
    pairs = [_pair(block, 386 + 24 * index) for index in range(4)]
    extended = block[482]
    entry.size = number(block[483:495])
    while extended:
        more = source.get(entry.data, BLOCK)
        if len(more) < BLOCK:
            raise cut_short()
        entry.data += BLOCK
        pairs += [_pair(more, 24 * index) for index in range(21)]
        extended = more[504]
        if len(pairs) > _EXTENSION_LIMIT:
            raise bad_header()
    entry.sparse = _valid_map([pair for pair in pairs if pair is not None], entry)
    return entry.data + (entry.stored + 511 & ~511)


def _pair(block: bytes, at: int) -> tuple[int, int] | None:
    if block[at] == 0:
        return None
    return number(block[at : at + 12]), number(block[at + 12 : at + 24])


def _pax_sparse(
    entry: Entry, pax: dict[bytes, bytes], pairs: list[tuple[int, int]], source: Source
) -> None:
    """GNU sparse formats 0.0 (repeated keys), 0.1 (``GNU.sparse.map``) and 1.0 (map in data)."""
    if entry.kind != REGULAR:
        return
    if name := pax.get(b"GNU.sparse.name"):
        _check_name(name)
        entry.name = name
    if pax.get(b"GNU.sparse.major") == b"1" and pax.get(b"GNU.sparse.minor") == b"0":
        entry.size = _decimal(pax.get(b"GNU.sparse.realsize", b""))
        entry.sparse = _valid_map(_map_in_data(entry, source), entry)
        return
    if text := pax.get(b"GNU.sparse.map"):
        numbers = [_decimal(each) for each in text.split(b",")]
        if len(numbers) % 2:
            raise bad_header()
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if pairs or b"GNU.sparse.size" in pax:
        entry.size = _decimal(pax.get(b"GNU.sparse.size", b""))
        entry.sparse = _valid_map(pairs, entry)


def _map_in_data(entry: Entry, source: Source) -> list[tuple[int, int]]:
    """The decimal lines at the payload's start; ``data`` and ``stored`` move past them."""
    text = b""
    count = -1
    while True:
        if len(text) >= entry.stored or len(text) > _EXTENSION_LIMIT:
            raise bad_header()
        more = source.get(entry.data + len(text), BLOCK)
        if len(more) < BLOCK:
            raise cut_short()
        text += more
        lines = text.count(b"\n")
        if count < 0 and lines:
            count = _decimal(text.split(b"\n", 1)[0])
        if count >= 0 and lines > 2 * count:
            break
    numbers = [_decimal(line) for line in text.split(b"\n")[1 : 2 * count + 1]]
    entry.data += len(text)
    entry.stored -= len(text)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _valid_map(pairs: list[tuple[int, int]], entry: Entry) -> list[tuple[int, int]]:
    """Pieces in order, not overlapping, inside the file, and as long as what is stored."""
    if not 0 <= entry.size <= _SIZE_LIMIT:
        raise bad_header()
    end = total = 0
    for offset, length in pairs:
        if offset < end or length < 0 or offset + length > entry.size:
            raise bad_header()
        end = offset + length
        total += length
    if total != entry.stored:
        raise bad_header()
    return [pair for pair in pairs if pair[1]]


def clean(name: bytes) -> bytes:
    """A member's path below the root: no leading slash, no ``.``, ``..`` never above the root."""
    if (
        b"/." not in name
        and b"//" not in name
        and not name.startswith((b"/", b"."))
        and not name.endswith(b"/")
    ):
        return name
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if parts:
                parts.pop()
        else:
            parts.append(part)
    return b"/".join(parts)
