"""What we do in crun's stead, where a call of it would take milliseconds to do the same.

Each function says whether it could; where not, the caller calls crun.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from wherry.linux import cgroups
from wherry.linux.pidfd import is_alive
from wherry.runtime import bundle as files
from wherry.runtime import monitor

FILTER = "run.oci.seccomp_bpf_data"
"""crun's annotation for a compiled filter, in base64; crun(1)."""
_GATE = "exec.fifo"
_PAUSE = 0.0003
"""Seconds between two looks; the way from the gate to the command takes about as long."""


def is_crun(path: str) -> bool:
    return Path(path).name == "crun"


def start(state_root: Path, container_id: str) -> bool:
    """Let the created process go on to its command.

    It waits for one byte on a pipe in crun's record of it; the pipe's name goes first, so that
    nobody starts it twice. Without hooks (Wherry uses none) crun's ``start`` does no more.
    """
    gate = state_root / container_id / _GATE
    try:
        # Nobody reads when the process has ended: crun then says so in its own words.
        fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.unlink(gate)
        os.write(fd, b"\0")
    except OSError:
        return False
    finally:
        with suppress(OSError):
            os.close(fd)
    return True


async def begun(pid: int, before: str, *, limit: float = 2.0) -> None:
    """Wait until the process runs its command: it executes another file than crun's.

    ``before`` is what ``program`` said before it was let go on. Ends at once when the process does.
    """
    for _ in range(int(limit / _PAUSE)):
        if not before or program(pid) != before:
            return
        await asyncio.sleep(_PAUSE)


def program(pid: int) -> str:
    """The file that a process executes; empty when it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def sweep(state_root: Path, note: monitor.Note) -> bool:
    """Remove the cgroup and crun's record, a flat directory, of a container that wholly ended."""
    if note.pid == 0 or not note.cgroup or is_alive(note.monitor_pid, note.monitor_start):
        return False
    if is_alive(note.pid, note.pid_start) or not cgroups.remove(note.cgroup):
        return False
    return files.remove_flat(state_root / note.container_id)
