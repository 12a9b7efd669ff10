"""The forwarder: listens where the host's own sockets must be, and passes on to containers.

Started by ``wherry.networks.forwarding``. Messages:

- ``put``: a container's ports, ``runs`` of [protocol, host address, first port, count, target
  address, target port]. What is served and not among them ends. Answers ``missing``: runs
  [protocol, host address, first, count] for which sockets must be sent.
- ``listen``: sockets for ``keys`` [protocol, host address, port], bound, and listening where they
  can.
- ``drop``: the container has ended, its connections with it.
- ``list``: ids. ``give``: the answer brings up to ``MOST`` of the container's sockets and their
  keys, from number ``after`` on. ``retire``: no new connections; the process ends when the last
  one does.

The accepted connection carries on as ``Stream``; see there and ``Datagrams``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from collections.abc import Iterator
from typing import Any

from wherry.networks.forwarder.datagrams import KEEP, Datagrams
from wherry.networks.forwarder.streams import Stream
from wherry.networks.sidecar import Loop, start

MOST = 128
"""Sockets in one message."""
_FILES = 1 << 20
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ACCEPTS = 64

Key = tuple[str, str, int]
Target = tuple[str, int]


class _Spare:
    """A descriptor kept back, so that clients are not left waiting when there are no more."""

    def __init__(self) -> None:
        self._fd = -1
        self._take()

    def _take(self) -> None:
        self._fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def refuse(self, sock: socket.socket) -> None:
        """Take one connection, and end it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(OSError):
            sock.accept()[0].close()
        # Where even this one is gone meanwhile, the next refusal tries without.
        with contextlib.suppress(OSError):
            self._take()


_spare = _Spare()


class _Port:
    """A listening socket of TCP or SCTP."""

    def __init__(self, owner: _Container, sock: socket.socket, target: Target) -> None:
        self._owner = owner
        self.socket = sock
        self.target = target
        owner.selector.register(sock, selectors.EVENT_READ, self._accept)

    def retarget(self, target: Target) -> None:
        self.target = target

    def forget(self, now: float) -> None:
        return None

    def close(self) -> None:
        self._owner.selector.unregister(self.socket)
        self.socket.close()

    def _accept(self, sock: socket.socket, _: int) -> None:
        for _turn in range(_ACCEPTS):
            try:
                client, _peer = sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL:
                    _spare.refuse(sock)
                return
            self._owner.carry(client, self.target)


class _Container:
    """What is served for one container."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        self.targets: dict[Key, Target] = {}
        self.ports: dict[Key, _Port | Datagrams] = {}
        self.streams: set[Stream] = set()

    def put(self, runs: list[list[Any]]) -> list[list[Any]]:
        """Returns the runs for which there is no socket."""
        self.targets = dict(_targets(runs))
        for key in [each for each in self.ports if each not in self.targets]:
            self.ports.pop(key).close()
        for key, port in self.ports.items():
            port.retarget(self.targets[key])
        return _runs([key for key in self.targets if key not in self.ports])

    def listen(self, key: Key, sock: socket.socket) -> None:
        sock.setblocking(False)
        target = self.targets.get(key)
        if target is None or key in self.ports:
            sock.close()
        elif key[0] == "udp":
            self.ports[key] = Datagrams(self.selector, sock, target)
        else:
            self.ports[key] = _Port(self, sock, target)

    def carry(self, client: socket.socket, target: Target) -> None:
        try:
            stream = Stream(self.selector, client, target, self.streams.discard)
        except OSError:
            client.close()
            return
        if not stream.closed:
            self.streams.add(stream)

    def silence(self) -> None:
        """No new connections and datagrams."""
        for port in self.ports.values():
            port.close()
        self.ports.clear()

    def close(self) -> None:
        self.silence()
        for stream in list(self.streams):
            stream.close(reset=True)


class Forwarder:
    """Implements ``sidecar.Service``."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._containers: dict[str, _Container] = {}
        self._looked = time.monotonic()

    def obey(self, message: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        verb, name = message["do"], message.get("id", "")
        sockets = [socket.socket(fileno=each) for each in fds]
        if verb == "put":
            container = self._containers.get(name)
            if container is None:
                container = self._containers[name] = _Container(self._loop.selector)
            return {"missing": container.put(message["runs"])}, []
        if verb == "listen":
            # Without ``put`` before: it was for a process that has ended meanwhile.
            container = self._containers.get(name)
            for (protocol, host, port), sock in zip(message["keys"], sockets, strict=True):
                if container is None:
                    sock.close()
                else:
                    container.listen((protocol, host, port), sock)
            return {}, []
        if verb == "drop":
            if name in self._containers:
                self._containers.pop(name).close()
            return {}, []
        if verb == "list":
            return {"ids": list(self._containers)}, []
        if verb == "give":
            ports = list(self._containers[name].ports.items())[message["after"] :][:MOST]
            found = [port.socket.fileno() for _, port in ports]
            return {"keys": [key for key, _ in ports]}, found
        if verb == "retire":
            self._loop.retire()
            for each in self._containers.values():
                each.silence()
            return {}, []
        raise ValueError(f"unknown message {verb}")

    def wait(self) -> float:
        return 10.0

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._looked < KEEP / 6:
            return
        self._looked = now
        for container in self._containers.values():
            for port in container.ports.values():
                port.forget(now)

    def busy(self) -> bool:
        return any(each.ports or each.streams for each in self._containers.values())


def _targets(runs: list[list[Any]]) -> Iterator[tuple[Key, Target]]:
    for protocol, host, first, count, address, target in runs:
        for step in range(count):
            yield (protocol, host, first + step), (address, target + step)


def _runs(keys: list[Key]) -> list[list[Any]]:
    """Neighbours together: [protocol, host address, first, count]."""
    found: list[list[Any]] = []
    for protocol, host, port in sorted(keys):
        last = found[-1] if found else None
        if last is not None and last[:2] == [protocol, host] and port == last[2] + last[3]:
            last[3] += 1
        else:
            found.append([protocol, host, port, 1])
    return found


def main() -> None:
    start(lambda loop, _: Forwarder(loop), _FILES)


if __name__ == "__main__":
    main()
