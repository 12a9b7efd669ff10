"""The firewall as text: fixed rules over sets and maps, and their elements. Pure.

Everything that changes while the daemon works is an element: a network is a handful of them, a
run of published ports is one, however long. So a change is a few ``add element``/``delete
element`` lines in one transaction and costs the same with one network or a thousand, and a
packet's way through the rules does not grow with their number.

The rules are described in ``docs/guide/networks.md``; the chain ``user`` is never flushed by us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wherry.networks.values import PortMap

USUAL_ROOT = "/var/lib/wherry"
Elements = Mapping[str, Mapping[str, str]]
"""Set or map name -> element's key -> value of the map, "" in a set."""

Linked = tuple[str, str, str, int]
"""Address of a container that links another, that one's, protocol, port."""

_ANY = {4: "0.0.0.0/0", 6: "::/0"}

_DNAT = "inet_proto . inet_service"
_SETS = {
    "bridges": "type ifname",
    "within": "type ifname . ifname",
    "internal": "type ifname",
    "quiet": "type ifname",
    "open4": "type ifname",
    "open6": "type ifname",
    "linked": f"type ipv4_addr . ipv4_addr . {_DNAT}",
    "masquerade4": "type ipv4_addr; flags interval",
    "masquerade6": "type ipv6_addr; flags interval",
    "hairpin4": "type ipv4_addr . ipv4_addr; flags interval",
    "hairpin6": "type ipv6_addr . ipv6_addr; flags interval",
    "served4": f"type ipv4_addr . {_DNAT}; flags interval",
    "served6": f"type ipv6_addr . {_DNAT}; flags interval",
    "routed4": f"type ipv4_addr . {_DNAT}; flags interval",
    "routed6": f"type ipv6_addr . {_DNAT}; flags interval",
}
_MAPS = {
    "same4": f"type ipv4_addr . {_DNAT} : ipv4_addr; flags interval",
    "same6": f"type ipv6_addr . {_DNAT} : ipv6_addr; flags interval",
    "moved4": f"type ipv4_addr . {_DNAT} : ipv4_addr . inet_service; flags interval",
    "moved6": f"type ipv6_addr . {_DNAT} : ipv6_addr . inet_service; flags interval",
}
_PORTS = "meta l4proto { tcp, udp, sctp }"
_CHAINS = {
    "loopback": (
        "type filter hook prerouting priority raw; policy accept;",
        # Bridges may route 127/8 so that ports published on it work; containers may not.
        ("iifname @bridges ip daddr 127.0.0.0/8 drop",),
    ),
    "publish": (
        "",
        (
            f"{_PORTS} dnat ip to ip daddr . meta l4proto . th dport map @same4",
            f"{_PORTS} dnat ip addr . port to ip daddr . meta l4proto . th dport map @moved4",
            f"{_PORTS} dnat ip6 to ip6 daddr . meta l4proto . th dport map @same6",
            f"{_PORTS} dnat ip6 addr . port to ip6 daddr . meta l4proto . th dport map @moved6",
        ),
    ),
    "incoming": (
        "type nat hook prerouting priority dstnat; policy accept;",
        (
            # A port published on loopback is for this host alone, whatever a neighbour sends.
            "ip daddr 127.0.0.0/8 return",
            "ip6 daddr ::1 return",
            # Translated packets between two ports of one bridge may never leave it
            # (br_netfilter), and isolated ports get none of each other's.
            f"{_PORTS} iifname @quiet ip daddr . meta l4proto . th dport @served4 return",
            f"{_PORTS} iifname @quiet ip6 daddr . meta l4proto . th dport @served6 return",
            "fib daddr type local jump publish",
        ),
    ),
    "outgoing": (
        "type nat hook output priority -100; policy accept;",
        (
            # The kernel takes no answer to ::1 from elsewhere: the forwarder listens there.
            "ip6 daddr ::1 return",
            "fib daddr type local jump publish",
        ),
    ),
    "leaving": (
        "type nat hook postrouting priority srcnat; policy accept;",
        (
            # From the host's loopback to a container, and back to the network it came from:
            # the answer must come through here again.
            "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
            "ct status dnat ip saddr . ip daddr @hairpin4 masquerade",
            "ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade",
            "ip saddr @masquerade4 oifname != @bridges masquerade",
            "ip6 saddr @masquerade6 oifname != @bridges masquerade",
        ),
    ),
    "same_network": (
        "",
        (
            "ct status dnat accept",
            "ip saddr . ip daddr . meta l4proto . th dport @linked accept",
            "iifname @quiet drop",
            "accept",
        ),
    ),
    "forward": (
        "type filter hook forward priority filter; policy accept;",
        (
            "jump user",
            "ct state established,related accept",
            "iifname != @bridges oifname != @bridges accept",
            "iifname . oifname @within goto same_network",
            "iifname @internal drop",
            "oifname @internal drop",
            "ct status dnat oifname @bridges accept",
            "meta nfproto ipv4 oifname @open4 accept",
            "meta nfproto ipv6 oifname @open6 accept",
            "ip daddr . meta l4proto . th dport @routed4 accept",
            "ip6 daddr . meta l4proto . th dport @routed6 accept",
            "oifname @bridges drop",
        ),
    ),
}


@dataclass(frozen=True)
class BridgeRules:
    """What the firewall must know of one bridge network."""

    device: str
    subnets: tuple[str, ...]
    internal: bool = False
    icc: bool = True
    masquerade: tuple[int, ...] = (4, 6)
    """Families whose outgoing packets get the host's address."""
    open: tuple[int, ...] = ()
    """Families in which containers can be reached directly (nat-unprotected)."""


@dataclass(frozen=True)
class Published:
    """A run of ports that leads to a container's address."""

    ports: PortMap
    address: str
    routed: bool = False
    """No translation: the container's own address is reached, on this port only."""
    served: bool = False
    """The forwarder has sockets for them, for whom translation leads nowhere."""


def table_name(data_root: str) -> str:
    """``wherry`` for the usual data root; others get a name of their own beside it."""
    if data_root == USUAL_ROOT:
        return "wherry"
    return "wherry_" + hashlib.sha256(data_root.encode()).hexdigest()[:8]


def elements(
    bridges: Iterable[BridgeRules],
    published: Iterable[Published],
    linked: Iterable[Linked] = (),
) -> dict[str, dict[str, str]]:
    """The contents of every set and map."""
    found: dict[str, dict[str, str]] = {name: {} for name in (*_SETS, *_MAPS)}
    for bridge in bridges:
        name = f'"{bridge.device}"'
        found["bridges"][name] = ""
        found["within"][f"{name} . {name}"] = ""
        if bridge.internal:
            found["internal"][name] = ""
        if not bridge.icc:
            found["quiet"][name] = ""
        for family in bridge.open:
            found[f"open{family}"][name] = ""
        for subnet in bridge.subnets:
            family = 6 if ":" in subnet else 4
            if family in bridge.masquerade and not bridge.internal:
                found[f"masquerade{family}"][subnet] = ""
            found[f"hairpin{family}"][f"{subnet} . {subnet}"] = ""
    for each in published:
        _publish(found, each)
    for parent, child, protocol, port in linked:
        found["linked"][f"{parent} . {child} . {protocol} . {port}"] = ""
    return found


def _publish(found: dict[str, dict[str, str]], each: Published) -> None:
    run = each.ports
    family = 6 if ":" in each.address else 4
    if each.routed:
        last = run.target + run.count - 1
        ports = f"{run.target}-{last}" if run.count > 1 else f"{run.target}"
        found[f"routed{family}"][f"{each.address} . {run.protocol} . {ports}"] = ""
        return
    host = _ANY[family] if run.host_ip in ("0.0.0.0", "::") else run.host_ip
    ports = f"{run.first}-{run.last}" if run.count > 1 else f"{run.first}"
    if each.served:
        found[f"served{family}"][f"{host} . {run.protocol} . {ports}"] = ""
    if run.first == run.target:
        found[f"same{family}"][f"{host} . {run.protocol} . {ports}"] = each.address
        return
    moved = found[f"moved{family}"]
    for step in range(run.count):
        key = f"{host} . {run.protocol} . {run.first + step}"
        moved[key] = f"{each.address} . {run.target + step}"


def skeleton(table: str, *, host_rules: bool = False) -> str:
    """The table with its chains, sets and rules; applying it again changes nothing.

    ``host_rules``: what comes from elsewhere is not translated, so that it goes through the
    host's INPUT rules to the forwarder's sockets; only the host itself is led straight on."""
    chains = {name: rules for name, (_, rules) in _CHAINS.items()}
    if host_rules:
        chains["incoming"] = ()
    lines = [f"table inet {table} {{"]
    lines += [f"  set {name} {{\n    {kind}\n  }}" for name, kind in _SETS.items()]
    lines += [f"  map {name} {{\n    {kind}\n  }}" for name, kind in _MAPS.items()]
    lines.append("  chain user {\n  }")
    for name, (hook, _) in _CHAINS.items():
        lines.append(f"  chain {name} {{\n    {hook}\n  }}")
    lines.append("}")
    lines += [f"flush chain inet {table} {name}" for name in _CHAINS]
    lines += [f"flush set inet {table} {name}" for name in _SETS]
    lines += [f"flush map inet {table} {name}" for name in _MAPS]
    lines.append(f"table inet {table} {{")
    for name, rules in chains.items():
        body = "\n".join(f"    {rule}" for rule in rules)
        lines.append(f"  chain {name} {{\n{body}\n  }}")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _lines(verb: str, table: str, name: str, entries: Mapping[str, str]) -> str:
    body = ", ".join(f"{key} : {value}" if value else key for key, value in entries.items())
    return f"{verb} element inet {table} {name} {{ {body} }}\n"


def rebuild(table: str, wanted: Elements, *, host_rules: bool = False) -> str:
    """One transaction that makes the table exactly so, whatever it was; keeps ``user``."""
    return skeleton(table, host_rules=host_rules) + "".join(
        _lines("add", table, name, entries) for name, entries in wanted.items() if entries
    )


def change(table: str, old: Elements, new: Elements) -> str:
    """One transaction from ``old`` to ``new``; empty when nothing differs."""
    text = ""
    for name in new:
        before, after = old.get(name, {}), new[name]
        gone = {key: value for key, value in before.items() if after.get(key) != value}
        come = {key: value for key, value in after.items() if before.get(key) != value}
        if gone:
            text += _lines("delete", table, name, gone)
        if come:
            text += _lines("add", table, name, come)
    return text


def has_rules(listed: str) -> bool:
    """Whether nft's listing of one chain without hook shows any rule."""
    lines = [each.strip() for each in listed.splitlines()]
    inside = lines[2:-2]
    return any(inside)


def remove(table: str) -> str:
    """Takes the table away, and with it everything in it."""
    return f"table inet {table} {{\n}}\ndelete table inet {table}\n"
