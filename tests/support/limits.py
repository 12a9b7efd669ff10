"""What the kernel says of a process's limits, in whichever version its cgroups are."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def cgroup_file(pid: int, controller: str, old: str, new: str) -> str:
    """The text of a file of the process's cgroup: ``old`` of version 1, ``new`` of version 2."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return (_ROOT / controller / path.lstrip("/") / old).read_text().strip()
    path = Path(f"/proc/{pid}/cgroup").read_text().rpartition("::")[2].strip()
    return (_ROOT / path.lstrip("/") / new).read_text().strip()


def memory_limit(pid: int) -> int:
    """Bytes; a very large number when there is none."""
    text = cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max")
    return 1 << 62 if text == "max" else int(text)
