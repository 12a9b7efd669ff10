"""What a run of the tests has made on the machine, to be told when it is still there at the end."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from bench import leftovers
from bench.processes import of_root

from wherry.networks.ruleset import USUAL_ROOT, table_name

_ROOTS = f"/tmp/wt-{os.getpid()}-"
_CONTAINER = re.compile(r"[0-9a-f]{64}")


def temporary_root() -> Path:
    """A folder that is known to be of this run, and short: sockets lie in it."""
    return Path(tempfile.mkdtemp(prefix=_ROOTS))


def traces(folder: Path, *, used: bool = False) -> set[str]:
    """What is left of daemons and containers; ``folder`` is the run's other temporary one.

    Paths tell what is this run's. Nothing tells it of networks and of containers' cgroups: those
    that were there before are the caller's to take off, those that somebody uses are told only
    with ``used`` (what is used at the beginning may be left by its user until the end).
    """
    return {*_processes(), *_mounts(f"{folder}/"), *_cgroups(used=used), *_networks(used=used)}


def _processes() -> Iterator[str]:
    for pid in of_root(Path(_ROOTS)):
        yield f"process {pid}: {command_line(pid)}"


def _mounts(folder: str) -> Iterator[str]:
    for point in leftovers.mount_points():
        if point.startswith((_ROOTS, folder)):
            yield f"mount {point}"


def _cgroups(*, used: bool) -> Iterator[str]:
    mine = Path(_ROOTS).name
    for group in leftovers.cgroups():
        container = _CONTAINER.search(group.name) is not None
        if mine in group.name or (container and (used or not _populated(group))):
            yield f"cgroup {group}"


def _populated(group: Path) -> bool:
    return any(leftovers.members(Path(folder)) for folder, _, _ in os.walk(group))


def _networks(*, used: bool) -> Iterator[str]:
    passed = set() if used else _used_tags()
    for name, tag in leftovers.marked().items():
        if tag not in passed:
            yield f"network interface {name}"
    for table in leftovers.tables():
        if table.startswith("wherry_") and table not in passed:
            yield f"nftables table inet {table}"


def _used_tags() -> set[str]:
    """Of daemons that run, other runs' and the machine's own."""
    found = {table_name(USUAL_ROOT)}
    for entry in Path("/proc").glob("[0-9]*"):
        words = command_line(int(entry.name)).split()
        found |= {table_name(root) for option, root in pairwise(words) if option == "--data-root"}
    return found


def command_line(pid: int) -> str:
    """Empty where there is no such process."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace")
