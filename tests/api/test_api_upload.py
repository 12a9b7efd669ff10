"""The framing of a body that is read straight from its socket."""

from __future__ import annotations

import socket

import pytest

from wherry.api.upload import _Straight
from wherry.errors import Invalid


def received(data: bytes) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        body = _Straight(ours.fileno(), b"", -1)
        room = memoryview(bytearray(100))
        found = b""
        while count := body.read_into(room):
            found += room[:count]
        body.close()
    assert body.ended
    return found


def test_chunks() -> None:
    assert (
        received(b"5;x=y\r\nhello\r\n0a\r\n, my world\r\n0\r\nTrailer: x\r\n\r\n")
        == b"hello, my world"
    )


@pytest.mark.parametrize("size", [b"-5", b"+5", b"0x5", b"0_5", b"", b"g", b"1" * 16])
def test_sizes_that_are_none(size: bytes) -> None:
    with pytest.raises(Invalid, match="malformed"):
        received(size + b"\r\nhello\r\n0\r\n\r\n")
