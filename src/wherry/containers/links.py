"""Links of the default bridge network (``--link``): another container under names of one's own.

A container keeps its links in ``HostConfig.Links`` as ``ID:ALIAS``. The other one is then also
called ``/PARENT/ALIAS``; the container finds it in its hosts file and in its environment. In
networks of one's own, links are names for the resolver, and nothing of this.
Rules: Docker's "Legacy container links", and what a dockerd 26 answers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from wherry.containers import hostfiles
from wherry.containers.book import Book, Live
from wherry.containers.ports import Networking
from wherry.containers.record import Record, has_links, network_request
from wherry.containers.transitions import counts_as_running
from wherry.errors import Conflict, Internal, Invalid, NotFound
from wherry.networks.portspec import parse_key
from wherry.store.paths import Paths
from wherry.wire.container import HostConfig

_log = logging.getLogger(__name__)
_BRIDGE = "bridge"


def parse(word: str) -> tuple[str, str]:
    """``name[:alias]`` to (name, alias); the alias may be written ``/parent/alias``."""
    ref, colon, alias = word.partition(":")
    alias = alias.rpartition("/")[2]
    if not ref or ":" in alias or (colon and not alias):
        raise Invalid(f"bad format for links: {word}")
    return ref, alias or ref.rpartition("/")[2]


@dataclass(frozen=True)
class Link:
    """``child`` is None once it was removed."""

    parent: str
    child_id: str
    alias: str
    child: Record | None

    @property
    def name(self) -> str:
        """``/web/db``."""
        return f"/{self.parent}/{self.alias}"

    @property
    def target(self) -> str:
        return f"/{self.child.name if self.child else self.child_id[:12]}"

    @property
    def hosts(self) -> list[str]:
        """What the hosts file calls the child."""
        assert self.child is not None
        names = [self.alias, self.child.config.hostname or "", self.child.name]
        return list(dict.fromkeys(each for each in names if each))


class Links:
    def __init__(self, book: Book, paths: Paths, networking: Networking) -> None:
        self._book = book
        self._paths = paths
        self._networking = networking

    def register(self, host: HostConfig) -> HostConfig:
        """At create: names become ids. Raises ``Invalid`` for what cannot be linked."""
        if not has_links(host):
            for word in host.links or ():
                parse(word)
            return host
        found: dict[str, str] = {}
        for word in host.links or ():
            ref, alias = parse(word)
            try:
                child = self._book.get(ref).record
                while (child.host_config.network_mode or "").startswith("container:"):
                    mode = child.host_config.network_mode or ""
                    child = self._book.get(mode.removeprefix("container:")).record
            except NotFound as error:
                raise Invalid(f"could not get container for {ref}: {error.message}") from error
            if child.host_config.network_mode == "host":
                raise Invalid(
                    "conflicting options: host type networking can't be used with links. This "
                    "would result in undefined behavior"
                )
            found.setdefault(alias, child.id)
        links = [f"{child_id}:{alias}" for alias, child_id in found.items()]
        registered: HostConfig = msgspec.structs.replace(host, links=links)
        return registered

    def of(self, record: Record) -> Iterator[Link]:
        """The container's links, in the order in which they were asked for."""
        for alias, child_id in record.links.items():
            live = self._book.find(child_id)
            yield Link(record.name, child_id, alias, live.record if live else None)

    def shown(self, record: Record) -> list[str] | None:
        """``HostConfig.Links`` of inspect."""
        if not has_links(record.host_config):
            return record.host_config.links or None
        return sorted(f"{each.target}:{each.name}" for each in self.of(record)) or None

    def names(self) -> dict[str, list[str]]:
        """Container id -> the names by which others link it."""
        found: dict[str, list[str]] = {}
        for live in self._book:
            for each in self.of(live.record):
                found.setdefault(each.child_id, []).append(each.name)
        return found

    def equip(self, record: Record, *, strict: bool = True) -> Record:
        """The record with its links in the environment, its own variables last.

        Raises ``Internal`` (500, as Docker) when one of the linked containers does not run; it is
        left out when not ``strict``.
        """
        linked: list[str] = []
        for each in self.of(record):
            try:
                linked += environment(each, self._addresses(each)[0])
            except Internal:
                if strict:
                    raise
        if not linked:
            return record
        config = msgspec.structs.replace(record.config, env=[*linked, *(record.config.env or ())])
        equipped: Record = msgspec.structs.replace(record, config=config)
        return equipped

    def lines(self, record: Record) -> list[tuple[str, Sequence[str]]]:
        """(address, names) for the container's hosts file."""
        return [
            (address, each.hosts)
            for each in self.of(record)
            for address in self._addresses(each)
            if address
        ]

    def _addresses(self, link: Link) -> tuple[str, str]:
        child = link.child
        if child is None or not counts_as_running(child.status):
            raise Internal(f"Cannot link to a non running container: {link.target} AS {link.name}")
        networks = self._networking.settings(child.id).get("Networks") or {}
        row = networks.get(_BRIDGE)
        if row is None:
            raise Internal(
                f"Cannot link to {link.target}, as it does not belong to the default network"
            )
        return row["IPAddress"], row["GlobalIPv6Address"]

    def moved(self, live: Live) -> None:
        """A container has been started, perhaps with another address: running containers that
        link it learn of it."""
        for parent in self._book:
            record = parent.record
            if not counts_as_running(record.status):
                continue
            for each in self.of(record):
                if each.child_id == live.id:
                    self._tell(record, each)

    def _tell(self, parent: Record, link: Link) -> None:
        path = self._paths.container(parent.id).hosts
        try:
            addresses = [each for each in self._addresses(link) if each]
            text = hostfiles.readdressed(hostfiles.read(path), link.hosts, addresses)
            hostfiles.write(path, text)
        except (OSError, Internal) as error:
            _log.warning("container %s: link %s: %s", parent.id, link.name, error)

    async def remove(self, ref: str) -> None:
        """``rm --link PARENT/ALIAS``: the link goes, both containers stay."""
        parent_name, slash, alias = ref.removeprefix("/").rpartition("/")
        if not slash:
            raise Conflict("Conflict, cannot remove the default link name of the container")
        try:
            parent = self._book.get(parent_name)
            gone = next(each for each in self.of(parent.record) if each.alias == alias)
        except (NotFound, StopIteration):
            raise NotFound(f"No such container: {ref}") from None
        async with parent.lock:
            host = parent.record.host_config
            left = [each for each in host.links or () if parse(each)[1] != alias]
            changed = msgspec.structs.replace(host, links=left)
            self._book.commit(parent, host_config=changed)
            await self._networking.relink(network_request(parent.record))
            path = self._paths.container(parent.id).hosts
            if gone.child is not None and path.exists():
                text = hostfiles.readdressed(hostfiles.read(path), gone.hosts, ())
                hostfiles.write(path, text)


def environment(link: Link, address: str) -> list[str]:
    """Variables that tell of a linked container: its ports, its name, its environment."""
    child = link.child
    assert child is not None
    upper = link.alias.upper().replace("-", "_")
    keys = [parse_key(each) for each in child.config.exposed_ports or ()]
    ports = sorted({(n, kind) for first, last, kind in keys for n in range(first, last + 1)})
    found: list[str] = []
    if ports:
        number, protocol = ports[0]
        found.append(f"{upper}_PORT={protocol}://{address}:{number}")
    for first, last in _contiguous(ports):
        (number, protocol), (end, end_protocol) = first, last
        start = f"{upper}_PORT_{number}_{protocol.upper()}"
        found += [
            f"{start}_START={protocol}://{address}:{number}",
            f"{start}_PORT_START={number}",
            f"{upper}_PORT_{number}_{end_protocol.upper()}_END={end_protocol}://{address}:{end}",
            f"{upper}_PORT_{number}_{end_protocol.upper()}_PORT_END={end}",
        ]
    for number, protocol in ports:
        name = f"{upper}_PORT_{number}_{protocol.upper()}"
        found += [
            f"{name}={protocol}://{address}:{number}",
            f"{name}_ADDR={address}",
            f"{name}_PORT={number}",
            f"{name}_PROTO={protocol}",
        ]
    found.append(f"{upper}_NAME={link.name}")
    for each in child.config.env or ():
        name, equals, value = each.partition("=")
        if equals and name not in ("HOME", "PATH"):
            found.append(f"{upper}_ENV_{name}={value}")
    return found


def _contiguous(
    ports: Sequence[tuple[int, str]],
) -> Iterator[tuple[tuple[int, str], tuple[int, str]]]:
    """Runs of more than two ports, each at most one above the one before, as first and last."""
    at = 0
    while at < len(ports):
        end, value = at, ports[at][0]
        while end + 1 < len(ports) and ports[end + 1][0] <= value + 1:
            end, value = end + 1, value + 1
        if end > at + 1:
            yield ports[at], ports[end]
            at = end
        at += 1
