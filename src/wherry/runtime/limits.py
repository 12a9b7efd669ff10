"""Ulimits and sysctls: parsing and checking against the host. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from wherry.errors import Invalid
from wherry.linux.host import HostFacts
from wherry.wire.container import HostConfig, Ulimit

ULIMITS = frozenset(
    {
        "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
        "nproc", "rss", "rtprio", "rttime", "sigpending", "stack", "as",
    }
)  # fmt: skip
_IPC_SYSCTLS = frozenset(
    {
        "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
        "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
    }
)  # fmt: skip
_UTS_SYSCTLS = frozenset({"kernel.domainname"})
_OPEN_FILES = "nofile"
UNLIMITED = (1 << 64) - 1


def _number(value: int) -> int:
    return UNLIMITED if value < 0 else value


def check_ulimits(given: Sequence[Ulimit] | None, facts: HostFacts) -> None:
    """Raises ``Invalid``: unknown names, soft above hard, above what this host may grant."""
    for each in given or ():
        if each.name not in ULIMITS:
            raise Invalid(f"invalid ulimit type: {each.name}")
        soft, hard = _number(each.soft), _number(each.hard)
        if soft > hard:
            raise Invalid(
                f"ulimit {each.name}: soft limit must be less than or equal to hard limit: "
                f"{each.soft} > {each.hard}"
            )
        ours = facts.rlimits.get(each.name)
        if facts.may_raise_limits or ours is None:
            continue
        if hard > _number(ours[1]):
            raise Invalid(
                f"ulimit {each.name}={each.hard} is above the host's limit of {ours[1]}, which "
                "cannot be raised without CAP_SYS_RESOURCE"
            )


def check_oom_score(adjustment: int | None, facts: HostFacts) -> None:
    """Raises ``Invalid`` for one that this host does not let us give."""
    if (adjustment or 0) < min(facts.oom_score_adj, 0) and not facts.may_raise_limits:
        raise Invalid(
            f"OomScoreAdj {adjustment} is below the daemon's own, and this host withholds "
            "CAP_SYS_RESOURCE"
        )


def oom_score(asked: int | None, facts: HostFacts) -> int | None:
    """The one to write; None: what a process inherits is right. A daemon that the kernel spares
    (the unit file says so) does not hand that on."""
    return 0 if asked is None and facts.oom_score_adj < 0 else asked


def rlimits(
    asked: Sequence[Ulimit] | None, defaults: Sequence[Ulimit], facts: HostFacts
) -> tuple[list[dict[str, Any]], list[str]]:
    """``process.rlimits`` and warnings. Defaults above the host's are lowered to it."""
    check_ulimits(asked, facts)
    warnings = []
    chosen: dict[str, tuple[int, int]] = {}
    if _OPEN_FILES in facts.rlimits:
        # The daemon has raised its own since.
        soft, hard = facts.rlimits[_OPEN_FILES]
        chosen[_OPEN_FILES] = _number(soft), _number(hard)
    for each in defaults:
        soft, hard = _number(each.soft), _number(each.hard)
        ours = facts.rlimits.get(each.name)
        if ours is not None and not facts.may_raise_limits and hard > _number(ours[1]):
            hard = _number(ours[1])
            soft = min(soft, hard)
            warnings.append(
                f"The default ulimit {each.name} is above this host's limit and was lowered "
                f"to {hard}."
            )
        chosen[each.name] = (soft, hard)
    for each in asked or ():
        chosen[each.name] = (_number(each.soft), _number(each.hard))
    made = [
        {"type": "RLIMIT_" + name.upper(), "hard": hard, "soft": soft}
        for name, (soft, hard) in chosen.items()
    ]
    return made, warnings


def check_sysctls(host: HostConfig) -> None:
    """Raises ``Invalid`` for a sysctl that is not the container's own to set."""
    host_network = (host.network_mode or "") == "host"
    host_ipc = (host.ipc_mode or "") == "host"
    for name in host.sysctls or {}:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", name) or ".." in name:
            raise Invalid(f"invalid sysctl: '{name}'")
        dotted = name.replace("/", ".")
        if dotted.startswith("net."):
            if host_network:
                raise Invalid(f"sysctl '{name}' not allowed in host network namespace")
        elif dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
            if host_ipc:
                raise Invalid(f"sysctl '{name}' not allowed in host ipc namespace")
        elif dotted in _UTS_SYSCTLS:
            if (host.uts_mode or "") == "host":
                raise Invalid(f"sysctl '{name}' not allowed in host uts namespace")
        else:
            raise Invalid(f'sysctl "{name}" is not in a separate kernel namespace')


def sysctls(host: HostConfig, domainname: str) -> dict[str, str]:
    """``linux.sysctl``: Docker's two defaults for a network of the container's own, and given."""
    found: dict[str, str] = {}
    if domainname and (host.uts_mode or "") != "host":
        found["kernel.domainname"] = domainname
    mode = host.network_mode or ""
    if mode != "host" and not mode.startswith("container:"):
        found["net.ipv4.ip_unprivileged_port_start"] = "0"
        found["net.ipv4.ping_group_range"] = "0 2147483647"
    found.update(host.sysctls or {})
    return found


def environment(
    given: Sequence[str] | None, *, hostname: str, terminal: bool, home: str
) -> list[str]:
    """The process's environment: Docker's defaults first, then what was given.

    A given name without ``=`` removes a default. HOME comes last, where nobody set it.
    """
    found: dict[str, str] = {
        "PATH": "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": f"HOSTNAME={hostname}",
    }
    if terminal:
        found["TERM"] = "TERM=xterm"
    for each in given or ():
        name, separator, _ = each.partition("=")
        if separator:
            found[name] = each
        else:
            found.pop(name, None)
    if "HOME" not in found:
        found["HOME"] = f"HOME={home or '/'}"
    return list(found.values())
