"""What the kernel tells of interfaces that come and go."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from dataclasses import dataclass, field

from wherry.linux import netlink

_LINKS_GROUP = 1
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_LOAD_HALF, _LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x28, 0x30, 0x15, 0x06
_TYPE_AT, _FAMILY_AT, _BODY_AT = 4, 16, 32
"""Of a message: its header's type, the family in the ``ifinfomsg`` behind the header, and the
attributes behind both."""


@dataclass
class Words:
    """Names of interfaces that were deleted, that came or changed; and whether words are missing
    because there were too many."""

    gone: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    lost: bool = False

    def add(self, data: bytes) -> None:
        """``data``: messages as they come out of the socket."""
        at = 0
        while at + _BODY_AT <= len(data):
            size, kind = struct.unpack_from("=IH", data, at)
            if size < _BODY_AT:
                return
            values = dict(netlink.attributes(data[at + _BODY_AT : at + size]))
            name = values.get(netlink.IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
            if data[at + _FAMILY_AT] == socket.AF_UNSPEC:
                if kind == netlink.RTM_DELLINK:
                    self.gone.add(name)
                elif kind == netlink.RTM_NEWLINK:
                    self.seen.add(name)
            at += (size + 3) & ~3


class LinkWatch:
    """A socket that has something to read when an interface of this namespace is deleted.

    Every container's start is a dozen words about interfaces; the kernel passes on only those
    about ends, unless ``hear_all``.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self.socket = socket.socket(socket.AF_NETLINK, kind, 0)
        try:
            self._only_ends()
            self.socket.bind((0, 1 << (_LINKS_GROUP - 1)))
        except BaseException:
            self.socket.close()
            raise

    def hear_all(self, wanted: bool) -> None:
        """Whether also interfaces that come and change are told."""
        if wanted:
            self.socket.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
        else:
            self._only_ends()

    def _only_ends(self) -> None:
        # Words about bridges' ports are RTM_DELLINK too, of another family.
        program = b"".join(
            struct.pack("=HBBI", *each)
            for each in (
                (_LOAD_HALF, 0, 0, _TYPE_AT),
                (_JUMP_EQUAL, 0, 3, socket.htons(netlink.RTM_DELLINK)),
                (_LOAD_BYTE, 0, 0, _FAMILY_AT),
                (_JUMP_EQUAL, 0, 1, socket.AF_UNSPEC),
                (_RETURN, 0, 0, 0xFFFFFFFF),
                (_RETURN, 0, 0, 0),
            )
        )
        text = ctypes.create_string_buffer(program)
        pointed = struct.pack("@HP", len(program) // 8, ctypes.addressof(text))
        self.socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, pointed)

    def read(self) -> Words:
        """What was told since the last time."""
        words = Words()
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return words
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                words.lost = True
                continue
            words.add(data)

    def close(self) -> None:
        self.socket.close()
