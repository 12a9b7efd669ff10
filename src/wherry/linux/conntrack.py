"""Connection tracking: forget flows to an address or a port that has changed its meaning.

UDP has no end of a connection: a flow that keeps sending would be led to a container that is gone
for as long as it sends. ctnetlink, ``include/uapi/linux/netfilter/nfnetlink_conntrack.h``.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wherry.linux.netlink import attribute, attributes

_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_DONE, _ERROR = 3, 2
_ORIGINAL, _REPLY = 1, 2
_NESTED = 0x8000
UDP = 17


@dataclass(frozen=True)
class Flow:
    """One tracked flow: where it was sent, and who answers (ports as numbers)."""

    family: int
    protocol: int
    destination: str
    port: int
    answerer: str
    answer_port: int
    tuple: bytes
    """The original tuple as the kernel wrote it, to name the flow by."""


def _tuple(data: bytes) -> dict[str, object]:
    found: dict[str, object] = {}
    for kind, value in attributes(data):
        if kind == 1:
            for inner, raw in attributes(value):
                name = {1: "source", 2: "target", 3: "source", 4: "target"}.get(inner)
                if name:
                    family = socket.AF_INET if inner < 3 else socket.AF_INET6
                    found[name] = socket.inet_ntop(family, raw)
        elif kind == 2:
            for inner, raw in attributes(value):
                if inner == 1:
                    found["protocol"] = raw[0]
                elif inner in (2, 3):
                    found["from" if inner == 2 else "to"] = struct.unpack(">H", raw[:2])[0]
    return found


class Conntrack:
    """A ctnetlink socket of the calling thread's network namespace; close after use."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER
        )
        self._socket.settimeout(5)
        self._socket.bind((0, 0))

    def close(self) -> None:
        self._socket.close()

    def _send(self, kind: int, flags: int, family: int, body: bytes) -> None:
        header = struct.pack("=IHHII", 20 + len(body), kind, flags | _REQUEST, 1, 0)
        self._socket.send(header + struct.pack(">BBH", family, 0, 0) + body)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        while True:
            data = self._socket.recv(1 << 18)
            at = 0
            while at + 16 <= len(data):
                size, kind = struct.unpack_from("=IH", data, at)
                yield kind, data[at + 16 : at + size]
                at += (size + 3) & ~3

    def flows(self, family: int) -> list[Flow]:
        """Every UDP flow of the family."""
        found: list[Flow] = []
        self._send(_GET, _DUMP, family, b"")
        for kind, body in self._answers():
            if kind == _DONE:
                break
            if kind == _ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, "list tracked flows")
            parts = dict(attributes(body[4:]))
            original, reply = _tuple(parts.get(_ORIGINAL, b"")), _tuple(parts.get(_REPLY, b""))
            if original.get("protocol") != UDP:
                continue
            found.append(
                Flow(
                    family,
                    UDP,
                    str(original.get("target", "")),
                    int(str(original.get("to", 0))),
                    str(reply.get("source", "")),
                    int(str(reply.get("from", 0))),
                    parts[_ORIGINAL],
                )
            )
        return found

    def delete(self, flow: Flow) -> None:
        """Forget one flow; no error when it has just ended."""
        body = attribute(_ORIGINAL | _NESTED, flow.tuple)
        self._send(_DELETE, _ACK, flow.family, body)
        for kind, answer in self._answers():
            if kind == _ERROR:
                number = -struct.unpack_from("=i", answer)[0]
                if number not in (0, errno.ENOENT):
                    raise OSError(number, "forget a tracked flow")
                return


def forget_udp(addresses: Iterable[str], ports: Iterable[tuple[int, int]]) -> int:
    """Forget UDP flows that ``addresses`` answer, or that go to one of the host ``ports``
    (first, last). Returns how many; 0 also where the kernel tracks nothing."""
    wanted, runs = set(addresses), list(ports)
    count = 0
    with contextlib.suppress(OSError):
        kernel = Conntrack()
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                for flow in kernel.flows(family):
                    hit = flow.answerer in wanted or any(
                        first <= flow.port <= last for first, last in runs
                    )
                    if hit:
                        kernel.delete(flow)
                        count += 1
        finally:
            kernel.close()
    return count
