"""A small rtnetlink: several messages in one system call, nothing imported but ``socket``.

pyroute2 costs 10 MB in the idle daemon and 1-3 ms a call; an endpoint made here is one message
(both ends of the veth created, placed, named and up) and takes about 0.3 ms.

A socket talks for ever to the network namespace in which its thread was when it was opened.
Messages and attributes: Linux ``rtnetlink(7)``, ``include/uapi/linux/if_link.h``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

_REQUEST, _ACK, _ROOT_MATCH, _EXCLUSIVE, _CREATE, _REPLACE = 1, 4, 0x300, 0x200, 0x400, 0x100
_ERROR, _DONE = 2, 3

IFF_UP = 1
IFA_F_NODAD = 2
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_PROTINFO, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_GROUP, IFLA_NET_NS_FD = 12, 18, 20, 27, 28
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_BRPORT_HAIRPIN, IFLA_BRPORT_ISOLATED = 4, 33
NESTED = 0x8000
VETH_INFO_PEER = 1
IFLA_VLAN_ID = 1
IFLA_MACVLAN_MODE = 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IFLA_IPVLAN_MODE = 1
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
IFLA_IPVLAN_FLAGS = 2
IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}

_MAIN_TABLE, _PROTO_BOOT, _SCOPE_UNIVERSE, _SCOPE_LINK, _UNICAST = 254, 3, 0, 253, 1


class NetlinkError(OSError):
    """The kernel refused a message; ``label`` says which."""

    def __init__(self, number: int, label: str) -> None:
        super().__init__(number, f"{label}: {os.strerror(number)}")
        self.label = label


@dataclass(frozen=True)
class Message:
    """One request: its type, flags beyond REQUEST and ACK, and its body."""

    kind: int
    flags: int
    body: bytes
    label: str


@dataclass(frozen=True)
class Link:
    """A network interface as the kernel lists it."""

    index: int
    name: str
    flags: int
    alias: str = ""
    mtu: int = 0
    master: int = 0
    kind: str = ""
    address: str = ""
    group: int = 0

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """One rtattr; ``int`` is written as u32, ``str`` with its end mark."""
    if isinstance(value, int):
        value = struct.pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    size = len(value) + 4
    return struct.pack("=HH", size, kind) + value + b"\0" * (-size % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind without the nested bit, value) of each attribute in ``data``."""
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += (size + 3) & ~3


def link_header(index: int = 0, *, up: bool | None = None, family: int = 0) -> bytes:
    flags, change = (IFF_UP if up else 0), (0 if up is None else IFF_UP)
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


def _new_link(kind: str, name: str, body: bytes, details: bytes = b"") -> Message:
    """``body``: header and attributes but for the name; ``details``: of the kind."""
    info = attribute(IFLA_INFO_KIND, kind)
    if details:
        info += attribute(IFLA_INFO_DATA | NESTED, details)
    body += attribute(IFLA_IFNAME, name) + attribute(IFLA_LINKINFO | NESTED, info)
    return Message(RTM_NEWLINK, _CREATE | _EXCLUSIVE, body, f"create {kind} {name}")


def add_bridge(name: str, mac: str, mtu: int = 0) -> Message:
    body = link_header(up=True) + attribute(IFLA_ADDRESS, mac_bytes(mac))
    if mtu:
        body += attribute(IFLA_MTU, mtu)
    return _new_link("bridge", name, body)


def add_dummy(name: str) -> Message:
    return _new_link("dummy", name, link_header(up=True))


def add_pair(name: str, peer: str) -> Message:
    """A veth pair, both ends here and down."""
    other = link_header() + attribute(IFLA_IFNAME, peer)
    return _new_link("veth", name, link_header(), attribute(VETH_INFO_PEER | NESTED, other))


def add_veth(
    name: str,
    *,
    master: int,
    peer: str,
    peer_mac: str,
    namespace: int,
    mtu: int = 0,
    group: int = 0,
) -> Message:
    """A veth pair: one end up on the bridge ``master``, the other in ``namespace`` (a fd).

    The inner end cannot be created up: veth refuses before both ends know each other.
    """
    size = attribute(IFLA_MTU, mtu) if mtu else b""
    other = link_header() + attribute(IFLA_IFNAME, peer) + size
    other += attribute(IFLA_ADDRESS, mac_bytes(peer_mac)) + attribute(IFLA_NET_NS_FD, namespace)
    body = link_header(up=True) + size + attribute(IFLA_MASTER, master)
    if group:
        body += attribute(IFLA_GROUP, group)
    return _new_link("veth", name, body, attribute(VETH_INFO_PEER | NESTED, other))


def add_child(
    kind: str,
    name: str,
    *,
    parent: int,
    mode: int,
    flags: int = 0,
    mac: str = "",
    mtu: int = 0,
    namespace: int | None = None,
    up: bool = True,
) -> Message:
    """A macvlan, ipvlan (``mode`` of the tables above) or vlan (``mode`` its id) of ``parent``.

    ``flags``: of ipvlan."""
    width = "=H" if kind in ("vlan", "ipvlan") else "=I"
    body = link_header(up=up) + attribute(IFLA_LINK, parent)
    if mac:
        body += attribute(IFLA_ADDRESS, mac_bytes(mac))
    if mtu:
        body += attribute(IFLA_MTU, mtu)
    if namespace is not None:
        body += attribute(IFLA_NET_NS_FD, namespace)
    details = attribute(IFLA_MACVLAN_MODE, struct.pack(width, mode))
    if flags:
        details += attribute(IFLA_IPVLAN_FLAGS, struct.pack("=H", flags))
    return _new_link(kind, name, body, details)


def set_link(
    name: str = "",
    *,
    index: int = 0,
    up: bool | None = None,
    alias: str = "",
    mtu: int = 0,
    group: int = 0,
) -> Message:
    body = link_header(index, up=up)
    if name:
        body += attribute(IFLA_IFNAME, name)
    if alias:
        body += attribute(IFLA_IFALIAS, alias.encode())
    if mtu:
        body += attribute(IFLA_MTU, mtu)
    if group:
        body += attribute(IFLA_GROUP, group)
    return Message(RTM_NEWLINK, 0, body, f"change link {name or index}")


def set_port(index: int, *, isolated: bool = False, hairpin: bool = False) -> Message:
    """Options of a bridge's port: no frames between isolated ones; frames back to the sender."""
    options = b""
    if isolated:
        options += attribute(IFLA_BRPORT_ISOLATED, b"\1")
    if hairpin:
        options += attribute(IFLA_BRPORT_HAIRPIN, b"\1")
    body = link_header(index, family=socket.AF_BRIDGE)
    body += attribute(IFLA_PROTINFO | NESTED, options)
    return Message(RTM_SETLINK, 0, body, f"set bridge port {index}")


def delete_link(name: str) -> Message:
    return Message(
        RTM_DELLINK, 0, link_header() + attribute(IFLA_IFNAME, name), f"delete link {name}"
    )


def _packed(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def add_address(index: int, address: str, prefix: int) -> Message:
    """Address without duplicate detection: our own allocation is what makes it unique."""
    family, raw = _packed(address)
    body = struct.pack("=BBBBI", family, prefix, IFA_F_NODAD, _SCOPE_UNIVERSE, index)
    body += attribute(2, raw) + attribute(1, raw)
    if family == socket.AF_INET and prefix < 31:
        mask = (1 << (32 - prefix)) - 1
        body += attribute(4, struct.pack(">I", int.from_bytes(raw, "big") | mask))
    return Message(RTM_NEWADDR, _CREATE | _REPLACE, body, f"add address {address}/{prefix}")


def _route(family: int, size: int, scope: int) -> bytes:
    return struct.pack(
        "=BBBBBBBBI", family, size, 0, 0, _MAIN_TABLE, _PROTO_BOOT, scope, _UNICAST, 0
    )


def add_route(
    index: int, *, gateway: str = "", family: int = socket.AF_INET, metric: int = 0
) -> Message:
    """The default route through ``gateway`` or, without one, straight out of link ``index``."""
    body = b""
    scope = _SCOPE_UNIVERSE if gateway or family == socket.AF_INET6 else _SCOPE_LINK
    if gateway:
        family, raw = _packed(gateway)
        body = attribute(5, raw)
    body = _route(family, 0, scope) + body + attribute(4, index)
    if metric:
        body += attribute(6, metric)
    label = f"default route through {gateway or index}"
    return Message(RTM_NEWROUTE, _CREATE | _REPLACE, body, label)


def delete_route(*, family: int = socket.AF_INET) -> Message:
    """Remove one default route of the family."""
    return Message(RTM_DELROUTE, 0, _route(family, 0, 255), "delete default route")


class Netlink:
    """A NETLINK_ROUTE socket; for one thread at a time. Use as a context manager or close."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.settimeout(10)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def run(self, messages: Sequence[Message], *, ignore: Iterable[int] = ()) -> None:
        """Send all in one system call; the kernel works them off in order.

        Raises ``NetlinkError`` for the first that failed with an errno not in ``ignore``;
        the later ones have been tried nevertheless.
        """
        if not messages:
            return
        labels = {}
        parts = []
        for each in messages:
            self._sequence += 1
            labels[self._sequence] = each.label
            parts.append(self._header(each, _REQUEST | _ACK) + each.body)
        self._socket.send(b"".join(parts))
        failed: NetlinkError | None = None
        passed = set(ignore)
        while labels:
            for kind, sequence, body in self._receive():
                label = labels.get(sequence)
                if kind != _ERROR or label is None:
                    continue
                del labels[sequence]
                number = -struct.unpack_from("=i", body)[0]
                if number and number not in passed and failed is None:
                    failed = NetlinkError(number, label)
        if failed is not None:
            raise failed

    def _header(self, message: Message, flags: int) -> bytes:
        size = len(message.body) + 16
        return struct.pack("=IHHII", size, message.kind, message.flags | flags, self._sequence, 0)

    def _receive(self) -> list[tuple[int, int, bytes]]:
        data = self._socket.recv(1 << 18)
        found = []
        at = 0
        while at + 16 <= len(data):
            size, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, at)
            found.append((kind, sequence, data[at + 16 : at + size]))
            at += (size + 3) & ~3
        return found

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        message = Message(kind, 0, body, "list")
        self._socket.send(self._header(message, _REQUEST | _ROOT_MATCH) + body)
        while True:
            for got, sequence, each in self._receive():
                if sequence != self._sequence:
                    continue
                if got == _DONE:
                    return
                if got == _ERROR:
                    raise NetlinkError(-struct.unpack_from("=i", each)[0], "list")
                yield each

    def links(self) -> list[Link]:
        return [_parse_link(body) for body in self._dump(RTM_GETLINK, link_header())]

    def link(self, name: str) -> Link | None:
        """One interface by name; None where there is none."""
        self._sequence += 1
        body = link_header() + attribute(IFLA_IFNAME, name)
        self._socket.send(self._header(Message(RTM_GETLINK, 0, body, name), _REQUEST) + body)
        while True:
            for kind, sequence, each in self._receive():
                if sequence != self._sequence:
                    continue
                if kind != _ERROR:
                    return _parse_link(each)
                number = -struct.unpack_from("=i", each)[0]
                if number == errno.ENODEV:
                    return None
                raise NetlinkError(number, f"look at link {name}")

    def addresses(self, index: int = 0) -> list[tuple[int, str, int]]:
        """(interface index, address, prefix) of every address, or of one interface."""
        found = []
        for body in self._dump(RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
            family, prefix, _, _, at = struct.unpack_from("=BBBBI", body)
            if index and at != index:
                continue
            values = dict(attributes(body[8:]))
            raw = values.get(2) or values.get(1)
            if raw is not None and family in (socket.AF_INET, socket.AF_INET6):
                found.append((at, socket.inet_ntop(family, raw), prefix))
        return found

    def routes(self) -> list[tuple[str, int, int]]:
        """(destination, prefix, outgoing interface) of the main table, default routes too."""
        found = []
        for body in self._dump(RTM_GETROUTE, b"\0" * 12):
            family, size, _, _, table, _, _, kind = struct.unpack_from("=BBBBBBBB", body)
            values = dict(attributes(body[12:]))
            if 15 in values:
                table = struct.unpack("=I", values[15])[0]
            if table != _MAIN_TABLE or kind != _UNICAST:
                continue
            if family not in (socket.AF_INET, socket.AF_INET6):
                continue
            width = 4 if family == socket.AF_INET else 16
            raw = values.get(1, b"\0" * width)
            out = struct.unpack("=I", values[4])[0] if 4 in values else 0
            found.append((socket.inet_ntop(family, raw), size, out))
        return found


def _parse_link(body: bytes) -> Link:
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", body)
    values = dict(attributes(body[16:]))
    info = dict(attributes(values.get(IFLA_LINKINFO, b"")))
    return Link(
        index=index,
        name=_text(values.get(IFLA_IFNAME)),
        flags=flags,
        alias=_text(values.get(IFLA_IFALIAS)),
        mtu=_number(values.get(IFLA_MTU)),
        master=_number(values.get(IFLA_MASTER)),
        kind=_text(info.get(IFLA_INFO_KIND)),
        address=values.get(IFLA_ADDRESS, b"").hex(":"),
        group=_number(values.get(IFLA_GROUP)),
    )


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode(errors="replace")


def _number(value: bytes | None) -> int:
    return int(struct.unpack("=I", value)[0]) if value and len(value) == 4 else 0


def index_of(name: str) -> int | None:
    """The interface's index in the calling thread's namespace; None where there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None
