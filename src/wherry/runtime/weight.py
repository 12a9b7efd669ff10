"""CPU weight of a container while it is set up and while it ends, and of its monitor.

The runtime sets a container up from inside the container's cgroup, and a process that is to die
does so there. Beside neighbours that compute without end both would wait for their share again and
again; with the largest weight they come first. It is taken back when the command has begun; a
daemon that was killed just then leaves that to the next.

A monitor is started with the daemon's weight, for it starts the runtime. Afterwards it works for
the container, and one that fills its log must not have the processors through it: it leaves the
daemon's cgroup.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherry.linux import cgroups
from wherry.linux.pidfd import is_alive
from wherry.linux.tasks import spawn
from wherry.runtime import bundle as files
from wherry.runtime.monitor import Note

APART_AFTER = 1.0
"""Seconds; a container that ends sooner is spared the move."""


def hurried(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the spec, with the largest weight where there is a cgroup for it."""
    linux = dict(spec.get("linux") or {})
    if not cgroups.host_layout().has("cpu") or not linux.get("cgroupsPath"):
        return dict(spec)
    resources = dict(linux.get("resources") or {})
    resources["cpu"] = {**_cpu(spec), "shares": cgroups.MOST_SHARES}
    return {**spec, "linux": {**linux, "resources": resources}}


def asked(spec: Mapping[str, Any]) -> int:
    """The weight that the container shall run with, in shares."""
    return int(_cpu(spec).get("shares") or cgroups.usual_shares())


def slow_down(note: Note | None) -> None:
    """The command has begun: it gets the weight that was asked for, its monitor that of all."""
    if note is None:
        return
    _as_asked(note)
    set_apart(note.monitor_pid, note.monitor_start)


def set_apart(monitor_pid: int, started: int, *, after: float = APART_AFTER) -> None:
    """The monitor leaves the daemon's cgroup later, if it is still there. Where the daemon ends
    before, the next one sees to it."""
    asyncio.get_running_loop().call_later(after, _set_apart, monitor_pid, started)


def _set_apart(pid: int, started: int) -> None:
    if is_alive(pid, started):
        spawn(asyncio.to_thread(cgroups.leave_engine, pid), name=f"set-apart-{pid}")


def mend(note: Note) -> None:
    """The same for one that runs and may still have the weights of its start."""
    if note.cgroup and cgroups.has_most_shares(note.cgroup):
        _as_asked(note)
    set_apart(note.monitor_pid, note.monitor_start, after=0)


def _as_asked(note: Note) -> None:
    if note.cgroup and note.shares:
        cgroups.set_shares(note.cgroup, note.shares)


def changed(bundle: Path | None, resources: Mapping[str, Any]) -> None:
    """An update of OCI ``resources``: a new weight in it is what is asked for from now on."""
    shares = (resources.get("cpu") or {}).get("shares")
    if shares and bundle is not None:
        files.note_shares(bundle, int(shares))


def hurry(cgroup: str) -> None:
    """The container is to end."""
    if cgroup:
        cgroups.set_shares(cgroup, cgroups.MOST_SHARES)


def _cpu(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    resources = (spec.get("linux") or {}).get("resources") or {}
    found: Mapping[str, Any] = resources.get("cpu") or {}
    return found
