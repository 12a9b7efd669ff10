"""Ports of the host: which are published, and that nobody else has them.

A published port is taken by a socket that is bound and not listening (the forwarder makes it
listen where it serves the port), so that no other program, and no outgoing connection, gets it by
accident. Long runs are only looked at, not held: a thousand sockets in the daemon would be a cost
that nobody asked for.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence

from wherry.errors import Internal
from wherry.networks.portspec import WILD, Wanted, overlap
from wherry.networks.values import PortMap

HOLD = 16
"""Runs up to this long are held by sockets."""

Key = tuple[str, str, int]
"""Protocol, host address, port."""

Families = Callable[[str], Sequence[int]]
"""Protocol -> the families (4, 6) that are served."""

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}


def bind(protocol: str, host_ip: str, port: int) -> socket.socket | None:
    """A bound socket; None where the host cannot tell (a kernel without SCTP).

    Raises ``OSError`` when the port is in use or the address is not this host's.
    """
    kind, number = _KINDS[protocol]
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    try:
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, number)
    except OSError:
        return None
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((host_ip, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or protocol != "tcp":
                raise
            # Connections that are still closing do not keep the port. Only then SO_REUSEADDR: a
            # port held with it can be bound by any other program that uses it too.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host_ip, port))
    except BaseException:
        sock.close()
        raise
    return sock


def has_sockets(protocol: str) -> bool:
    """Whether the host has sockets of that protocol at all (SCTP is often missing)."""
    kind, number = _KINDS[protocol]
    try:
        socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC, number).close()
    except OSError:
        return False
    return True


class HostPorts:
    """The published ports of every container of this daemon."""

    def __init__(self) -> None:
        self._maps: dict[str, list[PortMap]] = {}
        self._sockets: dict[str, dict[Key, socket.socket]] = {}

    def of(self, container_id: str) -> Sequence[PortMap]:
        return self._maps.get(container_id, ())

    def held(self, container_id: str) -> Mapping[Key, socket.socket]:
        """The sockets that hold the container's ports; they stay this object's."""
        self._fill(container_id)
        return self._sockets.get(container_id, {})

    def take(
        self, container_id: str, name: str, wanted: Sequence[Wanted], families: Families
    ) -> list[PortMap]:
        """Take every run, or raise and change nothing.

        What the container has already and still wants stays as it is, ports that were chosen by
        chance too; what it does not want any more is given back. Raises ``Internal`` (500, as
        Docker) with a text that names the first port in use.
        """
        mine = self._sockets.get(container_id, {})
        claim = _Claim(container_id, self._maps, mine, families)
        try:
            for each in wanted:
                claim.add(each)
        except OSError as error:
            claim.give_up()
            raise Internal(
                f"driver failed programming external connectivity on endpoint {name}: "
                f"{error.args[-1]}"
            ) from error
        except BaseException:
            claim.give_up()
            raise
        before = self._sockets.pop(container_id, {})
        _close([sock for key, sock in before.items() if key not in claim.sockets])
        self._maps.pop(container_id, None)
        if claim.runs:
            self._maps[container_id] = claim.runs
            self._sockets[container_id] = claim.sockets
            self._fill(container_id)
        return claim.runs

    def adopt(self, container_id: str, maps: Sequence[PortMap]) -> None:
        """Take over what a running container has published, whether it can be held or not."""
        self._maps[container_id] = list(maps)
        self._fill(container_id)

    def _fill(self, container_id: str) -> None:
        """Hold what is the container's already and can be held."""
        held = self._sockets.setdefault(container_id, {})
        for run in self._maps.get(container_id, ()):
            if run.count > HOLD:
                continue
            for key in keys(run):
                with contextlib.suppress(OSError):
                    sock = None if key in held else bind(*key)
                    if sock is not None:
                        held[key] = sock

    def release(self, container_id: str) -> None:
        self._maps.pop(container_id, None)
        _close(list(self._sockets.pop(container_id, {}).values()))


class _Claim:
    """Ports being taken for one container: all, or none."""

    def __init__(
        self,
        container_id: str,
        maps: Mapping[str, Sequence[PortMap]],
        held: Mapping[Key, socket.socket],
        families: Families,
    ) -> None:
        self._own = maps.get(container_id, ())
        self._others = [each for key, runs in maps.items() if key != container_id for each in runs]
        self._held = held
        self._families = families
        self.runs: list[PortMap] = []
        self.sockets: dict[Key, socket.socket] = {}

    def give_up(self) -> None:
        _close([sock for key, sock in self.sockets.items() if key not in self._held])

    def add(self, wanted: Wanted) -> None:
        """Raises ``OSError`` whose last argument is the whole text."""
        addresses = _addresses(wanted.host_ip, self._families(wanted.protocol))
        if not addresses:
            return
        if wanted.first and wanted.choice == 1:
            for address in addresses:
                run = PortMap(wanted.protocol, address, wanted.first, wanted.target, wanted.count)
                self._refuse(run)
                self.runs.append(run)
                self._hold(run)
        elif not self._again(wanted, addresses):
            self._any(wanted, addresses)

    def _again(self, wanted: Wanted, addresses: Sequence[str]) -> bool:
        """The port that the container got by chance before, if it has one."""
        for port in dict.fromkeys(each.first for each in self._own if each.count == 1):
            runs = [PortMap(wanted.protocol, each, port, wanted.target) for each in addresses]
            fits = not wanted.first or wanted.first <= port < wanted.first + wanted.choice
            if fits and all(each in self._own and each not in self.runs for each in runs):
                for run in runs:
                    self.runs.append(run)
                    self._hold(run)
                return True
        return False

    def _any(self, wanted: Wanted, addresses: Sequence[str]) -> None:
        """One port that is free on all ``addresses``, out of a range or any at all."""
        if wanted.first:
            candidates: Sequence[int] = range(wanted.first, wanted.first + wanted.choice)
        else:
            candidates = [0] * 64
        for candidate in candidates:
            found: dict[Key, socket.socket] = {}
            runs: list[PortMap] = []
            port = candidate
            try:
                for address in addresses:
                    sock = self._open((wanted.protocol, address, port))
                    if sock is not None:
                        port = sock.getsockname()[1]
                        found[wanted.protocol, address, port] = sock
                    run = PortMap(wanted.protocol, address, port, wanted.target)
                    self._refuse(run)
                    runs.append(run)
            except OSError as error:
                _close([sock for key, sock in found.items() if key not in self._held])
                if error.errno not in (errno.EADDRINUSE, None):
                    raise OSError(refused(wanted.host_ip, candidate, error)) from error
                continue
            self.runs += runs
            self.sockets.update(found)
            return
        raise OSError(
            f"Bind for {wanted.host_ip or '0.0.0.0'}:{wanted.first}-"
            f"{wanted.first + wanted.choice - 1} failed: all ports are allocated"
        )

    def _open(self, key: Key) -> socket.socket | None:
        return self._held.get(key) or bind(*key)

    def _refuse(self, run: PortMap) -> None:
        for other in (*self.runs, *self._others):
            port = overlap(run, other)
            if port is not None:
                shown = f"[{run.host_ip}]" if ":" in run.host_ip else run.host_ip
                raise OSError(f"Bind for {shown}:{port} failed: port is already allocated")

    def _hold(self, run: PortMap) -> None:
        """Check that every port of the run is free or ours; keep the sockets of a short one."""
        mine = {
            port
            for each in self._own
            if (each.protocol, ":" in each.host_ip) == (run.protocol, ":" in run.host_ip)
            and (each.host_ip == run.host_ip or {each.host_ip, run.host_ip} & WILD)
            for port in range(each.first, each.last + 1)
        }
        for key in keys(run):
            try:
                ours = key[2] in mine and key not in self._held
                sock = None if ours else self._open(key)
            except OSError as error:
                raise OSError(refused(run.host_ip, key[2], error)) from error
            if sock is None:
                continue
            if run.count > HOLD and key not in self._held:
                sock.close()
            elif run.count <= HOLD:
                self.sockets[key] = sock


def keys(run: PortMap) -> Iterator[Key]:
    """Every port of a run."""
    for port in range(run.first, run.last + 1):
        yield run.protocol, run.host_ip, port


def _addresses(host_ip: str, families: Sequence[int]) -> list[str]:
    if host_ip:
        return [host_ip] if (6 if ":" in host_ip else 4) in families else []
    return [{4: "0.0.0.0", 6: "::"}[family] for family in sorted(families)]


def refused(host_ip: str, port: int, error: OSError) -> str:
    """Docker's words for a port that cannot be had."""
    shown = f"[{host_ip}]" if ":" in host_ip else (host_ip or "0.0.0.0")
    reason = {
        errno.EADDRINUSE: "address already in use",
        errno.EADDRNOTAVAIL: "cannot assign requested address",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"failed to bind host port for {shown}:{port}: {reason}"


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()
