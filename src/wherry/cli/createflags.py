"""The flags of ``run`` and ``create``, in Docker's words."""

from __future__ import annotations

from wherry.cli import values
from wherry.cli.flags import Flag, many, number, switch, text, value
from wherry.cli.mountspec import mount
from wherry.cli.networkspec import network

_BYTES = "bytes"

BASIC: tuple[Flag, ...] = (
    many(
        "annotation",
        "Add an annotation to the container (passed through to the OCI runtime)",
        parse=values.key_value,
        shown="map",
    ),
    many("attach", "Attach to STDIN, STDOUT or STDERR", short="a", parse=values.stream),
    text("cidfile", "Write the container ID to the file", complete="files"),
    text("entrypoint", "Overwrite the default ENTRYPOINT of the image"),
    many("env", "Set environment variables", short="e", parse=values.environment),
    many("env-file", "Read in a file of environment variables", complete="files"),
    switch("init", "Run an init inside the container that forwards signals and reaps processes"),
    switch("interactive", "Keep STDIN open even if not attached", short="i"),
    many("label", "Set meta data on a container", short="l", parse=values.label),
    many("label-file", "Read in a line delimited file of labels", complete="files"),
    text("log-driver", "Logging driver for the container"),
    many("log-opt", "Log driver options"),
    text("name", "Assign a name to the container"),
    text("platform", "Set platform if server is multi-platform capable"),
    text(
        "pull",
        'Pull image before running ("always", "missing", "never")',
        default="missing",
    ),
    switch("quiet", "Suppress the pull output", short="q"),
    value(
        "restart",
        "Restart policy to apply when a container exits",
        str,
        default="no",
    ),
    switch(
        "rm",
        "Automatically remove the container and its associated anonymous volumes when it exits",
    ),
    text("runtime", "Runtime to use for this container"),
    text("stop-signal", "Signal to stop the container"),
    number("stop-timeout", "Timeout (in seconds) to stop a container"),
    switch("tty", "Allocate a pseudo-TTY", short="t"),
    text("user", "Username or UID (format: <name|uid>[:<group|gid>])", short="u"),
    text("workdir", "Working directory inside the container", short="w"),
    many(
        "depends-on",
        "Start another container first, and wait until it is started (the default), healthy or "
        "completed (format: <name>[:condition])",
        complete="containers",
    ),
    switch("disable-content-trust", "Skip image verification", default=True, hidden=True),
)

HEALTH: tuple[Flag, ...] = (
    text("health-cmd", "Command to run to check health"),
    *(
        value(f"health-{name}", about, values.duration, default=0, shown="duration")
        for name, about in (
            ("interval", "Time between running the check (ms|s|m|h)"),
            ("start-interval", "Time between running the check during the start period (ms|s|m|h)"),
            (
                "start-period",
                "Start period for the container to initialize before starting health-retries "
                "countdown (ms|s|m|h)",
            ),
            ("timeout", "Maximum time to allow one check to run (ms|s|m|h)"),
        )
    ),
    number("health-retries", "Consecutive failures needed to report unhealthy"),
    text(
        "on-unhealthy",
        'What to do when the container becomes unhealthy ("none", "restart", "stop", "kill")',
    ),
    switch("no-healthcheck", "Disable any container-specified HEALTHCHECK"),
)

NETWORK: tuple[Flag, ...] = (
    many("add-host", "Add a custom host-to-IP mapping (host:ip)", parse=values.extra_host),
    many("dns", "Set custom DNS servers", parse=values.ip_address),
    many("dns-option", "Set DNS options"),
    many("dns-search", "Set custom DNS search domains", parse=values.dns_search),
    text("domainname", "Container NIS domain name"),
    many("expose", "Expose a port or a range of ports"),
    text("hostname", "Container host name", short="h"),
    text("ip", "IPv4 address (e.g., 172.30.100.104)"),
    text("ip6", "IPv6 address (e.g., 2001:db8::33)"),
    many("link", "Add link to another container", parse=values.link),
    many("link-local-ip", "Container IPv4/IPv6 link-local addresses", parse=values.ip_address),
    text("mac-address", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    many(
        "network",
        "Connect a container to a network",
        parse=network,
        shown="network",
        complete="networks",
    ),
    many("network-alias", "Add network-scoped alias for the container"),
    many("publish", "Publish a container's port(s) to the host", short="p"),
    switch("publish-all", "Publish all exposed ports to random ports", short="P"),
)

MOUNTS: tuple[Flag, ...] = (
    many("mount", "Attach a filesystem mount to the container", parse=mount, shown="mount"),
    switch("read-only", "Mount the container's root filesystem as read only"),
    value("shm-size", "Size of /dev/shm", values.memory, default=0, shown=_BYTES),
    many("storage-opt", "Storage driver options for the container"),
    many("tmpfs", "Mount a tmpfs directory"),
    many("volume", "Bind mount a volume", short="v"),
    text("volume-driver", "Optional volume driver for the container"),
    many("volumes-from", "Mount volumes from the specified container(s)", complete="containers"),
)

SECURITY: tuple[Flag, ...] = (
    many("cap-add", "Add Linux capabilities"),
    many("cap-drop", "Drop Linux capabilities"),
    text("cgroup-parent", "Optional parent cgroup for the container"),
    text(
        "cgroupns",
        "Cgroup namespace to use (host|private)\n"
        "'host':    Run the container in the host's cgroup namespace\n"
        "'private': Run the container in its own private cgroup namespace\n"
        "'':        Use the daemon's default",
    ),
    many("group-add", "Add additional groups to join"),
    text("ipc", "IPC mode to use"),
    text("isolation", "Container isolation technology"),
    text("pid", "PID namespace to use"),
    switch("privileged", "Give extended privileges to this container"),
    many("security-opt", "Security Options"),
    many("sysctl", "Sysctl options", parse=values.key_value, shown="map"),
    text("userns", "User namespace to use"),
    text("uts", "UTS namespace to use"),
)

RESOURCES: tuple[Flag, ...] = (
    number(
        "blkio-weight",
        "Block IO (relative weight), between 10 and 1000, or 0 to disable",
        shown="uint16",
    ),
    number("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
    number("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    number("cpu-rt-period", "Limit CPU real-time period in microseconds"),
    number("cpu-rt-runtime", "Limit CPU real-time runtime in microseconds"),
    number("cpu-shares", "CPU shares (relative weight)", short="c"),
    value("cpus", "Number of CPUs", values.cpus, default=0, shown="decimal"),
    text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    value("memory", "Memory limit", values.memory, short="m", default=0, shown=_BYTES),
    value("memory-reservation", "Memory soft limit", values.memory, default=0, shown=_BYTES),
    value(
        "memory-swap",
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
        values.memory_swap,
        default=0,
        shown=_BYTES,
    ),
    number("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
)
"""Those that ``update`` knows as well."""

LIMITS: tuple[Flag, ...] = (
    many(
        "blkio-weight-device",
        "Block IO weight (relative device weight)",
        parse=values.weight_device,
    ),
    number("cpu-count", "CPU count (Windows only)"),
    number("cpu-percent", "CPU percent (Windows only)"),
    many("device", "Add a host device to the container"),
    many(
        "device-cgroup-rule",
        "Add a rule to the cgroup allowed devices list",
        parse=values.device_rule,
    ),
    *(
        many(
            f"device-{way}-{unit}",
            f"Limit {way} rate ({about}) {'from' if way == 'read' else 'to'} a device",
            parse=values.throttle_bytes if unit == "bps" else values.throttle_iops,
        )
        for way in ("read", "write")
        for unit, about in (("bps", "bytes per second"), ("iops", "IO per second"))
    ),
    many(
        "gpus",
        "GPU devices to add to the container ('all' to pass all GPUs)",
        parse=values.gpus,
        shown="gpu-request",
    ),
    value(
        "io-maxbandwidth",
        "Maximum IO bandwidth limit for the system drive (Windows only)",
        values.memory,
        default=0,
        shown=_BYTES,
    ),
    number("io-maxiops", "Maximum IOps limit for the system drive (Windows only)", shown="uint"),
    number("memory-swappiness", "Tune container memory swappiness (0 to 100)", default=-1),
    switch("oom-kill-disable", "Disable OOM Killer"),
    number("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)"),
    many("ulimit", "Ulimit options", parse=values.ulimit, shown="ulimit"),
)

CREATE_FLAGS: tuple[Flag, ...] = (
    *BASIC,
    *HEALTH,
    *NETWORK,
    *MOUNTS,
    *SECURITY,
    *RESOURCES,
    *LIMITS,
    # Older spellings that scripts still use.
    many("net", "", parse=network, hidden=True),
    many("net-alias", "", hidden=True),
    many("dns-opt", "", hidden=True),
    value("kernel-memory", "", values.memory, default=0, shown=_BYTES, hidden=True),
)

RUN_FLAGS: tuple[Flag, ...] = (
    *CREATE_FLAGS,
    switch("detach", "Run container in background and print container ID", short="d"),
    text("detach-keys", "Override the key sequence for detaching a container"),
    switch("sig-proxy", "Proxy received signals to the process", default=True),
)
