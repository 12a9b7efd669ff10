"""What an engine leaves behind when it does not end by itself, and its end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bench import processes
from wherry.networks.ruleset import table_name

_CGROUPS = Path("/sys/fs/cgroup")
_IDENTITY = re.compile(r"[0-9a-f]{64}")


def wipe(root: Path, identities: Iterable[str] = ()) -> None:
    """End an engine's processes and its containers; remove its mounts, cgroups, networks and files.

    The engine's daemon has ended, or ends now without a chance to do anything about it.
    ``identities``: of containers that its data may tell nothing of.
    """
    processes.end_all(root)
    _end_containers({*_containers(root), *identities})
    for point in mounts_below(root):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)
    tag = network_tag(root)
    for name in interfaces(tag):
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
    if tag in tables():
        subprocess.run(["nft", "delete", "table", "inet", tag], check=False, capture_output=True)
    shutil.rmtree(root, ignore_errors=True)


def _containers(root: Path) -> list[str]:
    """Full ids: both engines keep a folder of each in their data."""
    found = []
    with suppress(OSError):
        found = [each.name for each in (root / "data" / "containers").iterdir()]
    return [each for each in found if _IDENTITY.fullmatch(each)]


def cgroups() -> Iterator[Path]:
    """The machine's cgroups, in whichever version, as deep as engines put their containers."""
    for folder, names, _ in os.walk(_CGROUPS):
        yield from (Path(folder, name) for name in names)
        if folder.count("/") > 6:
            names.clear()


def cgroups_of(identities: Collection[str]) -> list[Path]:
    """Those named after one of the containers."""
    return [group for group in cgroups() if any(each in group.name for each in identities)]


def _end_containers(identities: Collection[str], *, seconds: float = 20.0) -> None:
    """Kill all that is in their cgroups. Frozen meanwhile, so that what forks cannot run away."""
    groups = cgroups_of(identities)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _write(groups, "freezer.state", "FROZEN")
        _write(groups, "cgroup.kill", "1")
        pids = {pid for group in groups for pid in members(group)}
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


def members(group: Path) -> list[int]:
    try:
        return [int(each) for each in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def mount_points() -> list[str]:
    """Of our namespace, deepest first."""
    table = Path("/proc/self/mountinfo").read_text()
    return sorted((line.split()[4] for line in table.splitlines()), reverse=True)


def mounts_below(root: Path) -> list[str]:
    """Mount points at ``root`` and below it, deepest first."""
    return [each for each in mount_points() if f"{each}/".startswith(f"{root}/")]


def network_tag(root: Path) -> str:
    """What a Wherry on ``root`` calls its nftables table, and marks its interfaces with."""
    return table_name(str(root / "data"))


def marked() -> dict[str, str]:
    """Interfaces of this host that a Wherry has made, and its tag."""
    found = {}
    for entry in Path("/sys/class/net").iterdir():
        with suppress(OSError):
            owner, _, rest = (entry / "ifalias").read_text().partition(":")
            if owner == "wherry":
                found[entry.name] = rest.partition(":")[0]
    return found


def interfaces(tag: str) -> list[str]:
    return [name for name, each in marked().items() if each == tag]


def tables() -> list[str]:
    """The nftables tables of this host, by name."""
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    return [line.split()[-1] for line in listed.stdout.splitlines()]
