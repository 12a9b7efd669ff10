"""A container as it is kept: one frozen value, JSON in the database.

Changes make new values (``msgspec.structs.replace``); ``containers.book`` writes a new value to
the database before anybody sees it. Times are Unix nanoseconds, 0 for never.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.containers.transitions import Status
from wherry.runtime.port import Running
from wherry.wire.attachment import NetworkRequest
from wherry.wire.container import Config, HostConfig, NetworkingConfig
from wherry.wire.durations import ZERO_TIME, rfc3339
from wherry.wire.mounts import MountPoint

SPEC_VERSION = 1
"""Version of what ``Record`` means; a later one migrates when it reads an earlier one."""


class Probe(msgspec.Struct, frozen=True):
    """One health check that has ended."""

    start_ns: int
    end_ns: int
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True):
    status: str = "starting"
    """starting, healthy, unhealthy."""
    failing: int = 0
    probes: tuple[Probe, ...] = ()
    """The last five, oldest first."""


class State(msgspec.Struct, frozen=True):
    status: Status = Status.CREATED
    pid: int = 0
    pid_start: int = 0
    monitor_pid: int = 0
    monitor_start: int = 0
    exit_code: int = 0
    error: str = ""
    oom: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    health: Health | None = None
    with_volumes: bool = False
    """The removal that has begun takes anonymous volumes along; a restart goes on so."""


class ImageUse(msgspec.Struct, frozen=True):
    """What the container keeps of its image, so that it starts without the image's name."""

    id: str
    target: str
    manifest: str
    layers: tuple[str, ...]
    os: str = "linux"


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """An update that is under way; it is on disk before anything is done.

    Before ``done`` everything can be taken back and the record still says what was; afterwards
    the record says what is, and only leftovers go.
    """

    done: bool = False
    resources: HostConfig | None = None
    """Limits that the running container is given."""
    ports: bool = False
    first: int = 0
    """What new mounts need on the host is numbered from here."""
    volumes: tuple[str, ...] = ()
    """Names of volumes that are made."""
    mounting: tuple[str, ...] = ()
    """Targets that get a mount in the running container."""
    unmounting: tuple[str, ...] = ()
    """Targets that lose theirs once the update is done."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    """Without the leading slash."""
    created_ns: int
    image: ImageUse
    config: Config
    host_config: HostConfig
    networking: NetworkingConfig | None = None
    mount_points: tuple[MountPoint, ...] = ()
    staying: tuple[MountPoint, ...] = ()
    """Removed mounts that the running container keeps until its end."""
    state: State = State()
    restart_count: int = 0
    stopped_by_user: bool = False
    """The last end was asked for: policy ``unless-stopped`` does not start it again."""
    version: int = SPEC_VERSION
    revision: int = 1
    """Grows with every change of what was asked (update, rename)."""
    intent: Intent | None = None

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def running(self) -> Running | None:
        """The processes as last seen; None when there are none."""
        state = self.state
        if not state.pid:
            return None
        return Running(self.id, state.pid, state.pid_start, state.monitor_pid, state.monitor_start)

    @property
    def used_mounts(self) -> tuple[MountPoint, ...]:
        """What it has now or gets at its next start: nothing of it may be let go of."""
        return (*self.mount_points, *self.staying)

    @property
    def argv(self) -> list[str]:
        return as_list(self.config.entrypoint) + as_list(self.config.cmd)

    @property
    def links(self) -> dict[str, str]:
        """Alias -> id of the other container; those of the default bridge network only."""
        if not has_links(self.host_config):
            return {}
        pairs = (each.partition(":") for each in self.host_config.links or ())
        return {alias: child_id for child_id, _, alias in pairs}

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels or {}


def as_list(value: list[str] | str | None) -> list[str]:
    """``Cmd`` and ``Entrypoint`` may be a list or (old clients) one string."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def has_links(host: HostConfig) -> bool:
    """Whether ``host.links`` are links of the default bridge network (``containers.links``)."""
    return bool(host.links) and (host.network_mode or "default") in ("default", "bridge")


def network_request(record: Record) -> NetworkRequest:
    """The container as the networks see it."""
    networking = record.networking
    return NetworkRequest(
        container_id=record.id,
        name=record.name,
        hostname=record.config.hostname or "",
        domainname=record.config.domainname or "",
        host_config=record.host_config,
        endpoints=dict((networking and networking.endpoints_config) or {}),
        exposed_ports=sorted(record.config.exposed_ports or ()),
        network_disabled=bool(record.config.network_disabled),
        mac_address=record.config.mac_address,
    )


def encode(record: Record) -> bytes:
    return msgspec.json.encode(record)


_decoder = msgspec.json.Decoder(Record)


def decode(data: bytes) -> Record:
    """Raises ``msgspec.ValidationError`` for what is not a record."""
    return _decoder.decode(data)


def stamp(unix_ns: int) -> str:
    """RFC 3339 as Go writes it; 0 is Go's zero time."""
    return rfc3339(unix_ns) if unix_ns else ZERO_TIME


def to_json(value: Any) -> Any:
    """A wire struct as plain dictionaries and lists, API keys."""
    return msgspec.to_builtins(value)
