"""Values of ``HostConfig`` that no kernel takes; pure.

At the start it would be too late: Docker takes them at create, and the start then fails with the
runtime's words for what the kernel said.
"""

from __future__ import annotations

from wherry.errors import Invalid, NotImplementedYet
from wherry.wire.container import HostConfig

LONGEST_QUOTA = (1 << 44) - 1
"""Microseconds: what the kernel's fixed-point arithmetic holds."""
MOST_PROCESSES = 1 << 22
"""The kernel's ``PID_MAX_LIMIT``."""
_NAME_LIMIT = 255


def check(host: HostConfig) -> None:
    """Raises ``Invalid`` naming the field."""
    if (host.memory_swap or 0) < -1:
        raise Invalid(f"invalid MemorySwap {host.memory_swap}: -1 is without limit")
    quota = host.cpu_quota or 0
    if quota < -1 or quota > LONGEST_QUOTA:
        raise Invalid(f"invalid CpuQuota {quota}: at most {LONGEST_QUOTA}, -1 is without limit")
    for name, value in (
        ("CpuRealtimePeriod", host.cpu_realtime_period or 0),
        ("CpuRealtimeRuntime", host.cpu_realtime_runtime or 0),
    ):
        if value < 0:
            raise Invalid(f"invalid {name} {value}: it cannot be negative")
        if value:
            raise NotImplementedYet(
                f"{name}: containers get no share of the real-time budget of this host"
            )
    size = host.console_size or []
    if len(size) not in (0, 2) or any(not 0 <= each < 65536 for each in size):
        raise Invalid(f"invalid ConsoleSize {size}: it has a height and a width below 65536")
    for path in (*(host.masked_paths or ()), *(host.readonly_paths or ())):
        if not path.startswith("/") or not _parts_fit(path):
            raise Invalid(f"invalid masked or read-only path {path}: it is not absolute")
    check_cgroup_parent(host.cgroup_parent or "")


def check_processes(limit: int | None) -> None:
    """At create; an update of what runs has the kernel's own answer."""
    if (limit or 0) > MOST_PROCESSES:
        raise Invalid(f"invalid PidsLimit {limit}: at most {MOST_PROCESSES}")


def check_cgroup_parent(path: str) -> None:
    """Raises ``Invalid`` for a parent outside the hierarchy, or that the kernel cannot name."""
    if not path.isprintable() or not _parts_fit(path):
        raise Invalid(f"invalid cgroup parent {path!r}: it is a path below the root of all cgroups")


def _parts_fit(path: str) -> bool:
    return all(part != ".." and len(part.encode()) <= _NAME_LIMIT for part in path.split("/"))
