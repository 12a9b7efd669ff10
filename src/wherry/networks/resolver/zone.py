"""Who is who: the answers that the resolver gives by itself. Pure.

Rules as Docker's: a container sees the names of the networks it is in, its own links first; a
name that exists with another address family is an empty answer, not an unknown name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dnslib import AAAA, PTR, QTYPE, RCODE, RR, A, DNSHeader, DNSRecord

TTL = 600


@dataclass
class Member:
    """One container in one network."""

    container_id: str
    names: list[str]
    ipv4: str
    ipv6: str
    network: str
    """The network's name."""


@dataclass
class Client:
    """A container that asks."""

    container_id: str
    networks: list[str]
    links: dict[str, str] = field(default_factory=dict)
    servers: list[str] = field(default_factory=list)
    forward: bool = True


class Zone:
    """All names, by network. ``version`` grows with every change."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.version = 0
        self._members: dict[str, dict[str, Member]] = {}
        self._names: dict[str, dict[str, list[Member]]] = {}
        self._addresses: dict[str, dict[str, Member]] = {}

    def put(self, container_id: str, view: dict[str, Any]) -> None:
        """``view``: networks, links, servers, forward, as the daemon sends them."""
        touched = self._take_out(container_id)
        networks = dict(view.get("networks") or {})
        for network_id, (names, ipv4, ipv6, title) in networks.items():
            member = Member(container_id, [each.lower() for each in names], ipv4, ipv6, title)
            self._members.setdefault(network_id, {})[container_id] = member
        self.clients[container_id] = Client(
            container_id,
            list(networks),
            {key.lower(): value.lower() for key, value in (view.get("links") or {}).items()},
            list(view.get("servers") or ()),
            bool(view.get("forward", True)),
        )
        self._index({*touched, *networks})

    def drop(self, container_id: str) -> None:
        touched = self._take_out(container_id)
        self.clients.pop(container_id, None)
        self._index(touched)

    def _take_out(self, container_id: str) -> list[str]:
        found = [key for key, members in self._members.items() if container_id in members]
        for key in found:
            del self._members[key][container_id]
            if not self._members[key]:
                del self._members[key]
        return found

    def _index(self, networks: Iterable[str]) -> None:
        self.version += 1
        for key in networks:
            names: dict[str, list[Member]] = {}
            addresses: dict[str, Member] = {}
            for member in self._members.get(key, {}).values():
                for name in member.names:
                    for each in (name, f"{name}.{member.network.lower()}"):
                        names.setdefault(each, []).append(member)
                for address in (member.ipv4, member.ipv6):
                    if address:
                        addresses[address] = member
            if names or addresses:
                self._names[key], self._addresses[key] = names, addresses
            else:
                self._names.pop(key, None)
                self._addresses.pop(key, None)

    def lookup(self, client: Client, name: str) -> list[Member] | None:
        """Members of that name in the client's networks; None when nobody is called so."""
        wanted = client.links.get(name, name)
        found: list[Member] = []
        for key in client.networks:
            found += self._names.get(key, {}).get(wanted, ())
        return found or None

    def reverse(self, client: Client, address: str) -> str | None:
        """``name.network`` of an address in the client's networks."""
        for key in client.networks:
            member = self._addresses.get(key, {}).get(address)
            if member is not None and member.names:
                return f"{member.names[0]}.{member.network}"
        return None

    def answer(self, client: Client, query: DNSRecord) -> DNSRecord | None:
        """The reply to a query that is ours to answer; None: ask somebody else."""
        question = query.q
        name = str(question.qname).rstrip(".").lower()
        kind = question.qtype
        if kind == QTYPE.PTR:
            address = reverse_address(name)
            host = self.reverse(client, address) if address else None
            if host is None:
                return None
            reply = _reply(query)
            reply.add_answer(RR(question.qname, QTYPE.PTR, rdata=PTR(f"{host}."), ttl=TTL))
            return reply
        members = self.lookup(client, name)
        if members is None:
            return None
        reply = _reply(query)
        for member in members:
            if kind == QTYPE.A and member.ipv4:
                reply.add_answer(RR(question.qname, QTYPE.A, rdata=A(member.ipv4), ttl=TTL))
            elif kind == QTYPE.AAAA and member.ipv6:
                reply.add_answer(RR(question.qname, QTYPE.AAAA, rdata=AAAA(member.ipv6), ttl=TTL))
        return reply


def _reply(query: DNSRecord) -> DNSRecord:
    header = DNSHeader(id=query.header.id, qr=1, aa=0, ra=1, rd=query.header.rd)
    return DNSRecord(header, q=query.q)


def failure(query: DNSRecord, code: str = "SERVFAIL") -> DNSRecord:
    """A reply without answer: SERVFAIL, FORMERR, NOTIMP."""
    reply = _reply(query)
    reply.header.rcode = getattr(RCODE, code)
    return reply


def reverse_address(name: str) -> str | None:
    """The address that a name under in-addr.arpa or ip6.arpa stands for."""
    if name.endswith(".in-addr.arpa"):
        parts = name.removesuffix(".in-addr.arpa").split(".")[::-1]
        text = ".".join(parts)
    elif name.endswith(".ip6.arpa"):
        digits = "".join(name.removesuffix(".ip6.arpa").split(".")[::-1])
        text = ":".join(digits[at : at + 4] for at in range(0, len(digits), 4))
    else:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
