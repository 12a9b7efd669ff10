"""From what the user asked to the OCI runtime spec. Pure: host facts come in as a value.

Rules: moby ``daemon/oci_linux.go``; each builder's module names its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.errors import Invalid, NotImplementedYet
from wherry.linux.devices import DeviceNode, block_device_numbers
from wherry.linux.host import HostFacts
from wherry.runtime import caps, limits, mounts, resources, seccomp, security
from wherry.runtime.users import ResolvedUser
from wherry.wire.container import Config, HostConfig, Ulimit

OCI_VERSION = "1.0.2"
OWN_NETWORK = ""
"""As ``network``: a namespace of the container's own with nothing but the loopback."""

MASKED_PATHS: tuple[str, ...] = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS: tuple[str, ...] = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


@dataclass(frozen=True)
class SpecRequest:
    """Everything that a spec depends on."""

    container_id: str
    config: Config
    """Image and request merged."""
    host_config: HostConfig
    rootfs: Path
    cgroup_path: str
    """Such as ``/wherry/<id>``."""
    facts: HostFacts
    hostname: str = ""
    domainname: str = ""
    user: ResolvedUser = field(default_factory=ResolvedUser)
    network: str | None = OWN_NETWORK
    """Path of a namespace; None: the host's; ``OWN_NETWORK``."""
    namespaces: Mapping[str, str] = field(default_factory=dict)
    """Joined namespaces: ``pid``, ``ipc``, ``uts``, ``cgroup`` -> path."""
    shm_source: str = ""
    """Directory that ``/dev/shm`` is bound from, where IPC is joined."""
    mounts: Sequence[Mapping[str, Any]] = ()
    """OCI mounts of the other rooms: volumes, hosts, hostname, resolv.conf."""
    devices: Sequence[tuple[DeviceNode, str]] = ()
    """Resolved ``Devices`` with their access letters."""
    host_devices: Sequence[DeviceNode] = ()
    """All devices of the host, for a privileged container."""
    default_ulimits: Sequence[Ulimit] = ()
    init: bool = False
    """Whether an init runs as the first process (``Init``, else the daemon's default)."""
    seccomp_profile: str = ""
    """JSON of the daemon's default profile, ``unconfined``; empty: the built-in one."""
    keep_projects: bool = False
    """Whether a mount is limited by a project quota, which the container must not lift."""
    device_numbers: Callable[[str], tuple[int, int]] = block_device_numbers


@dataclass(frozen=True)
class Spec:
    document: dict[str, Any]
    warnings: Sequence[str] = ()


def words(value: Sequence[str] | str | None) -> list[str]:
    """``Cmd`` or ``Entrypoint``: a list, or (old clients) one string."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def command(config: Config) -> list[str]:
    """Entrypoint and arguments. Raises ``Invalid`` when there is none."""
    found = [*words(config.entrypoint), *words(config.cmd)]
    if not found:
        raise Invalid("no command specified")
    return found


def check(config: Config, host: HostConfig, facts: HostFacts, *, network: bool = True) -> list[str]:
    """What can be said at create about the parts that this room builds. Returns warnings.

    Ranges of memory and CPU limits are the life cycle's to check. Raises ``Invalid`` naming the
    value, ``NotImplementedYet`` for what this host or Wherry cannot do.
    """
    if host.userns_mode not in (None, "", "host"):
        raise Invalid(f"invalid USER mode: {host.userns_mode}")
    caps.effective(
        host.cap_add,
        host.cap_drop,
        privileged=bool(host.privileged),
        available=facts.capabilities,
    )
    security.parse(host.security_opt, facts)
    limits.check_ulimits(host.ulimits, facts)
    limits.check_oom_score(host.oom_score_adj, facts)
    limits.check_sysctls(host)
    mounts.tmpfs(host.tmpfs)
    for rule in host.device_cgroup_rules or ():
        resources.parse_rule(rule)
    for device in host.devices or ():
        if not device.path_on_host.startswith("/"):
            raise Invalid(f"{device.path_on_host} is not an absolute path")
        resources.check_permissions(device.cgroup_permissions)
    if host.device_requests:
        raise NotImplementedYet(
            'could not select device driver "" with capabilities: '
            f"{[each.capabilities or [] for each in host.device_requests]}"
        )
    if host.init and not facts.init_path and (host.pid_mode or "") == "":
        raise Invalid("--init needs an init binary on the host: install tini or catatonit")
    return _missing(host, facts)


def _missing(host: HostConfig, facts: HostFacts) -> list[str]:
    """Limits that this kernel cannot enforce: Docker drops them with a warning."""
    found = []
    have = facts.controllers
    if host.memory and "memory" not in have:
        found.append(
            "Your kernel does not support memory limit capabilities or the cgroup is not "
            "mounted. Limitation discarded."
        )
    if (host.memory_swap or 0) > 0 and not facts.swap_limit:
        found.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
            "Memory limited without swap."
        )
    if host.pids_limit and host.pids_limit > 0 and "pids" not in have:
        found.append(
            "Your kernel does not support pids limit capabilities or the cgroup is not mounted. "
            "PIDs limit discarded."
        )
    if host.blkio_weight and not facts.blkio_weight:
        found.append(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. "
            "Weight discarded."
        )
    if host.blkio_weight_device and not facts.blkio_weight_device:
        found.append(
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. "
            "Weight-device discarded."
        )
    if host.oom_kill_disable and not facts.memory_oom_control:
        found.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
    if (host.memory_swappiness or -1) >= 0 and facts.cgroup_version == 2:
        found.append(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not "
            "mounted. Memory swappiness discarded."
        )
    return found


def enforceable(host: HostConfig, facts: HostFacts) -> dict[str, Any]:
    """Fields to clear because this host cannot enforce them (see the warnings of ``check``)."""
    clear: dict[str, Any] = {}
    have = facts.controllers
    if "memory" not in have:
        clear.update(memory=None, memory_swap=None, memory_reservation=None)
    elif not facts.swap_limit:
        clear["memory_swap"] = -1
    if "pids" not in have:
        clear["pids_limit"] = None
    if not facts.blkio_weight:
        clear["blkio_weight"] = None
    if not facts.blkio_weight_device:
        clear["blkio_weight_device"] = None
    if not facts.memory_oom_control:
        clear["oom_kill_disable"] = None
    if facts.cgroup_version == 2:
        clear["memory_swappiness"] = None
    return clear


def possible(asked: HostConfig, facts: HostFacts) -> tuple[dict[str, None], list[str]]:
    """Fields of an update that this host cannot enforce, to be cleared, and the warnings."""
    clear = {name: None for name, value in enforceable(asked, facts).items() if value is None}
    return clear, _missing(asked, facts)


def update_resources(
    host: HostConfig,
    facts: HostFacts,
    numbers: Callable[[str], tuple[int, int]] = block_device_numbers,
) -> dict[str, Any]:
    """``linux.resources`` for ``Runtime.update``. Raises ``Invalid``."""
    return resources.limits(_possible(host, facts), numbers)


def _possible(host: HostConfig, facts: HostFacts) -> HostConfig:
    return HostConfig(
        **{name: getattr(host, name) for name in host.__struct_fields__} | enforceable(host, facts)
    )


def build(request: SpecRequest) -> Spec:
    """The spec. Raises ``Invalid``."""
    host, facts = _possible(request.host_config, request.facts), request.facts
    options = security.parse(host.security_opt, facts)
    held = caps.effective(
        host.cap_add,
        host.cap_drop,
        privileged=bool(host.privileged),
        available=facts.capabilities,
    )
    rlimits, warnings = limits.rlimits(host.ulimits, request.default_ulimits, facts)
    init = request.init and _own(host.pid_mode) and bool(facts.init_path)
    process = _process(request, held, options, init)
    if rlimits:
        process["rlimits"] = rlimits
    if (score := limits.oom_score(host.oom_score_adj, facts)) is not None:
        process["oomScoreAdj"] = score
    document: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": str(request.rootfs), "readonly": bool(host.readonly_rootfs)},
        "mounts": _mounts(request, options, init),
        "linux": _linux(request, host, held, options),
    }
    if (host.uts_mode or "") != "host":
        document["hostname"] = request.hostname
    if host.annotations:
        document["annotations"] = dict(host.annotations)
    return Spec(document, warnings)


def _own(mode: str | None) -> bool:
    return (mode or "private") not in ("host",) and not (mode or "").startswith("container:")


def _process(
    request: SpecRequest, held: Sequence[str], options: security.Security, init: bool
) -> dict[str, Any]:
    config = request.config
    arguments = command(config)
    if init:
        arguments = [mounts.INIT_PATH, "--", *arguments]
    process: dict[str, Any] = {
        "terminal": bool(config.tty),
        "user": user_document(request.user),
        "args": arguments,
        "env": limits.environment(
            config.env,
            hostname=request.hostname,
            terminal=bool(config.tty),
            home=request.user.home,
        ),
        "cwd": config.working_dir or "/",
        "capabilities": capability_sets(held, request.user.uid),
        "noNewPrivileges": options.no_new_privileges,
    }
    profile = options.apparmor
    if request.facts.apparmor and profile and profile != "unconfined":
        process["apparmorProfile"] = profile
    return process


def user_document(user: ResolvedUser) -> dict[str, Any]:
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}


def capability_sets(held: Sequence[str], uid: int) -> dict[str, list[str]]:
    """Other users than root start with none, and may gain what the bounding set has."""
    if uid == 0:
        return {"bounding": list(held), "effective": list(held), "permitted": list(held)}
    return {"bounding": list(held)}


def _mounts(request: SpecRequest, options: security.Security, init: bool) -> list[dict[str, Any]]:
    host = request.host_config
    ipc = host.ipc_mode or "private"
    shm = request.shm_source or ("/dev/shm" if ipc == "host" else "")
    base = mounts.standard(
        ipc=ipc, shm_size=host.shm_size or mounts.DEFAULT_SHM_SIZE, shm_source=shm
    )
    extra: list[Mapping[str, Any]] = [*mounts.tmpfs(host.tmpfs), *request.mounts]
    if init:
        extra.append(
            mounts.mount(
                mounts.INIT_PATH, "bind", request.facts.init_path, "bind", "ro", "rprivate"
            )
        )
    return mounts.combine(
        base,
        extra,
        readonly_root=bool(host.readonly_rootfs),
        privileged=bool(host.privileged),
        writable_cgroups=options.writable_cgroups,
    )


def _namespaces(request: SpecRequest) -> list[dict[str, str]]:
    host = request.host_config
    found: list[dict[str, str]] = [{"type": "mount"}]
    if request.network is not None:
        found.append(
            {"type": "network", "path": request.network} if request.network else {"type": "network"}
        )
    cgroup_default = "private" if request.facts.cgroup_version == 2 else "host"
    for kind, mode in (
        ("uts", host.uts_mode),
        ("pid", host.pid_mode),
        ("ipc", host.ipc_mode),
        ("cgroup", host.cgroupns_mode or cgroup_default),
    ):
        path = request.namespaces.get(kind)
        if path:
            found.append({"type": kind, "path": path})
        elif (mode or "") != "host":
            found.append({"type": kind})
    return found


def _linux(
    request: SpecRequest,
    host: HostConfig,
    held: Sequence[str],
    options: security.Security,
) -> dict[str, Any]:
    privileged = bool(host.privileged)
    limited = resources.limits(host, request.device_numbers)
    limited["devices"] = resources.device_rules(
        request.devices, host.device_cgroup_rules, privileged=privileged
    )
    linux: dict[str, Any] = {
        "namespaces": _namespaces(request),
        "cgroupsPath": request.cgroup_path,
        "resources": limited,
        "sysctl": limits.sysctls(host, request.domainname),
    }
    nodes = [node for node, _ in request.devices]
    if privileged:
        taken = {node.path for node in nodes}
        nodes += [node for node in request.host_devices if node.path not in taken]
    if nodes:
        linux["devices"] = [_device(node) for node in nodes]
    masked, readonly = host.masked_paths, host.readonly_paths
    if "systempaths=unconfined" in (host.security_opt or ()):
        masked, readonly = [], []
    if not privileged:
        linux["maskedPaths"] = list(MASKED_PATHS if masked is None else masked)
        linux["readonlyPaths"] = list(READONLY_PATHS if readonly is None else readonly)
    propagation = mounts.root_propagation(request.mounts)
    if propagation:
        linux["rootfsPropagation"] = propagation
    profile = _seccomp(request, privileged, held, options)
    if profile is not None:
        linux["seccomp"] = profile
    return linux


def _device(node: DeviceNode) -> dict[str, Any]:
    return {
        "path": node.path,
        "type": node.kind,
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
    }


def _seccomp(
    request: SpecRequest,
    privileged: bool,
    held: Sequence[str],
    options: security.Security,
) -> Mapping[str, Any] | None:
    facts = request.facts
    chosen = options.seccomp
    if not chosen:
        if privileged:
            return None
        chosen = request.seccomp_profile
    if chosen == "unconfined" or not facts.seccomp:
        return None
    return seccomp.resolved(
        chosen,
        tuple(held),
        facts.architecture,
        facts.kernel,
        keep_projects=request.keep_projects,
    )


@dataclass(frozen=True)
class ExecSpecRequest:
    """What an exec's process depends on, beyond its container's configuration."""

    arguments: Sequence[str]
    user: ResolvedUser
    facts: HostFacts
    hostname: str = ""
    """The container's."""
    terminal: bool = False
    env: Sequence[str] = ()
    working_dir: str = ""
    privileged: bool = False
    default_ulimits: Sequence[Ulimit] = ()


def exec_process(config: Config, host: HostConfig, request: ExecSpecRequest) -> dict[str, Any]:
    """``process`` of an exec: the container's environment, limits and rights. ``Invalid``."""
    if not request.arguments:
        raise Invalid("No exec command specified")
    options = security.parse(host.security_opt, request.facts)
    held = caps.effective(
        host.cap_add,
        host.cap_drop,
        privileged=request.privileged or bool(host.privileged),
        available=request.facts.capabilities,
    )
    process: dict[str, Any] = {
        "terminal": request.terminal,
        "user": user_document(request.user),
        "args": list(request.arguments),
        "env": limits.environment(
            [*(config.env or ()), *request.env],
            hostname=request.hostname,
            terminal=request.terminal,
            home=request.user.home,
        ),
        "cwd": request.working_dir or config.working_dir or "/",
        "capabilities": capability_sets(held, request.user.uid),
        "noNewPrivileges": options.no_new_privileges,
    }
    rlimits, _ = limits.rlimits(host.ulimits, request.default_ulimits, request.facts)
    if rlimits:
        process["rlimits"] = rlimits
    if (score := limits.oom_score(host.oom_score_adj, request.facts)) is not None:
        process["oomScoreAdj"] = score
    if request.facts.apparmor and options.apparmor not in ("", "unconfined"):
        process["apparmorProfile"] = options.apparmor
    return process
