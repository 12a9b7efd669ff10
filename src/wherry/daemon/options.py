"""The options of ``wherryd``: one table for the flags and the keys of ``daemon.json`` (pure).

The names are ``dockerd``'s, so that a machine's ``daemon.json`` and unit files go on working.
``Effect`` says what becomes of a value: options that apply, ones that are accepted because what
they ask is so anyway or only tunes dockerd itself (a line in the log says that nothing follows),
and ones that would change what the user gets, which are refused rather than ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Effect(Enum):
    APPLIES = "applies"
    NO_EFFECT = "accepted, without effect"
    REFUSED = "refused"


@dataclass(frozen=True)
class Option:
    """``key`` of daemon.json ("" for a flag only) and ``flags`` (() for a key only).

    ``kind``: text, bool, int, list (repeated flag, JSON array) or map (``name=value`` flags, JSON
    object of any values).
    """

    key: str
    flags: tuple[str, ...]
    kind: str
    help: str
    effect: Effect = Effect.APPLIES
    name: str = ""
    """Name in the settings; by default the key."""

    @property
    def dest(self) -> str:
        return (self.name or self.key or self.flags[-1].lstrip("-")).replace("-", "_")


_PLAIN = (
    Option("data-root", ("-g", "--graph", "--data-root"), "text", "directory of what is kept"),
    Option(
        "exec-root",
        ("--exec-root", "--run-dir"),
        "text",
        "directory of sockets, namespaces and mounts",
        name="run-dir",
    ),
    Option("hosts", ("-H", "--host"), "list", "socket to listen on: unix://, tcp:// or fd://"),
    Option("sockets", (), "list", "further sockets with less rights (see the guide)"),
    Option("", ("--config-file", "--config"), "text", "configuration file", name="config"),
    Option("", ("--validate",), "bool", "check the configuration and end", name="validate"),
    Option("pidfile", ("-p", "--pidfile"), "text", "file for the process id"),
    Option("group", ("-G", "--group"), "text", "group of the unix socket"),
    Option("debug", ("-D", "--debug"), "bool", "log at the debug level"),
    Option("log-level", ("-l", "--log-level"), "text", "debug, info, warn, error or fatal"),
    Option("tls", ("--tls",), "bool", "implied by --tlsverify"),
    Option("tlsverify", ("--tlsverify",), "bool", "TCP with mutual TLS"),
    Option("tlscacert", ("--tlscacert",), "text", "certificate that client certificates need"),
    Option("tlscert", ("--tlscert",), "text", "certificate of the daemon"),
    Option("tlskey", ("--tlskey",), "text", "key of the daemon's certificate"),
    Option(
        "insecure-loopback",
        ("--insecure-loopback",),
        "bool",
        "allow plain TCP on loopback addresses (any local user then rules the machine)",
    ),
    Option("labels", ("--label",), "list", "key=value label of the daemon"),
    Option("bridge", ("-b", "--bridge"), "text", "bridge of the default network"),
    Option("bip", ("--bip",), "text", "address of the bridge in CIDR notation"),
    Option("fixed-cidr", ("--fixed-cidr",), "text", "subnet for the bridge's containers"),
    Option("mtu", ("--mtu",), "int", "MTU of the default network"),
    Option("icc", ("--icc",), "bool", "let containers of the default bridge reach each other"),
    Option("ip", ("--ip",), "text", "default host address of published ports"),
    Option("ip-masq", ("--ip-masq",), "bool", "masquerade what leaves the default bridge"),
    Option("ipv6", ("--ipv6",), "bool", "IPv6 on the default bridge"),
    Option("fixed-cidr-v6", ("--fixed-cidr-v6",), "text", "IPv6 subnet of the default bridge"),
    Option("default-address-pools", ("--default-address-pool",), "list", "pools of networks"),
    Option("default-gateway", ("--default-gateway",), "text", "gateway of the default bridge"),
    Option("default-gateway-v6", ("--default-gateway-v6",), "text", "the same for IPv6"),
    Option("firewall", ("--firewall",), "text", "docker or host: who may refuse a published port"),
    Option(
        "userland-proxy",
        ("--userland-proxy",),
        "bool",
        "forward ports that the kernel cannot translate: [::1], IPv6 to IPv4",
    ),
    Option(
        "iptables",
        ("--iptables",),
        "bool",
        "accept the bridges' packets in an iptables FORWARD chain whose policy drops",
    ),
    Option("ip6tables", ("--ip6tables",), "bool", "the same for ip6tables"),
    Option("dns", ("--dns",), "list", "name servers of containers"),
    Option("dns-opts", ("--dns-opt",), "list", "resolver options of containers"),
    Option("dns-search", ("--dns-search",), "list", "search domains of containers"),
    Option("host-gateway-ip", ("--host-gateway-ip",), "text", "meaning of host-gateway"),
    Option("runtimes", ("--add-runtime",), "map", "further OCI runtime, NAME=PATH"),
    Option("default-runtime", ("--default-runtime",), "text", "OCI runtime used by default"),
    Option("init", ("--init",), "bool", "an init in every container that does not refuse it"),
    Option("cgroup-parent", ("--cgroup-parent",), "text", "cgroup of all containers"),
    Option("default-ulimits", ("--default-ulimit",), "map", "limit, NAME=SOFT[:HARD]"),
    Option("default-shm-size", ("--default-shm-size",), "text", "size of /dev/shm"),
    Option("default-ipc-mode", ("--default-ipc-mode",), "text", "private or shareable"),
    Option("default-cgroupns-mode", ("--default-cgroupns-mode",), "text", "private or host"),
    Option("no-new-privileges", ("--no-new-privileges",), "bool", "for every container"),
    Option("seccomp-profile", ("--seccomp-profile",), "text", "path, builtin or unconfined"),
    Option("log-driver", ("--log-driver",), "text", "json-file, local, none, syslog, ..."),
    Option("log-opts", ("--log-opt",), "map", "option of the log driver, NAME=VALUE"),
    Option("experimental", ("--experimental",), "bool", "show Docker's client experimental ones"),
    Option("shutdown-timeout", ("--shutdown-timeout",), "int", "seconds the end may take"),
)

_NO_EFFECT = (
    ("live-restore", ("--live-restore",), "bool"),
    ("userland-proxy-path", ("--userland-proxy-path",), "text"),
    ("features", (), "map"),
    ("builder", (), "map"),
    ("containerd", ("--containerd",), "text"),
    ("containerd-namespace", ("--containerd-namespace",), "text"),
    ("max-concurrent-downloads", ("--max-concurrent-downloads",), "int"),
    ("max-concurrent-uploads", ("--max-concurrent-uploads",), "int"),
    ("max-download-attempts", ("--max-download-attempts",), "int"),
    ("metrics-addr", ("--metrics-addr",), "text"),
    ("storage-driver", ("-s", "--storage-driver"), "text"),
    ("storage-opts", ("--storage-opt",), "list"),
    ("exec-opts", ("--exec-opt",), "list"),
    ("raw-logs", ("--raw-logs",), "bool"),
    ("log-format", ("--log-format",), "text"),
    ("ip-forward", ("--ip-forward",), "bool"),
    ("registry-mirrors", ("--registry-mirror",), "list"),
    ("insecure-registries", ("--insecure-registry",), "list"),
    ("swarm-default-advertise-addr", ("--swarm-default-advertise-addr",), "text"),
    ("node-generic-resources", ("--node-generic-resource",), "list"),
    ("network-control-plane-mtu", ("--network-control-plane-mtu",), "int"),
    ("deprecated-key-path", (), "text"),
    ("min-api-version", (), "text"),
)

_REFUSED = (
    ("authorization-plugins", ("--authorization-plugin",), "list"),
    ("userns-remap", ("--userns-remap",), "text"),
    ("selinux-enabled", ("--selinux-enabled",), "bool"),
    ("init-path", ("--init-path",), "text"),
    ("oom-score-adjust", ("--oom-score-adjust",), "int"),
    ("rootless", ("--rootless",), "bool"),
    ("proxies", (), "map"),
)

OPTIONS: tuple[Option, ...] = (
    *_PLAIN,
    *(
        Option(key, flags, kind, "accepted for dockerd's sake, without effect", Effect.NO_EFFECT)
        for key, flags, kind in _NO_EFFECT
    ),
    *(
        Option(key, flags, kind, "not supported by this version", Effect.REFUSED)
        for key, flags, kind in _REFUSED
    ),
)

HARMLESS: dict[str, object] = {
    "selinux_enabled": False,
    "rootless": False,
    "oom_score_adjust": 0,
}
"""Values of refused options that ask for nothing but what happens anyway."""
