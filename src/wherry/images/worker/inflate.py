"""Streams in any usual compression, told by their first bytes as Docker tells them."""

from __future__ import annotations

import bz2
import lzma
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any, cast

from wherry.errors import Invalid
from wherry.images.worker.sink import CHUNK

Read = Callable[[int], bytes]
"""Up to N bytes, ``b""`` at the end."""

_ZSTD_STEP = 8192
MAGICS = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)


def compression(head: bytes) -> str:
    """Name of the compression of a stream that starts with ``head``; "" for none."""
    for magic, name in MAGICS:
        if head.startswith(magic):
            return name
    if len(head) >= 8 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        return "zstd"
    return ""


def _gzip_bytes(chunks: Iterator[bytes]) -> Iterator[bytes]:
    from isal import igzip_lib

    def member() -> Any:
        return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP, hist_bits=15)

    return _members(chunks, member, gzip=True)


def _members(
    chunks: Iterator[bytes], member: Callable[[], Any], *, gzip: bool = False
) -> Iterator[bytes]:
    """Concatenated compressed members, as the tools accept them; padding after gzip is ignored."""
    current = member()
    fresh = True
    for chunk in chunks:
        data = chunk
        while data or not getattr(current, "needs_input", True):
            if fresh and gzip and not data.strip(b"\0"):
                break
            fresh = False
            yield current.decompress(data, 4 * CHUNK)
            data = b""
            if current.eof:
                data = current.unused_data
                current = member()
                fresh = True
    if not fresh:
        raise EOFError


def _zstd_bytes(chunks: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)

    current = reader.decompressobj()
    fresh = True
    for chunk in chunks:
        # Small inputs bound the output of one call, which zstandard has no limit for: four bytes
        # may stand for 128 KiB.
        for start in range(0, len(chunk), _ZSTD_STEP):
            data = chunk[start : start + _ZSTD_STEP]
            while data:
                fresh = False
                yield current.decompress(data)
                data = b""
                if current.eof:
                    data = current.unused_data
                    current = reader.decompressobj()
                    fresh = True
    if not fresh:
        raise EOFError


def _chunks(head: bytes, read: Read) -> Iterator[bytes]:
    if head:
        yield head
    while data := read(CHUNK):
        yield data


def inflated(read: Read) -> tuple[str, Iterator[bytes]]:
    """The compression's name and the plain stream.

    The iterator raises ``Invalid`` for damaged or cut data, in words like Docker's.
    """
    head = b""
    while len(head) < 8 and (more := read(CHUNK)):
        head += more
    name = compression(head)
    chunks = _chunks(head, read)
    if name == "gzip":
        chunks = _gzip_bytes(chunks)
    elif name == "bzip2":
        chunks = _members(chunks, bz2.BZ2Decompressor)
    elif name == "xz":
        chunks = _members(chunks, lambda: lzma.LZMADecompressor(memlimit=256 << 20))
    elif name == "zstd":
        chunks = _zstd_bytes(chunks)
    return name, _translated(name, chunks) if name else chunks


def _translated(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard
    from isal import isal_zlib

    kinds: tuple[type[Exception], ...] = (
        OSError,
        zlib.error,
        cast("type[Exception]", isal_zlib.error),
        lzma.LZMAError,
        zstandard.ZstdError,
        ValueError,
    )
    while True:
        try:
            data = next(chunks)
        except StopIteration:
            return
        except EOFError:
            raise Invalid("unexpected EOF") from None
        except kinds as error:
            raise Invalid(f"{name}: invalid data: {error}") from error
        yield data


class Ahead:
    """Runs an iterator in a thread, a few chunks ahead of its consumer."""

    def __init__(self, chunks: Iterator[bytes], depth: int = 6) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=depth)
        self._thread = threading.Thread(
            target=self._run, args=(chunks,), daemon=True, name="inflate"
        )
        self._thread.start()

    def _run(self, chunks: Iterator[bytes]) -> None:
        try:
            for chunk in chunks:
                if chunk:
                    self._queue.put(chunk)
        except BaseException as error:
            self._queue.put(error)
        else:
            self._queue.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
