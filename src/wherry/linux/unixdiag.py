"""Whether the other side has accepted a unix connection yet (sock_diag(7))."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_SHOW_PEER = 0x4
_ATTRIBUTE_PEER = 2
_NO_COOKIE = 0xFFFFFFFF
_HEADER = struct.Struct("=LHHLL")
_REQUEST = struct.Struct("=BBHLLLLL")
_MESSAGE_SIZE = 16


def accepted(sock: socket.socket) -> bool | None:
    """True once the listener has taken the connection; None where the kernel does not tell.

    ``connect`` returns when the connection waits in the listener's queue. Until it is taken, the
    socket at its other end belongs to no file and has no inode. One short exchange, about 20 µs.
    """
    with suppress(OSError, struct.error):
        inode = os.fstat(sock.fileno()).st_ino
        request = _REQUEST.pack(
            socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, _SHOW_PEER, _NO_COOKIE, _NO_COOKIE
        )
        head = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        ) as link:
            link.settimeout(1.0)
            link.send(head + request)
            answer = link.recv(8192)
        return _peer(answer)
    return None


def _peer(answer: bytes) -> bool | None:
    """From the answer: whether the peer attribute names an inode."""
    length, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    at = _HEADER.size + _MESSAGE_SIZE
    while at + 4 <= min(length, len(answer)):
        size, name = struct.unpack_from("=HH", answer, at)
        if name == _ATTRIBUTE_PEER and size >= 8:
            return bool(struct.unpack_from("=L", answer, at + 4)[0])
        at += max((size + 3) & ~3, 4)
    return None
