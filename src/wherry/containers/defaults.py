"""``HostConfig`` as Docker fills it at create, and its validation; pure.

Rules: moby ``daemon/daemon_unix.go`` (``adaptContainerSettings``, ``verifyPlatformContainer``)
and ``runconfig/hostconfig_unix.go``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from wherry.containers import bounds, logoptions
from wherry.containers.facts import HostFacts
from wherry.errors import Invalid, NotImplementedYet
from wherry.wire.container import (
    Config,
    HostConfig,
    LogConfig,
    RestartPolicy,
)

MINIMUM_MEMORY = 6 << 20
MOST_MEMORY = (1 << 63) - 1
POLICIES = ("", "no", "always", "on-failure", "unless-stopped")

MASKED_PATHS = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READONLY_PATHS = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
]


def fill(host: HostConfig, facts: HostFacts) -> HostConfig:
    """Defaults that do not depend on the container: what inspect then shows."""
    memory, swap = host.memory or 0, host.memory_swap or 0
    if memory > 0 and swap == 0:
        swap = min(memory * 2, MOST_MEMORY)
    policy = host.restart_policy or RestartPolicy()
    log = host.log_config or LogConfig()
    driver, log_options = log.type or facts.log_driver, log.config or {}
    if driver == facts.log_driver:
        log_options = {**facts.log_options, **log_options}
    privileged, oom = bool(host.privileged), host.oom_kill_disable
    masked = host.masked_paths
    readonly = host.readonly_paths
    if "systempaths=unconfined" in (host.security_opt or ()):
        masked, readonly = [], []
    filled: HostConfig = msgspec.structs.replace(
        host,
        memory_swap=swap,
        network_mode=host.network_mode or "default",
        restart_policy=RestartPolicy(
            name=policy.name or "no", maximum_retry_count=policy.maximum_retry_count or 0
        ),
        log_config=LogConfig(type=driver, config=log_options),
        shm_size=host.shm_size or facts.shm_size,
        ipc_mode=host.ipc_mode or facts.ipc_mode,
        cgroupns_mode=host.cgroupns_mode or _cgroupns(privileged, facts),
        runtime=host.runtime or facts.default_runtime,
        security_opt=_security(host.security_opt, facts),
        console_size=host.console_size or [0, 0],
        oom_kill_disable=False if oom is None and facts.cgroup_version == 1 else oom,
        masked_paths=MASKED_PATHS if masked is None and not privileged else masked,
        readonly_paths=READONLY_PATHS if readonly is None and not privileged else readonly,
    )
    return filled


def _security(options: list[str] | None, facts: HostFacts) -> list[str] | None:
    """With the daemon's ``no-new-privileges``, unless the container says otherwise."""
    if not facts.no_new_privileges:
        return options
    said = any(each.startswith("no-new-privileges") for each in options or ())
    return options if said else [*(options or ()), "no-new-privileges"]


def _cgroupns(privileged: bool, facts: HostFacts) -> str:
    if facts.cgroupns_mode and not privileged:
        return facts.cgroupns_mode
    return "private" if facts.cgroup_version == 2 and not privileged else "host"


def check_policy(host: HostConfig) -> None:
    """Raises ``Invalid`` for a restart policy that contradicts itself or ``AutoRemove``."""
    policy = host.restart_policy
    if policy is None:
        return
    name, count = policy.name or "", policy.maximum_retry_count or 0
    if name not in POLICIES:
        raise Invalid(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'"
        )
    if count and name != "on-failure":
        raise Invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if count < 0:
        raise Invalid("invalid restart policy: maximum retry count cannot be negative")
    if host.auto_remove and name not in ("", "no"):
        raise Invalid("can't create 'AutoRemove' container with restart policy")


def check_resources(host: HostConfig, facts: HostFacts) -> list[str]:
    """Limits in themselves. Returns warnings; raises ``Invalid`` naming the value."""
    bounds.check(host)
    warnings: list[str] = []
    memory, swap = host.memory or 0, host.memory_swap or 0
    if memory < 0 or 0 < memory < MINIMUM_MEMORY:
        raise Invalid("Minimum memory limit allowed is 6MB")
    if memory > 0 and swap > 0 and swap < memory:
        raise Invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0:
        raise Invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    swappiness = host.memory_swappiness
    if swappiness is not None and swappiness != -1 and not 0 <= swappiness <= 100:
        raise Invalid(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    reservation = host.memory_reservation or 0
    if reservation and reservation < MINIMUM_MEMORY:
        raise Invalid("Minimum memory reservation allowed is 6MB")
    if memory > 0 and reservation > memory:
        raise Invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    _check_cpu(host, facts)
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise Invalid("Range of blkio weight is from 10 to 1000")
    if host.oom_score_adj is not None and not -1000 <= host.oom_score_adj <= 1000:
        raise Invalid(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    if host.shm_size is not None and host.shm_size < 0:
        raise Invalid("SHM size can not be less than 0")
    if host.kernel_memory:
        warnings.append("Specifying a kernel memory limit is deprecated and has no effect.")
    if host.oom_kill_disable and not memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can "
            "result in the system running out of resources."
        )
    return warnings


def _check_cpu(host: HostConfig, facts: HostFacts) -> None:
    nano, period, quota = host.nano_cpus or 0, host.cpu_period or 0, host.cpu_quota or 0
    if nano and period:
        raise Invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano and quota:
        raise Invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if nano < 0 or (facts.cpus and nano > facts.cpus * 1_000_000_000):
        raise Invalid(
            f"Range of CPUs is from 0.01 to {facts.cpus}.00, as there are only {facts.cpus} "
            "CPUs available"
        )
    if period and not 1000 <= period <= 1_000_000:
        raise Invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise Invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if (host.cpu_shares or 0) < 0:
        raise Invalid(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    every = f"0-{facts.cpus - 1}" if facts.cpus else ""
    _check_set("CPU", host.cpuset_cpus, facts.whole.get("cpus", every))
    _check_set("memory node", host.cpuset_mems, facts.whole.get("mems", ""))


def _check_set(what: str, text: str | None, available: str) -> None:
    """A list such as ``0-2,4``; those ``available`` are listed in the same way, "" is not known."""
    if not text:
        return
    letter = "cpuset-cpus" if what == "CPU" else "cpuset-mems"
    if not re.fullmatch(r"[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*", text):
        raise Invalid(f"Invalid value {text} for {letter}.")
    if available and not _numbers(text) <= _numbers(available):
        raise Invalid(
            f"Requested {what}s are not available - requested {text}, available: {available}"
        )


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def check_modes(host: HostConfig, config: Config, runtimes: Sequence[str]) -> None:
    """Namespaces, runtime, log driver. Raises ``Invalid`` or ``NotFound``."""
    for name, value, words in (
        ("IPC", host.ipc_mode, ("", "private", "none", "shareable", "host")),
        ("PID", host.pid_mode, ("", "private", "host")),
        ("UTS", host.uts_mode, ("", "private", "host")),
        ("cgroup namespace", host.cgroupns_mode, ("", "private", "host")),
    ):
        value = value or ""
        if value in words:
            continue
        if value.startswith("container:") and name in ("IPC", "PID") and value[10:]:
            continue
        raise Invalid(f"invalid {name} mode: {value}")
    if host.userns_mode not in (None, "", "host"):
        raise Invalid(f"invalid user namespace mode: {host.userns_mode}")
    if host.uts_mode == "host" and config.hostname:
        raise Invalid("conflicting options: hostname and the UTS mode")
    if host.runtime and runtimes and host.runtime not in runtimes:
        raise Invalid(f"unknown or invalid runtime name: {host.runtime}")
    logoptions.policy(host.log_config)
    if host.isolation not in (None, "", "default"):
        raise Invalid(f"invalid isolation '{host.isolation}' on linux")
    for option in host.storage_opt or {}:
        if option != "size":
            raise Invalid(f"unknown storage option: {option}")
        raise NotImplementedYet("storage-opt size: this storage has no size limits")
    if host.device_requests:
        raise NotImplementedYet("device requests (--gpus) are not there yet")


def check_network_mode(host: HostConfig, config: Config) -> None:
    """What cannot be had in somebody else's network namespace; ``config`` without the image's.

    Raises ``Invalid``.
    """
    mode = host.network_mode or ""
    kind = "container" if mode.startswith("container:") else mode
    if kind not in ("container", "host"):
        return
    if mode == "container:":
        raise Invalid("Invalid network mode: invalid container format container:<name|id>")
    if host.links:
        words = "container type network" if kind == "container" else "host type networking"
        raise Invalid(
            f"conflicting options: {words} can't be used with links. This would result in "
            "undefined behavior"
        )
    if kind == "host":
        if config.mac_address:
            raise Invalid("conflicting options: mac-address and the network mode")
        return
    for given, words in (
        (config.hostname, "hostname and the network mode"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (
            host.port_bindings or host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (config.exposed_ports, "port exposing and the container type network mode"),
    ):
        if given:
            raise Invalid(f"conflicting options: {words}")


def check_config(config: Config) -> None:
    """``Config`` in itself. Raises ``Invalid``."""
    if config.working_dir and not config.working_dir.startswith("/"):
        raise Invalid(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an "
            "absolute path"
        )
    for each in config.env or ():
        if not each or each.startswith("="):
            raise Invalid(f"invalid environment variable: {each}")
        if "\0" in each:
            raise Invalid("invalid environment variable: it holds a null byte")
    if config.stop_timeout is not None and config.stop_timeout < -1:
        raise Invalid(f"invalid stop timeout: {config.stop_timeout}")
    hostname = config.hostname or ""
    if len(hostname) > 63:
        raise Invalid(f"invalid hostname format: {hostname}")
