"""Ends that need not wait for what they leave behind.

The last process that leaves a mount namespace takes it down in its own exit: the overlay is synced,
which waits for the disk, and each namespace waits for all processors. Nobody who waits for the
container's end needs any of it, but all wait for the process. So the namespaces of a container's
process and of its monitor are held open around a start and a kill, when an end is likely soon, and
let go by a thread afterwards.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from wherry.linux.pidfd import is_alive
from wherry.linux.tasks import in_own_thread, spawn
from wherry.runtime.port import Running

SECONDS = 2.0
"""How long they are held where no end comes."""


class Holds:
    def __init__(self) -> None:
        self._held: dict[str, list[int]] = {}
        self._going: dict[str, asyncio.Task[None]] = {}

    def take(self, running: Running) -> None:
        """An end is likely; nothing where they are held already."""
        if running.container_id in self._held:
            return
        found = []
        for pid, started in (
            (running.pid, running.pid_start),
            (running.monitor_pid, running.monitor_start),
        ):
            with suppress(OSError):
                fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
                if is_alive(pid, started):
                    found.append(fd)
                else:
                    os.close(fd)
        self._held[running.container_id] = found
        asyncio.get_running_loop().call_later(SECONDS, self._expire, running.container_id, found)

    def _expire(self, container_id: str, found: list[int]) -> None:
        if self._held.get(container_id) is found:
            self.drop(container_id)

    def drop(self, container_id: str) -> None:
        """Let go, beside all else."""
        found = self._held.pop(container_id, None)
        if found:
            going = spawn(in_own_thread(lambda: _close(found)), name=f"unmount {container_id[:12]}")
            self._going[container_id] = going
            going.add_done_callback(lambda task: self._gone(container_id, task))

    def _gone(self, container_id: str, task: asyncio.Task[None]) -> None:
        if self._going.get(container_id) is task:
            del self._going[container_id]

    async def gone(self, container_id: str) -> None:
        """Until what an ended container had mounted is unmounted."""
        going = self._going.get(container_id)
        if going is not None:
            await asyncio.wait([going])


def _close(found: list[int]) -> None:
    for fd in found:
        os.close(fd)
