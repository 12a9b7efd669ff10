"""The monitors' processes: those that we started, which are ours to reap, and adopted ones."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from wherry.linux import cgroups
from wherry.linux.pidfd import end_process, start_time, wait_pid
from wherry.linux.tasks import spawn
from wherry.runtime import bundle as files
from wherry.runtime import monitor
from wherry.runtime.commands import Child, reap
from wherry.runtime.port import Running

MONITOR_KILLED = "the container's monitor was killed: its processes have been ended"
UNKNOWN_EXIT = 255


def created(container_id: str, pid: int, monitor_pid: int) -> Running:
    """A process that ended at once has no start time any more: 0 then."""
    return Running(
        container_id, pid, start_time(pid) or 0, monitor_pid, start_time(monitor_pid) or 0
    )


class Monitors:
    def __init__(self) -> None:
        self._children: dict[int, Child] = {}

    def add(self, child: Child) -> None:
        """A monitor that we started."""
        self._children[child.pid] = child

    def abandon(self, child: Child) -> None:
        """Kill one that we started, and reap it in the background."""
        self._children.pop(child.pid, None)
        reap(child)

    async def ended(self, running: Running) -> None:
        """Until the monitor of this container or session has ended."""
        child = self._children.get(running.monitor_pid)
        if child is not None:
            await child.ended()
            self._children.pop(running.monitor_pid, None)
            return
        await wait_pid(running.monitor_pid, running.monitor_start)

    async def end(self, pid: int, started: int) -> None:
        """A monitor ends by itself when its container has; be sure of it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(wait_pid(pid, started), 2.0)
        await end_process(pid, started)
        child = self._children.pop(pid, None)
        if child is not None:
            spawn(child.ended(), name=f"reap-{pid}")


async def end_half_created(note: monitor.Note | None, bundle: Path) -> None:
    """The daemon died while the monitor was being started or was creating.

    The spec goes first: a monitor that comes to life only now finds nothing to create. One
    whose runtime has read it already is found, by its note or among all processes.
    """
    cgroup = note.cgroup if note is not None else files.cgroup_of(bundle)
    known = (bundle / monitor.SPEC).exists()
    (bundle / monitor.SPEC).unlink(missing_ok=True)
    monitors: list[tuple[int, int]] = []
    if note is not None:
        monitors = [(note.monitor_pid, note.monitor_start)]
    elif known:
        monitors = files.monitors_of(bundle)
    for pid, started in monitors:
        await end_process(pid, started)
    if cgroup:
        await cgroups.kill_all(cgroup)
        cgroups.remove(cgroup)
