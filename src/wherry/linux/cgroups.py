"""Control groups, versions 1, 2 and hybrid: find, read, freeze, empty, remove.

A container's cgroup has one path (``/wherry/<id>``) that is the same below every controller of
version 1, or the only one below the unified tree of version 2. Wherry uses the *cgroupfs* driver
everywhere: it writes the directories itself (through the OCI runtime), also where systemd is the
init, below a cgroup of its own that systemd leaves alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from wherry.linux.mounts import MountEntry, read_mounts

DRIVER = "cgroupfs"
DEFAULT_PARENT = "/wherry"
ENGINE = "/wherry-engine"
"""Of a daemon that no service manager has given a place, where processor time is weighed."""
_NO_CHILDREN = 2
"""Links of a directory without directories in it; the kernel's cgroup trees count them so."""


@dataclass(frozen=True)
class CgroupLayout:
    """Where the controllers of this host are mounted."""

    unified: str | None = None
    """Mount point of version 2."""
    controllers: dict[str, str] = field(default_factory=dict)
    """Version 1: controller -> mount point. Named hierarchies as ``name=systemd``."""
    unified_controllers: frozenset[str] = frozenset()

    @property
    def version(self) -> int:
        """2 only where no controller is left to version 1 (what ``/info`` reports)."""
        real = [name for name in self.controllers if not name.startswith("name=")]
        return 1 if real else 2

    @property
    def hybrid(self) -> bool:
        """Version 1 controllers with the version 2 tree mounted beside them."""
        return self.version == 1 and self.unified is not None

    def has(self, controller: str) -> bool:
        """``cpu``, ``cpuset``, ``memory``, ``pids``, ``blkio`` (``io`` in 2), ``devices`` ..."""
        if self.version == 1:
            return controller in self.controllers
        if controller in ("devices", "freezer"):
            return True
        return {"blkio": "io", "cpuacct": "cpu"}.get(controller, controller) in (
            self.unified_controllers
        )

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        """Deduplicated: cpu and cpuacct may be mounted as one."""
        unified = () if self.unified is None else (self.unified,)
        return tuple(dict.fromkeys((*self.controllers.values(), *unified)))

    def directories(self, path: str) -> list[str]:
        """Every directory of the cgroup ``path``."""
        inside = path.lstrip("/")
        return [f"{root}/{inside}" for root in self._roots]

    def directory(self, path: str, controller: str) -> Path | None:
        """The directory where ``controller``'s files of the cgroup are."""
        root = self.unified if self.version == 2 else self.controllers.get(controller)
        return None if root is None else Path(root) / path.lstrip("/")


def layout_of(mounts: list[MountEntry], unified_controllers: str = "") -> CgroupLayout:
    """From a mount table; the first mount of a hierarchy wins. Pure."""
    known = {
        "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
        "net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc",
    }  # fmt: skip
    controllers: dict[str, str] = {}
    unified: str | None = None
    for entry in mounts:
        if entry.fstype == "cgroup2":
            unified = unified or entry.target
        elif entry.fstype == "cgroup":
            for option in entry.super_options:
                if option in known or option.startswith("name="):
                    controllers.setdefault(option, entry.target)
    return CgroupLayout(unified, controllers, frozenset(unified_controllers.split()))


@lru_cache(maxsize=1)
def host_layout() -> CgroupLayout:
    """This host's layout, read once (it does not change while a system runs)."""
    mounts = read_mounts("self")
    unified = next((each.target for each in mounts if each.fstype == "cgroup2"), None)
    controllers = ""
    if unified is not None:
        with suppress(OSError):
            controllers = Path(unified, "cgroup.controllers").read_text(encoding="ascii")
    return layout_of(mounts, controllers)


def processes(path: str, layout: CgroupLayout | None = None) -> list[int]:
    """Host pids in the cgroup and all below it, sorted; empty when it is not there."""
    layout = layout or host_layout()
    found: set[int] = set()
    for directory in layout.directories(path):
        pids = _processes_below(directory)
        if pids:
            found |= pids
            break
    return sorted(found)


def _processes_below(directory: str) -> set[int]:
    try:
        with open(f"{directory}/cgroup.procs", "rb") as file:
            found = {int(each) for each in file.read().split()}
        below = os.stat(directory).st_nlink != _NO_CHILDREN
    except (OSError, ValueError):
        return set()
    if below:
        with suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found |= _processes_below(entry.path)
    found.discard(0)
    return found


async def kill_all(path: str, *, patience: float = 5.0) -> bool:
    """SIGKILL every process of the cgroup until none is left; False when some will not die.

    A frozen cgroup is thawed, else the signal would not arrive (version 1).
    """
    layout = host_layout()
    deadline = asyncio.get_running_loop().time() + patience
    pause = 0.002
    while True:
        pids = processes(path, layout)
        if not pids:
            return True
        for directory in layout.directories(path):
            with suppress(OSError), open(f"{directory}/cgroup.kill", "w") as file:
                file.write("1")
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(OSError):
            freeze(path, False, layout)
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.1)


def freeze(path: str, frozen: bool, layout: CgroupLayout | None = None) -> None:
    """Ask for frozen or thawed. Raises ``OSError`` where there is no freezer."""
    layout = layout or host_layout()
    directory = layout.directory(path, "freezer")
    if directory is None:
        raise FileNotFoundError("no freezer controller on this host")
    if layout.version == 2:
        (directory / "cgroup.freeze").write_text("1" if frozen else "0", encoding="ascii")
    else:
        (directory / "freezer.state").write_text("FROZEN" if frozen else "THAWED", encoding="ascii")


def is_frozen(path: str, layout: CgroupLayout | None = None) -> bool:
    """Whether the cgroup has been asked to freeze; False when it is not there."""
    layout = layout or host_layout()
    directory = layout.directory(path, "freezer")
    if directory is None:
        return False
    name = "cgroup.freeze" if layout.version == 2 else "freezer.state"
    try:
        return (directory / name).read_text(encoding="ascii").strip() in ("1", "FROZEN", "FREEZING")
    except OSError:
        return False


MOST_SHARES = 262_144
"""The largest CPU weight, in shares of version 1."""


def usual_shares(layout: CgroupLayout | None = None) -> int:
    """Of a cgroup that nobody has given a weight: in version 2 what makes its usual 100."""
    return 2622 if (layout or host_layout()).version == 2 else 1024


def set_shares(path: str, shares: int, layout: CgroupLayout | None = None) -> None:
    """CPU weight against its siblings, in shares; nothing where there is no such cgroup."""
    layout = layout or host_layout()
    file = _weight_file(path, layout)
    if file is not None:
        value = weight_of(shares) if layout.version == 2 else shares
        with suppress(OSError):
            file.write_text(str(value), encoding="ascii")


def has_most_shares(path: str, layout: CgroupLayout | None = None) -> bool:
    """Whether the cgroup has the largest CPU weight; False where there is none."""
    layout = layout or host_layout()
    file = _weight_file(path, layout)
    if file is None:
        return False
    try:
        value = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    return value == (weight_of(MOST_SHARES) if layout.version == 2 else MOST_SHARES)


def path_of(pid: int | str, layout: CgroupLayout | None = None) -> str:
    """A process's cgroup in the tree that weighs processor time; empty where there is none."""
    layout = layout or host_layout()
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return ""
    return path_in(text, layout)


def path_in(text: str, layout: CgroupLayout) -> str:
    """The same from what ``/proc/<pid>/cgroup`` says. Pure."""
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        if (layout.version == 2 and not names) or "cpu" in names.split(","):
            return path
    return ""


def place(path: str, pid: int, *, shares: int = 0, layout: CgroupLayout | None = None) -> bool:
    """Move a process to the cgroup ``path`` of the tree that weighs processor time.

    A missing cgroup is made, with ``shares``. It waits for a lock of all cgroups: not for the
    event loop. False where it could not be.
    """
    layout = layout or host_layout()
    directory = layout.directory(path, "cpu")
    if directory is None or not layout.has("cpu"):
        return False
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
        if shares:
            set_shares(path, shares, layout)
        (directory / "cgroup.procs").write_text(str(pid), encoding="ascii")
    except OSError:
        return False
    return True


def leave_engine(pid: int) -> bool:
    """What the daemon started and what works for others now goes where the daemon came from."""
    return path_of(pid) == ENGINE and place("/", pid)


def _weight_file(path: str, layout: CgroupLayout) -> Path | None:
    directory = layout.directory(path, "cpu")
    if directory is None:
        return None
    return directory / ("cpu.weight" if layout.version == 2 else "cpu.shares")


def has_device_weights(layout: CgroupLayout) -> bool:
    """Whether a block device can have a weight of its own: in version 2 only BFQ knows them."""
    if layout.version == 1:
        folder = layout.directory("/", "blkio")
        names = ("blkio.weight_device", "blkio.bfq.weight_device")
        return folder is not None and any((folder / name).exists() for name in names)
    if layout.unified is None:
        return False
    return next(Path(layout.unified).glob("*/io.bfq.weight"), None) is not None


def weight_of(shares: int) -> int:
    """Version 2's weight (1 to 10,000) for shares (2 to 262,144), as OCI runtimes convert them."""
    return 1 + (max(2, min(shares, MOST_SHARES)) - 2) * 9999 // 262_142


def oom_kills(path: str, layout: CgroupLayout | None = None) -> int:
    """How many processes of the cgroup the kernel killed for want of memory; 0 when unknown."""
    layout = layout or host_layout()
    directory = layout.directory(path, "memory")
    if directory is None:
        return 0
    name = "memory.events" if layout.version == 2 else "memory.oom_control"
    try:
        text = (directory / name).read_text(encoding="ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.isdigit():
            return int(value)
    return 0


def remove(path: str, layout: CgroupLayout | None = None) -> bool:
    """Remove the empty cgroup and those below it everywhere; False when something stayed."""
    if not path.strip("/"):
        return False
    gone = True
    for directory in (layout or host_layout()).directories(path):
        gone = _remove_tree(directory) and gone
    return gone


def _remove_tree(directory: str) -> bool:
    """One removal where there is nothing below it, which is the rule."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        try:
            with os.scandir(directory) as entries:
                below = [each.path for each in entries if each.is_dir(follow_symlinks=False)]
            for each in below:
                _remove_tree(each)
            os.rmdir(directory)
        except OSError:
            return not os.path.isdir(directory)
    return True
