"""Ports of the host: which are published, and that nobody else has them.

A published port is taken by a socket that is bound and never listens, so that no other program,
and no outgoing connection, gets it by accident. Long runs are only looked at, not held: a
thousand sockets would be a cost that nobody asked for.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence

from wherry.errors import Internal
from wherry.networks.portspec import Wanted, overlap
from wherry.networks.values import PortMap

HOLD = 16
"""Runs up to this long are held by sockets."""

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}


def _bind(protocol: str, host_ip: str, port: int) -> socket.socket | None:
    """A bound socket; None where the host cannot tell (no SCTP, address not there yet).

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
        if protocol == "tcp":
            # Connections that are still closing do not keep the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host_ip, port))
    except BaseException:
        sock.close()
        raise
    return sock


class HostPorts:
    """The published ports of every container of this daemon."""

    def __init__(self) -> None:
        self._maps: dict[str, list[PortMap]] = {}
        self._sockets: dict[str, list[socket.socket]] = {}

    def of(self, container_id: str) -> Sequence[PortMap]:
        return self._maps.get(container_id, ())

    def take(
        self, container_id: str, name: str, wanted: Sequence[Wanted], families: Sequence[int]
    ) -> list[PortMap]:
        """Take every run, or raise and take none. ``families``: those the container has.

        Raises ``Internal`` (500, as Docker) with a text that names the first port in use.
        """
        taken: list[PortMap] = []
        held: list[socket.socket] = []
        try:
            for each in wanted:
                for run, sockets in self._one(each, taken, families):
                    taken.append(run)
                    held += sockets
        except OSError as error:
            _close(held)
            raise Internal(
                f"driver failed programming external connectivity on endpoint {name}: "
                f"{error.args[-1]}"
            ) from error
        except BaseException:
            _close(held)
            raise
        self.release(container_id)
        if taken:
            self._maps[container_id] = taken
            self._sockets[container_id] = held
        return taken

    def adopt(self, container_id: str, maps: Sequence[PortMap]) -> None:
        """Take over what a running container has published, whether it can be held or not."""
        self._maps[container_id] = list(maps)
        held = self._sockets.setdefault(container_id, [])
        for run in maps:
            if run.count > HOLD:
                continue
            for port in range(run.first, run.last + 1):
                with contextlib.suppress(OSError):
                    sock = _bind(run.protocol, run.host_ip, port)
                    if sock is not None:
                        held.append(sock)

    def release(self, container_id: str) -> None:
        self._maps.pop(container_id, None)
        _close(self._sockets.pop(container_id, ()))

    def _one(
        self, wanted: Wanted, taken: Sequence[PortMap], families: Sequence[int]
    ) -> Iterator[tuple[PortMap, list[socket.socket]]]:
        addresses = _addresses(wanted.host_ip, families)
        if not addresses:
            return
        if wanted.first and wanted.choice == 1:
            for address in addresses:
                run = PortMap(wanted.protocol, address, wanted.first, wanted.target, wanted.count)
                self._refuse(run, taken)
                yield run, _hold(run)
            return
        yield from self._any(wanted, addresses, taken)

    def _any(
        self, wanted: Wanted, addresses: Sequence[str], taken: Sequence[PortMap]
    ) -> Iterator[tuple[PortMap, list[socket.socket]]]:
        """One port that is free on all ``addresses``, out of a range or any at all."""
        if wanted.first:
            candidates: Sequence[int] = range(wanted.first, wanted.first + wanted.choice)
        else:
            candidates = [0] * 64
        for candidate in candidates:
            found: list[tuple[PortMap, list[socket.socket]]] = []
            port = candidate
            try:
                for address in addresses:
                    sock = _bind(wanted.protocol, address, port)
                    if sock is not None:
                        port = sock.getsockname()[1]
                    run = PortMap(wanted.protocol, address, port, wanted.target)
                    found.append((run, [sock] if sock is not None else []))
                    self._refuse(run, taken)
            except OSError as error:
                for _, sockets in found:
                    _close(sockets)
                if error.errno not in (errno.EADDRINUSE, None):
                    raise OSError(_refused(wanted.host_ip, candidate, error)) from error
                continue
            yield from found
            return
        raise OSError(
            f"Bind for {wanted.host_ip or '0.0.0.0'}:{wanted.first}-"
            f"{wanted.first + wanted.choice - 1} failed: all ports are allocated"
        )

    def _refuse(self, run: PortMap, taken: Sequence[PortMap]) -> None:
        for other in (*taken, *(each for maps in self._maps.values() for each in maps)):
            port = overlap(run, other)
            if port is not None:
                shown = f"[{run.host_ip}]" if ":" in run.host_ip else run.host_ip
                raise OSError(f"Bind for {shown}:{port} failed: port is already allocated")


def _addresses(host_ip: str, families: Sequence[int]) -> list[str]:
    if host_ip:
        return [host_ip] if (6 if ":" in host_ip else 4) in families else []
    return [{4: "0.0.0.0", 6: "::"}[family] for family in sorted(families)]


def _hold(run: PortMap) -> list[socket.socket]:
    """Check that every port of the run is free; keep the sockets of a short one."""
    held: list[socket.socket] = []
    try:
        for port in range(run.first, run.last + 1):
            try:
                sock = _bind(run.protocol, run.host_ip, port)
            except OSError as error:
                raise OSError(_refused(run.host_ip, port, error)) from error
            if sock is None:
                continue
            if run.count > HOLD:
                sock.close()
            else:
                held.append(sock)
    except BaseException:
        _close(held)
        raise
    return held


def _refused(host_ip: str, port: int, error: OSError) -> str:
    shown = f"[{host_ip}]" if ":" in host_ip else (host_ip or "0.0.0.0")
    reason = {
        errno.EADDRINUSE: "address already in use",
        errno.EADDRNOTAVAIL: "cannot assign requested address",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"failed to bind host port for {shown}:{port}: {reason}"


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()
