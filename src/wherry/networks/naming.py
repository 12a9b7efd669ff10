"""What containers are called and whom they ask: the resolver's view and the host files' lines.

Pure but for the book it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherry.networks.book import Book
from wherry.networks.names import View
from wherry.networks.settings import NetworkSettings
from wherry.networks.values import Endpoint, Sandbox
from wherry.networks.wiring import RESOLVER
from wherry.wire.attachment import NetworkRequest

Lines = list[tuple[str, Sequence[str]]]
"""(address, names) of /etc/hosts."""


def view(book: Book, sandbox: Sandbox) -> View:
    """What the resolver must know of a container."""
    endpoints = book.endpoints.get(sandbox.container_id, ())
    networks = [book.networks[each.network_id] for each in endpoints]
    links: dict[str, str] = {}
    for member in sandbox.memberships:
        for link in member.settings.get("Links") or ():
            target, _, alias = link.partition(":")
            links[alias or target] = target
    return View(
        networks={
            endpoint.network_id: [endpoint.names, endpoint.ipv4, endpoint.ipv6, network.name]
            for endpoint, network in zip(endpoints, networks, strict=True)
            if network.named
        },
        links=links,
        servers=list(sandbox.servers),
        forward=not all(each.internal for each in networks),
    )


def resolving(request: NetworkRequest, daemon: NetworkSettings, named: bool) -> dict[str, Any]:
    """``nameservers``, ``search`` and ``dns_options`` of a ``NetworkAttachment``."""
    host = request.host_config
    search = tuple(host.dns_search or daemon.dns_search)
    options = tuple(host.dns_options or daemon.dns_options)
    if not named:
        return {
            "nameservers": tuple(host.dns or daemon.dns),
            "search": search,
            "dns_options": options,
        }
    if not any(each.startswith("ndots:") for each in options):
        options = (*options, "ndots:0")
    return {"nameservers": (RESOLVER,), "search": search, "dns_options": options}


def host_lines(
    request: NetworkRequest,
    endpoints: Sequence[Endpoint],
) -> Lines:
    """The container's own addresses."""
    names = [request.hostname]
    if request.domainname:
        names.insert(0, f"{request.hostname}.{request.domainname}")
    lines: Lines = []
    for endpoint in endpoints:
        for address in (endpoint.ipv4, endpoint.ipv6):
            if address and request.hostname:
                lines.append((address, names))
    return lines
