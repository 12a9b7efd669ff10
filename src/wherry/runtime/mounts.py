"""The mounts of a container's spec: standard ones, tmpfs, and those of the other rooms. Pure.

Rules: moby ``oci/defaults.go`` and ``daemon/oci_linux.go`` (``WithMounts``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wherry.errors import Invalid

DEFAULT_SHM_SIZE = 64 << 20
INIT_PATH = "/sbin/docker-init"

_SIZES = {"size", "nr_blocks", "nr_inodes", "mode", "uid", "gid", "mpol", "huge"}
_FLAGS = {
    "ro", "rw", "noexec", "exec", "nosuid", "suid", "nodev", "dev", "sync", "async", "dirsync",
    "mand", "nomand", "atime", "noatime", "diratime", "nodiratime", "bind", "rbind",
    "unbindable", "runbindable", "private", "rprivate", "shared", "rshared", "slave", "rslave",
    "relatime", "norelatime", "strictatime", "nostrictatime", "noswap", "swap", "remount",
    "defaults",
}  # fmt: skip
_OPPOSITE = {
    "ro": "rw", "noexec": "exec", "nosuid": "suid", "nodev": "dev", "sync": "async",
    "mand": "nomand", "atime": "noatime", "diratime": "nodiratime", "relatime": "norelatime",
    "strictatime": "nostrictatime",
}  # fmt: skip
_OPPOSITE.update({value: key for key, value in list(_OPPOSITE.items())})
_STAY_WRITABLE = frozenset({"/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"})

Mount = dict[str, Any]


def mount(target: str, kind: str, source: str, *options: str) -> Mount:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def standard(*, ipc: str, shm_size: int, shm_source: str = "") -> list[Mount]:
    """What every container has. ``ipc`` is the IPC mode; ``shm_source`` the directory that a
    joined or the host's shared memory is bound from."""
    mounts = [
        mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount(
            "/dev/pts", "devpts", "devpts",
            "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5",
        ),
        mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    ]  # fmt: skip
    if shm_source:
        mounts.append(mount("/dev/shm", "bind", shm_source, "rbind", "rprivate"))
    elif ipc != "none":
        mounts.append(
            mount(
                "/dev/shm", "tmpfs", "shm",
                "nosuid", "noexec", "nodev", "mode=1777", f"size={shm_size}",
            )
        )  # fmt: skip
    return mounts


def tmpfs_options(text: str) -> list[str]:
    """Options of ``--tmpfs``: Docker's defaults, each replaced by a contrary one given.

    Raises ``Invalid`` for options that tmpfs does not have.
    """
    given = [each for each in text.split(",") if each]
    bad = [
        each
        for each in given
        if each not in _FLAGS and ("=" not in each or each.split("=", 1)[0] not in _SIZES)
    ]
    if bad:
        raise Invalid(f"invalid tmpfs option {bad}".replace("'", '"'))
    merged: dict[str, str] = {}
    for each in ("noexec", "nosuid", "nodev", *given):
        if each in ("defaults", "remount"):
            continue
        key = each.split("=", 1)[0]
        merged.pop(_OPPOSITE.get(key, ""), None)
        merged.pop(key, None)
        merged[key] = each
    if not any(key.lstrip("r") in ("private", "shared", "slave", "unbindable") for key in merged):
        merged["rprivate"] = "rprivate"
    return list(merged.values())


def tmpfs(entries: Mapping[str, str] | None) -> list[Mount]:
    """Mounts of ``HostConfig.Tmpfs``. Raises ``Invalid``."""
    made = []
    for target, text in (entries or {}).items():
        if target and not target.strip("/"):
            raise Invalid("invalid specification: destination can't be '/'")
        if not target.startswith("/"):
            raise Invalid(f"invalid mount path: '{target}' mount path must be absolute")
        made.append(mount(target, "tmpfs", "tmpfs", *tmpfs_options(text or "")))
    return made


def _clean(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def combine(
    base: Sequence[Mount],
    extra: Sequence[Mapping[str, Any]],
    *,
    readonly_root: bool,
    privileged: bool,
    writable_cgroups: bool,
) -> list[Mount]:
    """Standard mounts that the user does not replace, then the rest in their order.

    A later mount of the same place replaces an earlier one. A user's own ``/dev`` takes what
    stands below it along. A read-only root makes standard mounts read-only that need not be
    written; privileged containers may write ``/sys`` and cgroups.
    """
    users: dict[str, Mapping[str, Any]] = {}
    for each in extra:
        target = _clean(str(each["destination"]))
        users.pop(target, None)
        users[target] = each
    combined: list[Mount] = []
    for each in base:
        target = each["destination"]
        if target in users or (target.startswith("/dev/") and "/dev" in users):
            continue
        options = list(each.get("options", ()))
        if readonly_root and target not in _STAY_WRITABLE and "ro" not in options:
            options.append("ro")
        if (privileged and target == "/sys") or (
            each["type"] == "cgroup" and (privileged or writable_cgroups)
        ):
            options = [option for option in options if option != "ro"]
        combined.append({**each, "options": options})
    return combined + [dict(each) for each in users.values()]


def root_propagation(mounts: Sequence[Mapping[str, Any]]) -> str:
    """What the container's root must be so that its mounts propagate as asked."""
    wanted = {option.lstrip("r") for each in mounts for option in each.get("options") or ()}
    if "shared" in wanted:
        return "shared"
    return "slave" if any(word == "slave" for word in wanted) else ""
