"""Bridge interfaces on the host: made, kept right, taken away. Blocking; called in threads.

A bridge is marked as ours by its interface alias, ``wherry:<table>:<network id>``: nothing else
is ever deleted. Deleting one takes the kernel 40 ms of waiting under a lock that every other
network change needs, so a bridge that is removed is put aside (down, renamed, without addresses)
in 0.3 ms, and those put aside are deleted together, in one kernel call, once things are quiet.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from wherry.errors import Conflict, Internal
from wherry.linux import netlink, netns
from wherry.linux.netlink import Link, Message, Netlink, NetlinkError

_GONE = (errno.ENODEV, errno.ENOENT)
_NO_PORT = (errno.EINVAL, errno.EOPNOTSUPP)
"""Answers to a port's option where the interface is on no bridge."""


@dataclass(frozen=True)
class BridgeSpec:
    """How a bridge should be. ``addresses``: (address, prefix) of the gateways."""

    device: str
    alias: str
    group: int = 0
    addresses: Sequence[tuple[str, int]] = ()
    mtu: int = 0
    ipv6: bool = False
    own: bool = True
    """False: the interface is the user's; only its missing addresses are added."""


def alias_of(table: str, network_id: str) -> str:
    return f"wherry:{table}:{network_id}"


def group_of(table: str) -> int:
    """Interface group of the bridges put aside; others' groups are small numbers."""
    return 0x57000000 | int.from_bytes(hashlib.sha256(table.encode()).digest()[:3], "big")


def live_group(table: str) -> int:
    """Interface group of the bridges in use, by which other firewalls may know them."""
    return 0x58000000 | (group_of(table) & 0xFFFFFF)


def port_group(table: str) -> int:
    """Interface group of the host's ends of containers' interfaces."""
    return 0x59000000 | (group_of(table) & 0xFFFFFF)


def mac_for(network_id: str) -> str:
    """Stable, so that neighbours' caches stay right when a bridge is made again."""
    return (b"\x02\x42" + hashlib.sha256(network_id.encode()).digest()[:4]).hex(":")


def ensure(spec: BridgeSpec, network_id: str) -> bool:
    """Make the bridge, or put right what is missing; True if it had to be made.

    Raises ``Conflict`` when the name belongs to an interface that is not ours, or no bridge.
    """
    with Netlink() as kernel:
        made = False
        index = netlink.index_of(spec.device)
        if index is None:
            # One call of the kernel: a kill leaves no bridge without our mark.
            parts = [netlink.add_bridge(spec.device, mac_for(network_id), spec.mtu)]
            if spec.own:
                parts.append(netlink.set_link(spec.device, alias=spec.alias, group=spec.group))
            _run(kernel, parts)
            made = True
            index = netlink.index_of(spec.device)
            if index is None:
                raise Internal(f"bridge {spec.device} vanished while it was made")
            have: set[tuple[str, int]] = set()
        else:
            link = kernel.link(spec.device)
            check_kind(link)
            if link is None or (spec.own and link.alias != spec.alias):
                raise Conflict(f"bridge name {spec.device} is in use by an interface of the host")
            have = {(text, size) for _, text, size in kernel.addresses(index)}
        messages: list[Message] = []
        if spec.own:
            messages.append(
                netlink.set_link(index=index, up=True, alias=spec.alias, group=spec.group)
            )
            netns.write_sysctl(f"ipv6/conf/{spec.device}/disable_ipv6", "0" if spec.ipv6 else "1")
            netns.write_sysctl(f"ipv6/conf/{spec.device}/accept_ra", "0")
        elif made:
            messages.append(netlink.set_link(index=index, up=True))
        messages += [
            netlink.add_address(index, *each) for each in spec.addresses if each not in have
        ]
        _run(kernel, messages)
        return made


def check_kind(link: Link | None) -> None:
    """``Conflict`` where the interface is no bridge: a network never takes one of the host's."""
    if link is not None and link.kind != "bridge":
        raise Conflict(f"existing interface {link.name} is not a bridge")


def others() -> set[str]:
    """Names of the host's interfaces that are no bridges."""
    with Netlink() as kernel:
        return {each.name for each in kernel.links() if each.kind != "bridge"}


def serve_published(device: str, ports: Iterable[str]) -> None:
    """Make the bridge ready for published ports; ``ports``: host's ends of the veths they lead to.

    Ports published on the host's loopback need its addresses to be routed to the bridge; the
    firewall's ``loopback`` chain keeps containers from using that the other way. For a container
    to reach its own, frames must leave by the port that they came from (with br_netfilter).
    What is missing by now is passed over: ``adopt_ports`` and this follow once it is back."""
    netns.write_sysctl(f"ipv4/conf/{device}/route_localnet", "1")
    found = [index for index in map(netlink.index_of, ports) if index is not None]
    with Netlink() as kernel:
        for index in found:
            kernel.run([netlink.set_port(index, hairpin=True)], ignore=(*_GONE, *_NO_PORT))


def answer_for_neighbours(device: str) -> None:
    """Containers on isolated ports reach those that they may through the host, which answers
    their ARP for each other; what passes is the firewall's matter."""
    netns.write_sysctl(f"ipv4/conf/{device}/proxy_arp_pvlan", "1")
    netns.write_sysctl(f"ipv4/neigh/{device}/proxy_delay", "0")


def enable_forwarding(*, ipv6: bool) -> None:
    """Let the host route: containers' packets pass through it."""
    families = ("ipv4/ip_forward", "ipv6/conf/all/forwarding") if ipv6 else ("ipv4/ip_forward",)
    for name in families:
        if netns.read_sysctl(name) == "0":
            netns.write_sysctl(name, "1")


def has_ipv6() -> bool:
    """Whether the host has any IPv6 address."""
    try:
        with open("/proc/thread-self/net/if_inet6") as file:
            return bool(file.read(1))
    except OSError:
        return False


def find(device: str) -> Link | None:
    """The interface of that name, or None."""
    with Netlink() as kernel:
        return kernel.link(device)


def addresses_of(index: int) -> list[tuple[str, int]]:
    """(address, prefix) of an interface."""
    with Netlink() as kernel:
        return [(text, size) for _, text, size in kernel.addresses(index)]


def delete_owned(device: str, alias: str) -> None:
    """Delete the interface if it carries our mark."""
    link = find(device)
    if link is not None and link.alias == alias:
        with Netlink() as kernel:
            kernel.run([netlink.delete_link(device)], ignore=_GONE)


def hand_over(device: str, alias: str, heir: str) -> None:
    """The interface that carries our mark ``alias`` carries ``heir`` from now on."""
    link = find(device)
    if link is not None and link.alias == alias:
        with Netlink() as kernel:
            kernel.run([netlink.set_link(index=link.index, alias=heir)], ignore=_GONE)


def put_aside(device: str, table: str, alias: str) -> bool:
    """Take the bridge out of use at once; it is deleted by ``sweep``.

    False: it is gone, or it is not ours (then it stays as it is)."""
    index = netlink.index_of(device)
    if index is None or read_alias(device) != alias:
        return False
    spare = f"wd{os.urandom(5).hex()}"
    with Netlink() as kernel, contextlib.suppress(NetlinkError):
        link = Message(
            netlink.RTM_NEWLINK,
            0,
            netlink.link_header(index, up=False)
            + netlink.attribute(netlink.IFLA_GROUP, group_of(table)),
            f"put {device} aside",
        )
        name = Message(
            netlink.RTM_NEWLINK,
            0,
            netlink.link_header(index) + netlink.attribute(netlink.IFLA_IFNAME, spare),
            f"rename {device}",
        )
        kernel.run([link, name], ignore=_GONE)
    return True


def read_alias(device: str) -> str:
    """The interface's alias; empty where there is none."""
    link = find(device)
    return link.alias if link else ""


def sweep(table: str, links: Iterable[str] = ()) -> None:
    """Delete every bridge put aside, all in one kernel call, and ``links`` that still exist."""
    body = netlink.link_header() + netlink.attribute(netlink.IFLA_GROUP, group_of(table))
    with Netlink() as kernel:
        for each in links:
            kernel.run([netlink.delete_link(each)], ignore=_GONE)
        kernel.run([Message(netlink.RTM_DELLINK, 0, body, "sweep")], ignore=_GONE)


def strays(table: str, keep: Iterable[str], ports: Container[str]) -> list[Link]:
    """Our interfaces on this host that nobody knows: bridges whose network ids are not among
    ``keep``, and ends of veths whose names are not among ``ports``."""
    wanted = {alias_of(table, each) for each in keep}
    start = f"wherry:{table}:"
    with Netlink() as kernel:
        return [
            each
            for each in kernel.links()
            if (each.alias.startswith(start) and each.alias not in wanted)
            or (each.group == port_group(table) and each.name not in ports)
        ]


def adopt_ports(device: str, names: Container[str], *, isolated: bool) -> None:
    """Put the host's ends of veths back on a bridge made again, with the option they had."""
    index = netlink.index_of(device)
    if index is None:
        return
    with Netlink() as kernel:
        for each in kernel.links():
            if each.name not in names:
                continue
            header = netlink.link_header(each.index, up=True)
            master = netlink.attribute(netlink.IFLA_MASTER, index)
            label = f"put {each.name} on {device}"
            messages = []
            if each.master != index:
                messages.append(Message(netlink.RTM_NEWLINK, 0, header + master, label))
            if isolated:
                messages.append(netlink.set_port(each.index, isolated=True))
            _run(kernel, messages)


def host_networks() -> list[tuple[str, int, str]]:
    """(destination, prefix, interface) of what the host routes, default routes left out."""
    with Netlink() as kernel:
        names = {each.index: each.name for each in kernel.links()}
        return [(text, size, names.get(out, "")) for text, size, out in kernel.routes() if size]


def _run(kernel: Netlink, messages: Sequence[Message]) -> None:
    try:
        kernel.run(messages)
    except NetlinkError as error:
        raise Internal(f"the kernel refused: {error.strerror}") from error
