"""Namespaces of running containers, and a few made ahead for those about to start."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from wherry.linux import netns
from wherry.linux.tasks import Turns, spawn
from wherry.networks import wiring
from wherry.networks.wiring import Namespace

_AHEAD = 4


class Spaces:
    """Descriptors of namespaces, by container id.

    ``folder`` holds a link for each, ``<id>`` -> ``/proc/<daemon>/fd/<n>``, which runtimes join
    and people inspect. Nothing is mounted: when a container's last process is gone and we let go,
    its namespace is gone too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.turns = Turns()
        """For whatever is done in namespaces."""
        self._live: dict[str, Namespace] = {}
        self._ready: dict[bool, list[Namespace]] = {False: [], True: []}
        self._filling: set[bool] = set()
        self._closed = False

    def clean(self) -> None:
        """At start: an empty folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for each in self._folder.iterdir():
            if each.is_symlink():
                each.unlink(missing_ok=True)
        os.symlink(f"/proc/{os.getpid()}/ns/net", self._folder / "default")

    def path(self, container_id: str) -> str:
        return str(self._folder / container_id[:32])

    def get(self, container_id: str) -> Namespace | None:
        return self._live.get(container_id)

    async def take(self, container_id: str, *, resolver: bool) -> Namespace:
        """A fresh namespace for the container, prepared ahead if one is left."""
        ready = self._ready[resolver]
        space = ready.pop() if ready else None
        self.fill(resolver)
        if space is None:
            space = await self.turns.run(wiring.prepare, resolver=resolver)
        self._keep(container_id, space)
        return space

    def adopt(self, container_id: str, pid: int) -> Namespace:
        """The namespace of a running process. ``OSError`` when the process is gone."""
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        space = Namespace(fd, netns.identity(fd))
        self._keep(container_id, space)
        return space

    def drop(self, container_id: str) -> None:
        """Let go of the container's namespace."""
        space = self._live.pop(container_id, None)
        if space is not None:
            space.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path(container_id))

    def fill(self, resolver: bool) -> None:
        """Make namespaces ahead, in the background."""
        if resolver in self._filling or self._closed:
            return
        self._filling.add(resolver)
        spawn(self._fill(resolver), name="prepare network namespaces")

    async def _fill(self, resolver: bool) -> None:
        try:
            while len(self._ready[resolver]) < _AHEAD and not self._closed:
                space = await self.turns.run(wiring.prepare, resolver=resolver)
                if self._closed:
                    space.close()
                    return
                self._ready[resolver].append(space)
        finally:
            self._filling.discard(resolver)

    def close(self) -> None:
        """Let go of everything; containers keep their own."""
        self._closed = True
        with contextlib.suppress(OSError):
            os.unlink(self._folder / "default")
        for spaces in (*self._ready.values(), list(self._live.values())):
            for each in spaces:
                each.close()
        self._live.clear()
        for ready in self._ready.values():
            ready.clear()

    def _keep(self, container_id: str, space: Namespace) -> None:
        self.drop(container_id)
        self._live[container_id] = space
        path = self.path(container_id)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.symlink(f"/proc/{os.getpid()}/fd/{space.fd}", path)
