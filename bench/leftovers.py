"""What an engine leaves behind when it does not end by itself, and its end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench import processes

_CGROUPS = Path("/sys/fs/cgroup")
_IDENTITY = re.compile(r"[0-9a-f]{64}")


def wipe(root: Path) -> None:
    """End an engine's processes and its containers; remove its mounts, cgroups and files.

    The engine's daemon has ended, or ends now without a chance to do anything about it.
    """
    processes.end_all(root)
    _end_containers(_groups(_containers(root)))
    for point in _mounts_below(root):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)
    shutil.rmtree(root, ignore_errors=True)


def _containers(root: Path) -> list[str]:
    """Full ids: both engines keep a folder of each in their data."""
    found = []
    with suppress(OSError):
        found = [each.name for each in (root / "data" / "containers").iterdir()]
    return [each for each in found if _IDENTITY.fullmatch(each)]


def _groups(identities: Sequence[str]) -> list[Path]:
    """Their cgroups, in whichever version."""
    return [
        group
        for identity in identities
        for pattern in (f"*/{identity}", f"*/*/{identity}")
        for group in _CGROUPS.glob(pattern)
    ]


def _end_containers(groups: Sequence[Path], *, seconds: float = 20.0) -> None:
    """Kill all that is in the cgroups. Frozen meanwhile, so that what forks cannot run away."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _write(groups, "freezer.state", "FROZEN")
        _write(groups, "cgroup.kill", "1")
        pids = {pid for group in groups for pid in _members(group)}
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _write(groups, "freezer.state", "THAWED")
        if not pids:
            break
        time.sleep(0.02)
    for group in groups:
        with suppress(OSError):
            group.rmdir()


def _write(groups: Sequence[Path], name: str, value: str) -> None:
    for group in groups:
        if (group / name).exists():
            with suppress(OSError):
                (group / name).write_text(value)


def _members(group: Path) -> list[int]:
    try:
        return [int(each) for each in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _mounts_below(root: Path) -> list[str]:
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if point == str(root) or point.startswith(f"{root}/"):
            points.append(point)
    return sorted(points, reverse=True)
