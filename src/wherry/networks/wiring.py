"""Interfaces in namespaces: what the drivers ask of the kernel, and namespaces made ahead.

All functions here block for a millisecond or so and are called in threads. The host's side is
the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wherry.errors import Internal, NotFound
from wherry.linux import netlink, netns, nft
from wherry.linux.netlink import Message, Netlink, NetlinkError

RESOLVER = "127.0.0.11"
_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)


@dataclass(frozen=True)
class Interface:
    """One interface to be put into a namespace."""

    kind: str
    """veth, macvlan or ipvlan."""
    parent: str
    """Bridge, or parent interface."""
    name: str
    mac: str
    host_name: str = ""
    group: int = 0
    """Interface group of the host's end, by which what nobody knows any more is found."""
    mode: int = 0
    flags: int = 0
    mtu: int = 0
    isolated: bool = False
    """Other containers cannot be reached through the bridge."""
    addresses: Sequence[tuple[str, int]] = ()
    gateway4: str = ""
    """Default route to be set now; empty: none through this interface."""
    gateway6: str = ""
    direct: Sequence[int] = ()
    """Families whose default route leads straight out of the interface, without a gateway."""


@dataclass
class Namespace:
    """A network namespace held by a descriptor, with the resolver's sockets if it has them."""

    fd: int
    inode: int
    sockets: list[socket.socket] = field(default_factory=list)
    """UDP and TCP of the embedded resolver, until they are handed to it."""

    def close(self) -> None:
        """Let go; the kernel takes everything away once nobody else holds it."""
        for each in self.sockets:
            each.close()
        self.sockets.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def prepare(*, resolver: bool = False) -> Namespace:
    """A new namespace with its loopback up; with ``resolver``, its sockets and their redirect."""
    fd = netns.create()
    space = Namespace(fd, netns.identity(fd))
    try:
        with netns.entered(fd):
            _equip()
            # Docker's defaults: low ports and ping need no privilege inside a container.
            netns.write_sysctl("ipv4/ip_unprivileged_port_start", "0")
            netns.write_sysctl("ipv4/ping_group_range", "0 2147483647")
            if resolver:
                space.sockets = resolver_sockets()
    except BaseException:
        space.close()
        raise
    return space


def equip(space: Namespace) -> None:
    """What interfaces of ours need in a namespace, whoever made it."""
    with netns.entered(space.fd):
        _equip()


def _equip() -> None:
    with Netlink() as kernel:
        kernel.run([netlink.set_link(index=1, up=True)])
    netns.write_sysctl("ipv6/conf/default/disable_ipv6", "1")
    # Addresses are ours to keep apart: no second of waiting for others to object.
    netns.write_sysctl("ipv6/conf/default/accept_dad", "0")


def resolver_sockets() -> list[socket.socket]:
    """Sockets of the embedded resolver in the calling thread's namespace.

    They listen on ports of their own, and a redirect leads port 53 of 127.0.0.11 there: a name
    server inside the container can still have port 53 of every address.
    """
    made: list[socket.socket] = []
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC)
            made.append(sock)
            sock.setblocking(False)
            sock.bind((RESOLVER, 0))
        made[1].listen(64)
        udp, tcp = (each.getsockname()[1] for each in made)
        nft.run(
            "table ip wherry_names {\n}\ndelete table ip wherry_names\n"
            "table ip wherry_names {\n"
            "  chain queries {\n    type nat hook output priority -100; policy accept;\n"
            f"    ip daddr {RESOLVER} udp dport 53 dnat to {RESOLVER}:{udp}\n"
            f"    ip daddr {RESOLVER} tcp dport 53 dnat to {RESOLVER}:{tcp}\n  }}\n}}\n"
        )
    except BaseException:
        for each in made:
            each.close()
        raise
    return made


def listen_inside(space: Namespace) -> list[socket.socket]:
    """``resolver_sockets`` in a namespace that was made without them."""
    with netns.entered(space.fd):
        return resolver_sockets()


def plug(space: Namespace, interfaces: Sequence[Interface]) -> None:
    """Create the interfaces, addresses and default routes. Raises ``NotFound`` when a parent is
    missing, ``Internal`` else; what was created goes with the namespace, or by ``unplug``."""
    if not interfaces:
        return
    with Netlink() as kernel:
        messages = [_outer(space, each) for each in interfaces]
        _run(kernel, messages)
        _run(kernel, [_port(each) for each in interfaces if each.isolated])
    with netns.entered(space.fd), Netlink() as kernel:
        for each in interfaces:
            six = any(":" in address for address, _ in each.addresses)
            netns.write_sysctl(f"ipv6/conf/{each.name}/disable_ipv6", "0" if six else "1")
            if six:
                netns.write_sysctl(f"ipv6/conf/{each.name}/accept_ra", "0")
        _run(kernel, [message for each in interfaces for message in _inner(each)])


def _outer(space: Namespace, each: Interface) -> Message:
    parent = netlink.index_of(each.parent)
    if parent is None:
        raise NotFound(f"network interface {each.parent} is missing")
    if each.kind == "veth":
        return netlink.add_veth(
            each.host_name,
            master=parent,
            peer=each.name,
            peer_mac=each.mac,
            namespace=space.fd,
            mtu=each.mtu,
            group=each.group,
        )
    return netlink.add_child(
        each.kind,
        each.name,
        parent=parent,
        mode=each.mode,
        flags=each.flags,
        mac=each.mac if each.kind == "macvlan" else "",
        mtu=each.mtu,
        namespace=space.fd,
        up=False,
    )


def _port(each: Interface) -> Message:
    return netlink.set_port(_index(each.host_name), isolated=each.isolated)


def _inner(each: Interface) -> list[Message]:
    index = _index(each.name)
    messages = [netlink.set_link(index=index, up=True)]
    messages += [netlink.add_address(index, text, size) for text, size in each.addresses]
    return messages + default_routes(index, each.gateway4, each.gateway6, each.direct)


def _index(name: str) -> int:
    found = netlink.index_of(name)
    if found is None:
        raise Internal(f"network interface {name} vanished")
    return found


def default_routes(
    index: int, gateway4: str, gateway6: str, direct: Sequence[int]
) -> list[Message]:
    """Routes through the gateways there are, and straight out of the interface by family."""
    messages = [
        netlink.add_route(index, gateway=gateway) for gateway in (gateway4, gateway6) if gateway
    ]
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    return messages + [netlink.add_route(index, family=families[each]) for each in direct]


def unplug(space: Namespace, name: str) -> None:
    """Remove an interface from a living namespace; the veth's other end goes with it."""
    with netns.entered(space.fd), Netlink() as kernel, contextlib.suppress(NetlinkError):
        kernel.run([netlink.delete_link(name)], ignore=_GONE)


def reroute(space: Namespace, routes: Sequence[tuple[str, str, str, Sequence[int]]]) -> None:
    """Replace the default routes by those of (interface, gateway4, gateway6, direct)."""
    with netns.entered(space.fd), Netlink() as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(NetlinkError):
                kernel.run([netlink.delete_route(family=family)], ignore=_GONE)
        found = [
            message
            for name, gateway4, gateway6, direct in routes
            for message in default_routes(_index(name), gateway4, gateway6, direct)
        ]
        _run(kernel, found)


def delete_links(names: Iterable[str]) -> None:
    """Remove interfaces of the host's side; those that are gone already are no error."""
    with Netlink() as kernel:
        for name in names:
            kernel.run([netlink.delete_link(name)], ignore=_GONE)


def _run(kernel: Netlink, messages: Sequence[Message]) -> None:
    try:
        kernel.run(messages)
    except NetlinkError as error:
        raise Internal(f"the kernel refused: {error.strerror}") from error
