"""What a limited socket may do with the fields of a request (pure).

Everything here works by lists of what is allowed: a field that is not on a list must be unset. What
a caller of a label's socket names (containers to join or link) must be its own, and is replaced by
its full id, so that the name cannot come to mean another container before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from wherry.containers import depends
from wherry.errors import Forbidden, Invalid
from wherry.volumes.spec import parse_bind
from wherry.wire.container import CreateRequest, HostConfig, Mount, NetworkingConfig, UpdateRequest
from wherry.wire.filters import Filters

Own = Callable[[str], str]
"""A reference to the full id of an own container. ``NotFound`` for foreign and unknown ones."""


@dataclass(frozen=True)
class Label:
    """The containers of a label, and what else they may use."""

    key: str
    value: str
    networks: frozenset[str] = frozenset()
    """Networks they may join beyond the default bridge."""
    volumes: frozenset[str] = frozenset()
    """Named volumes they may mount."""

    @property
    def text(self) -> str:
        return f"{self.key}={self.value}"

    def on(self, labels: Mapping[str, str]) -> bool:
        return labels.get(self.key) == self.value


@dataclass(frozen=True)
class Scope:
    """What callers of one limited socket may do; both limits may hold together."""

    read_only: bool = False
    label: Label | None = None


_TEXT_CONFIG = (
    "hostname domainname user attach_stdin attach_stdout attach_stderr exposed_ports tty "
    "open_stdin stdin_once env cmd healthcheck args_escaped image volumes working_dir entrypoint "
    "network_disabled on_build labels stop_signal stop_timeout shell"
)
_CONFIG = frozenset(_TEXT_CONFIG.split())
_TEXT_RESOURCES = (
    "cpu_shares memory nano_cpus blkio_weight cpu_period cpu_quota cpuset_cpus cpuset_mems "
    "memory_reservation memory_swap memory_swappiness kernel_memory pids_limit restart_policy"
)
_RESOURCES = frozenset(_TEXT_RESOURCES.split())
_TEXT_HOST = (
    "container_id_file port_bindings auto_remove console_size cap_drop dns dns_options dns_search "
    "extra_hosts group_add publish_all_ports readonly_rootfs tmpfs shm_size ulimits init"
)
_HOST = _RESOURCES | frozenset(_TEXT_HOST.split())
_WORDS: Mapping[str, frozenset[str]] = {
    "cgroupns_mode": frozenset({"", "private"}),
    "ipc_mode": frozenset({"", "none", "private", "shareable"}),
    "isolation": frozenset({"", "default"}),
    "network_mode": frozenset({"", "default", "bridge", "none"}),
    "pid_mode": frozenset({"", "private"}),
    "uts_mode": frozenset({"", "private"}),
    "volume_driver": frozenset({"", "local"}),
}
"""Fields that may only say these words, or ``container:`` and an own one where that exists."""
_PEERS = frozenset({"ipc_mode", "network_mode", "pid_mode"})
_TEXT_LISTED = "binds depends_on links log_config mounts oom_score_adj security_opt volumes_from"
_LISTED = frozenset(_TEXT_LISTED.split())
"""Fields with rules of their own."""
_TEXT_UPDATE = (
    "env_add env_remove labels_add labels_remove publish_add publish_remove mounts_add "
    "mounts_remove healthcheck"
)
_UPDATE = _RESOURCES | frozenset(_TEXT_UPDATE.split())
_TEXT_EXEC = (
    "user tty console_size attach_stdin attach_stdout attach_stderr detach detach_keys env "
    "working_dir cmd"
)
_EXEC = frozenset(_TEXT_EXEC.split())
_TEXT_ENDPOINT = "ipam_config links aliases gw_priority"
_ENDPOINT = frozenset(_TEXT_ENDPOINT.split())
_LOG_DRIVERS = frozenset({"", "json-file", "local", "none"})
_SECURITY = frozenset({"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"})


_NULL = frozenset({"masked_paths", "readonly_paths"})
"""Fields that an empty list sets: it takes the protection away."""


def refuse(what: str) -> Forbidden:
    return Forbidden(f"this socket does not allow {what}")


def _only(value: msgspec.Struct, allowed: frozenset[str], where: str) -> None:
    """Fields outside ``allowed`` must be unset."""
    for each in msgspec.structs.fields(type(value)):
        held = getattr(value, each.name)
        unset = held is None or (not held and each.name not in _NULL)
        if not unset and each.name not in allowed:
            raise refuse(f"{where}{each.encode_name}")


def confine_create(request: CreateRequest, label: Label, own: Own) -> None:
    """Make a request of create safe, or refuse it. The label is put on when it is not there."""
    asked = (request.labels or {}).get(label.key)
    if asked not in (None, label.value):
        raise refuse(f"the label {label.key}={asked}: it is {label.text}")
    request.labels = {**(request.labels or {}), label.key: label.value}
    _only(request, _CONFIG | {"host_config", "networking_config"}, "")
    wishes = depends.wishes(request.host_config or HostConfig(), request.labels)
    request.labels.pop(depends.LABEL, None)
    if wishes:
        request.host_config = request.host_config or HostConfig()
        request.host_config.depends_on = [
            str(depends.Wish(own(each.name), each.condition)) for each in wishes
        ]
    if request.host_config is not None:
        _confine_host(request.host_config, label, own)
    if request.networking_config is not None:
        _confine_endpoints(request.networking_config, label, own)


def _confine_host(host: HostConfig, label: Label, own: Own) -> None:
    _only(host, _HOST | _WORDS.keys() | _LISTED, "HostConfig.")
    for name, words in _WORDS.items():
        value = getattr(host, name) or ""
        kind, colon, ref = value.partition(":")
        if name in _PEERS and colon and kind == "container":
            setattr(host, name, f"container:{own(ref)}")
        elif value not in words and not (name == "network_mode" and value in label.networks):
            raise refuse(f"{name.replace('_', ' ')} {value}")
    if host.log_config is not None and (host.log_config.type or "") not in _LOG_DRIVERS:
        raise refuse(f"the log driver {host.log_config.type}")
    if (host.oom_score_adj or 0) < 0:
        raise refuse(f"OomScoreAdj {host.oom_score_adj}")
    for option in host.security_opt or ():
        if option not in _SECURITY:
            raise refuse(f"the security option {option}")
    for bind in host.binds or ():
        _confine_bind(bind, label)
    for mount in host.mounts or ():
        _confine_mount(mount, label)
    host.links = _links(host.links, own)
    parts = [each.partition(":") for each in host.volumes_from or ()]
    host.volumes_from = [f"{own(ref)}{colon}{mode}" for ref, colon, mode in parts]


def _links(links: Sequence[str] | None, own: Own) -> list[str]:
    """``NAME[:alias]`` with own containers by their ids; without an alias the name is it."""
    parts = [each.partition(":") for each in links or ()]
    return [f"{own(ref)}:{alias or ref.removeprefix('/')}" for ref, _, alias in parts]


def _confine_bind(bind: str, label: Label) -> None:
    wanted = parse_bind(bind)
    if wanted.kind != "volume" or (wanted.source and wanted.source not in label.volumes):
        raise refuse(f"mounting {wanted.source}")


def _confine_mount(mount: Mount, label: Label) -> None:
    kind = mount.type or ""
    if kind not in ("volume", "tmpfs", "image"):
        raise refuse(f"mounts of type {kind}")
    if kind == "volume" and mount.source and mount.source not in label.volumes:
        raise refuse(f"mounting {mount.source}")
    if mount.bind_options is not None:
        raise refuse("BindOptions")
    driver = mount.volume_options and mount.volume_options.driver_config
    if driver and (driver.options or driver.name not in (None, "", "local")):
        raise refuse("DriverConfig of a volume")


def _confine_endpoints(networking: NetworkingConfig, label: Label, own: Own) -> None:
    allowed = _WORDS["network_mode"] | label.networks
    for name, endpoint in (networking.endpoints_config or {}).items():
        if name not in allowed:
            raise refuse(f"the network {name}")
        if endpoint is not None:
            _only(endpoint, _ENDPOINT, "EndpointsConfig.")
            endpoint.links = _links(endpoint.links, own)


def confine_update(asked: UpdateRequest, label: Label, own: Own) -> None:
    """What create allows may change, but for the label itself."""
    _only(asked, _UPDATE, "")
    for key in (*(asked.labels_add or {}), *(asked.labels_remove or ())):
        if key == label.key:
            raise refuse(f"to change the label {key}")
    wishes = depends.wishes(HostConfig(), asked.labels_add or {})
    if asked.labels_add and wishes:
        named = [str(depends.Wish(own(each.name), each.condition)) for each in wishes]
        asked.labels_add = {**asked.labels_add, depends.LABEL: ",".join(named)}
    for mount in asked.mounts_add or ():
        _confine_mount(mount, label)


def confine_exec(asked: msgspec.Struct) -> None:
    _only(asked, _EXEC, "")


def confine_ps(arguments: str) -> None:
    """With ``=`` a column can be called PID that is none, and rows of others come through."""
    if "=" in arguments:
        raise refuse("ps_args that rename columns")


def narrowed(filters: Filters, label: Label, own: Own) -> dict[str, list[str]]:
    """Filters of a list with the label besides; containers that they name must be own ones."""
    made = {name: list(values) for name, values in filters.items()}
    for name in ("before", "since"):
        if name in made:
            made[name] = [own(ref) for ref in made[name]]
    made["label"] = [*made.get("label", ()), label.text]
    return made


def narrowed_events(filters: Filters, label: Label) -> dict[str, list[str]]:
    """Filters of events: of containers with the label only."""
    made = {name: list(values) for name, values in filters.items()}
    wanted = made.get("type") or ["container"]
    made["type"] = ["container"] if "container" in wanted else [""]
    made["label"] = [*made.get("label", ()), label.text]
    return made


_TEXT_EVENT_ATTRIBUTES = (
    "comment container driver execDuration execID exitCode height image imageID imageRef name "
    "oldName reclaimed signal type width"
)
EVENT_ATTRIBUTES = frozenset(_TEXT_EVENT_ATTRIBUTES.split())
"""What events of containers carry besides labels: a label of such a name would not be one's own."""


def parse_label(text: str) -> tuple[str, str]:
    """``key=value``. ``Invalid`` says what is wrong with it."""
    key, equals, value = text.partition("=")
    if not key or not equals or not value:
        raise Invalid(f'the label "{text}" is not key=value')
    if key in EVENT_ATTRIBUTES:
        raise Invalid(f'the label "{text}" has the name of an attribute of events: use another key')
    return key, value
