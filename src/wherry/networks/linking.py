"""Links where containers do not reach each other (``icc`` off): which ports are open to whom. Pure
but for the book it reads."""

from __future__ import annotations

from collections.abc import Iterator

from wherry.networks.book import Book
from wherry.networks.portspec import parse_key
from wherry.networks.ruleset import Linked
from wherry.networks.values import Network, Sandbox


def rows(book: Book, bridge: Network) -> set[Linked]:
    """What links in the default network ``bridge`` open, between containers that run."""
    found: set[Linked] = set()
    for sandbox in book.sandboxes.values():
        parent = _address(book, bridge, sandbox) if sandbox.links else ""
        if not parent:
            continue
        for word in sandbox.links:
            child = book.sandboxes.get(word.partition(":")[0])
            address = _address(book, bridge, child) if child else ""
            if child and address:
                found |= {(parent, address, *port) for port in _ports(child)}
    return found


def _address(book: Book, bridge: Network, sandbox: Sandbox) -> str:
    for each in book.endpoints.get(sandbox.container_id, ()):
        if each.network_id == bridge.id:
            return each.ipv4
    return ""


def _ports(sandbox: Sandbox) -> Iterator[tuple[str, int]]:
    for key in sandbox.exposed:
        first, last, protocol = parse_key(key)
        for port in range(first, last + 1):
            yield protocol, port
