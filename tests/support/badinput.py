"""What clients get wrong, as data: for every route the requests that must be refused, and how.

Paths and bodies may hold ``{stopped}``, ``{running}``, ``{paused}``, ``{exec}`` and ``{image}``
(ids that the test fills in). A row says the status and a part of the message: the field's name,
or the thing's. Statuses and words are those of Docker Engine 26.1 unless a comment says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.support.images import BASE

_TEXT_GROUPS = "_ping auth commit containers events exec info plugins system version"
GROUPS = frozenset(_TEXT_GROUPS.split())
"""First words of the paths whose routes all need rows; ``images`` have them besides."""


@dataclass(frozen=True)
class Bad:
    """One wrong request and its answer."""

    path: str
    status: int
    says: str = ""
    body: Any = None
    """A value is sent as JSON, bytes as they are."""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    """Another method than the route's."""

    def target(self, names: Mapping[str, str]) -> str:
        """The path with its ids."""
        return _filled(self.path, names)

    def sent(self, names: Mapping[str, str]) -> bytes:
        """The bytes of the body, with its ids."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return _filled(json.dumps(self.body), names).encode()


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def query(path: str, **values: object) -> str:
    return f"{path}?{urlencode(values, doseq=True)}"


def filters(path: str, text: object, **more: object) -> str:
    """``path`` with a ``filters`` query of any JSON value, or of a text that is none."""
    return query(path, filters=text if isinstance(text, str) else json.dumps(text), **more)


def bad_filters(path: str, **more: object) -> tuple[Bad, ...]:
    """What is no filter, for a call that has filters."""
    return (
        Bad(filters(path, "{broken", **more), 400, "invalid filter"),
        Bad(filters(path, ["label"], **more), 400, "invalid filter"),
        Bad(filters(path, {"label": 7}, **more), 400, "invalid filter"),
        Bad(filters(path, {"label": [7]}, **more), 400, "invalid filter"),
        Bad(filters(path, {"nonsense": ["x"]}, **more), 400, "invalid filter 'nonsense'"),
    )


def bad_json(path: str) -> tuple[Bad, ...]:
    """What is no JSON object, or not said to be one."""
    return (
        Bad(path, 400, "invalid JSON", body=b'{"Image": '),
        Bad(path, 400, "invalid JSON", body=b"not json"),
        Bad(path, 400, "invalid JSON", body=b"[]"),
        Bad(path, 400, "invalid JSON", body=b'"text"'),
        Bad(path, 400, "JSON", body=b"{} {}"),
        Bad(path, 400, "invalid JSON", body=b'{"a": \xff}'),
        Bad(path, 400, "invalid JSON", body=b"[" * 100_000),
        Bad(path, 400, "Content-Type", body=b"{}", headers={"Content-Type": "text/plain"}),
    )


def no_container(path: str, body: Any = None) -> Bad:
    return Bad(path.replace("{id}", "nobody"), 404, "No such container: nobody", body=body)


def no_image(path: str) -> Bad:
    return Bad(path.replace("{name}", "no/such"), 404, "no such image: no/such")


def not_this(method: str, path: str) -> Bad:
    """A method that the path does not have (Docker says 404 to it)."""
    return Bad(path, 405, f"method {method} is not allowed", method=method)


def container(**changes: Any) -> dict[str, Any]:
    """A body of create that is right but for ``changes``."""
    host = changes.pop("HostConfig", {})
    return {
        "Image": BASE,
        "Cmd": ["true"],
        "HostConfig": {"NetworkMode": "none", **host},
        **changes,
    }


def create(says: str, status: int = 400, *, name: str = "", **changes: Any) -> Bad:
    path = query("/containers/create", name=name) if name else "/containers/create"
    return Bad(path, status, says, body=container(**changes))


def host(says: str, status: int = 400, **changes: Any) -> Bad:
    return create(says, status, HostConfig=changes)


def mount(says: str, status: int = 400, **entry: Any) -> Bad:
    return host(says, status, Mounts=[entry])


HUGE = 1 << 70
CREATE = (
    *bad_json("/containers/create"),
    Bad("/containers/create", 400, "EOF"),
    create("No such image: no/such:image", 404, Image="no/such:image"),
    create("invalid reference format", Image="UPPER case"),
    create("image", Image=""),
    create("Invalid container name (a/b)", name="a/b"),
    create("Invalid container name (x)", name="x"),
    create("already in use by container", 409, name="stopped"),
    Bad(query("/containers/create", platform="junk"), 400, "junk", body=container()),
    # Wrong types: the message names the field.
    create("Image", Image=7),
    create("Cmd", Cmd=7),
    create("Cmd", Cmd=[7]),
    create("Env", Env="A=b"),
    create("Env", Env={"A": "b"}),
    create("Labels", Labels=["a=b"]),
    create("Labels", Labels={"a": 1}),
    create("Tty", Tty="yes"),
    create("User", User=0),
    create("StopTimeout", StopTimeout="10"),
    create("StopTimeout", StopTimeout=1.5),
    create("ExposedPorts", ExposedPorts=["80/tcp"]),
    create("Volumes", Volumes="/data"),
    create("Healthcheck", Healthcheck=[]),
    create("Healthcheck.Interval", Healthcheck={"Interval": "5s"}),
    Bad("/containers/create", 400, "HostConfig", body={"Image": BASE, "HostConfig": []}),
    create("NetworkingConfig", NetworkingConfig=7),
    create("EndpointsConfig", NetworkingConfig={"EndpointsConfig": []}),
    host("HostConfig.Memory", Memory="much"),
    host("HostConfig.Memory", Memory=HUGE),
    host("HostConfig.Binds", Binds="/a:/b"),
    host("HostConfig.CapAdd", CapAdd=7),
    host("HostConfig.Privileged", Privileged=1),
    host("HostConfig.PortBindings", PortBindings=[]),
    host("HostConfig.PortBindings", PortBindings={"80/tcp": {"HostPort": "80"}}),
    host("HostPort", PortBindings={"80/tcp": [{"HostPort": 80}]}),
    host("HostConfig.RestartPolicy", RestartPolicy="always"),
    host("HostConfig.LogConfig", LogConfig="json-file"),
    host("HostConfig.Ulimits", Ulimits={"nofile": 5}),
    host("HostConfig.Ulimits", Ulimits=[{"Name": "nofile", "Soft": "x"}]),
    host("HostConfig.Devices", Devices=["/dev/null"]),
    host("HostConfig.Mounts", Mounts={}),
    host("HostConfig.Sysctls", Sysctls=["a=b"]),
    host("HostConfig.Tmpfs", Tmpfs=["/tmp"]),
    host("HostConfig.ConsoleSize", ConsoleSize="80x24"),
    # Out of range, or not among the words.
    create("NONE", StopSignal="SIGNONE"),
    create("stop timeout", StopTimeout=-2),
    create("relative", WorkingDir="relative"),
    create("=value", Env=["=value"]),
    create("null byte", Env=["A=b\0c"]),
    create("null byte", Cmd=["a\0b"]),
    create("99999", ExposedPorts={"99999/tcp": {}}),
    create("80/icmp", ExposedPorts={"80/icmp": {}}),
    create("hostname", Hostname="h" * 70),
    create("Interval", Healthcheck={"Test": ["CMD", "true"], "Interval": 5}),
    create("Retries", Healthcheck={"Test": ["CMD", "true"], "Retries": -1}),
    create("ealthcheck", Healthcheck={"Test": ["NONSENSE"]}),
    host("Minimum memory limit", Memory=1000),
    host("emory", Memory=-5),
    host("Memoryswap", MemorySwap=1 << 30),
    host("memoryswap", Memory=1 << 30, MemorySwap=1 << 20),
    host("swappiness", MemorySwappiness=101),
    host("reservation", MemoryReservation=5),
    host("reservation", Memory=8 << 20, MemoryReservation=16 << 20),
    host("CPUs", NanoCpus=10**13),
    host("CPUs", NanoCpus=-1),
    host("period", CpuPeriod=1),
    host("quota", CpuQuota=5),
    host("Nano CPUs", NanoCpus=10**9, CpuQuota=50_000),
    host("shares", CpuShares=-1),
    host("cpuset-cpus", CpusetCpus="a-b"),
    host("999", CpusetCpus="999"),
    host("cpuset-mems", CpusetMems="x"),
    host("memory nodes are not available", CpusetMems="999"),
    host("blkio weight", BlkioWeight=5),
    host("oom score", OomScoreAdj=5000),
    host("SHM size", ShmSize=-1),
    host("MemorySwap", MemorySwap=-2),
    host("PidsLimit", PidsLimit=1 << 23),
    host("CpuQuota", CpuQuota=-2),
    host("CpuQuota", CpuQuota=1 << 60),
    host("CpuRealtimeRuntime", CpuRealtimeRuntime=-1),
    host("CpuRealtimePeriod", 501, CpuRealtimePeriod=1000),
    host("ConsoleSize", ConsoleSize=[1]),
    host("ConsoleSize", ConsoleSize=[-1, 80]),
    host("relative", MaskedPaths=["relative"]),
    host("/a/../b", ReadonlyPaths=["/a/../b"]),
    host("cgroup parent", CgroupParent="../x"),
    host("cgroup parent", CgroupParent="a\nb"),
    host("no-such-runtime", Runtime="no-such-runtime"),
    host("FLY", CapAdd=["FLY"]),
    host("FLY", CapDrop=["FLY"]),
    host("perhaps", RestartPolicy={"Name": "perhaps"}),
    host("retry count", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": -1}),
    host("retry count", RestartPolicy={"Name": "always", "MaximumRetryCount": 3}),
    host("AutoRemove", AutoRemove=True, RestartPolicy={"Name": "always"}),
    host("nonsense", IpcMode="nonsense"),
    host("nonsense", PidMode="nonsense"),
    host("nonsense", UTSMode="nonsense"),
    host("nonsense", UsernsMode="nonsense"),
    host("nonsense", CgroupnsMode="nonsense"),
    host("nonsense", Isolation="nonsense"),
    host("nobody", 404, PidMode="container:nobody"),
    host("nobody", 404, IpcMode="container:nobody"),
    host("nobody", 404, NetworkMode="container:nobody"),
    host("nonsense", LogConfig={"Type": "nonsense"}),
    host("nonsense", LogConfig={"Type": "json-file", "Config": {"nonsense": "1"}}),
    host("max-size", LogConfig={"Type": "json-file", "Config": {"max-size": "lots"}}),
    host("nonsense", Ulimits=[{"Name": "nonsense", "Soft": 1, "Hard": 1}]),
    host("nofile", Ulimits=[{"Name": "nofile", "Soft": 5, "Hard": 1}]),
    host("nonsense", SecurityOpt=["nonsense"]),
    host("seccomp", SecurityOpt=["seccomp=nonsense"]),
    host("xyz", DeviceCgroupRules=["xyz"]),
    host("nonsense", StorageOpt={"nonsense": "1"}),
    host("kernel.panic", Sysctls={"kernel.panic": "1"}),
    host("host", ExtraHosts=["nonsense"]),
    host("300.0.0.1", ExtraHosts=["a:300.0.0.1"]),
    host("nonsense", Dns=["nonsense"]),
    host("port", PortBindings={"junk": [{"HostPort": "80"}]}),
    host("port", PortBindings={"80/tcp": [{"HostPort": "junk"}]}),
    host("port", PortBindings={"80/tcp": [{"HostPort": "70000"}]}),
    host("300.0.0.1", PortBindings={"80/tcp": [{"HostIp": "300.0.0.1", "HostPort": "80"}]}),
    host("volume", Binds=["nonsense"]),
    host("relative", Binds=["/tmp:relative"]),
    host("a:b:c:d", Binds=["a:b:c:d"]),
    host("nonsense", Binds=["/tmp:/b:nonsense"]),
    host("name", Binds=["no@name:/b"]),
    host("/no/such/source", Mounts=[{"Type": "bind", "Source": "/no/such/source", "Target": "/b"}]),
    host("Duplicate mount point", Binds=["/tmp:/b", "/usr:/b"]),
    host("nobody", VolumesFrom=["nobody"]),
    host("nonsense", VolumesFrom=["{running}:nonsense"]),
    host("nonsense", Tmpfs={"/b": "nonsense"}),
    host("relative", Tmpfs={"relative": ""}),
    host("Links", Links=[7]),
    mount("type", Target="/b"),
    mount("nonsense", Type="nonsense", Target="/b"),
    mount("arget", Type="tmpfs"),
    mount("ource", Type="bind", Target="/b"),
    mount("relative", Type="volume", Source="v", Target="relative"),
    mount("options", Type="tmpfs", Target="/b", BindOptions={"Propagation": "rshared"}),
    mount("ource", Type="tmpfs", Target="/b", Source="x"),
    mount("ropagation", Type="bind", Source="/tmp", Target="/b", BindOptions={"Propagation": "x"}),
    create("MAC", MacAddress="nonsense"),
    create(
        "address",
        NetworkingConfig={"EndpointsConfig": {"none": {"IPAMConfig": {"IPv4Address": "x"}}}},
    ),
)

RESIZE = (
    Bad("", 400, "for h"),
    Bad("?h=24", 400, "for w"),
    Bad("?h=a&w=80", 400, "for h"),
    Bad("?h=24&w=b", 400, "for w"),
    Bad("?h=-1&w=80", 400, "size"),
    Bad("?h=24&w=99999", 400, "size"),
)


def below(path: str, rows: tuple[Bad, ...]) -> Iterator[Bad]:
    """Rows whose paths go on behind ``path``."""
    for row in rows:
        yield Bad(path + row.path, row.status, row.says, row.body, row.headers, row.method)


LOGS = "/containers/{running}/logs"
ARCHIVE = "/containers/{running}/archive"
UPDATE = "/containers/{running}/update"
CHECKPOINTS = "/containers/{running}/checkpoints"
EXEC = "/containers/{running}/exec"

TABLE: dict[str, tuple[Bad, ...]] = {
    # ---- system
    "GET /_ping": (not_this("POST", "/_ping"),),
    "HEAD /_ping": (not_this("DELETE", "/_ping"),),
    "GET /version": (
        not_this("PUT", "/version"),
        Bad("/v1.99/version", 400, "client version 1.99 is too new"),
        Bad("/v1.5/version", 400, "client version 1.5 is too old"),
        Bad("/v9999999999.1/version", 404, "page not found"),
        Bad("/vx/version", 404, "page not found"),
        Bad("/version/", 404, "page not found"),
        Bad("//version", 404, "page not found"),
        Bad("/version%00", 400, "null byte"),
    ),
    "GET /info": (not_this("POST", "/info"), Bad("/info/more", 404, "page not found")),
    "POST /build/prune": bad_filters("/build/prune"),
    "GET /system/df": (
        Bad("/system/df?type=nonsense", 400, "unknown object type: nonsense"),
        not_this("POST", "/system/df"),
    ),
    "GET /events": (
        Bad("/events?since=soon", 400, "since"),
        Bad("/events?until=later", 400, "until"),
        Bad("/events?since=20&until=10", 400, "since"),
        *bad_filters("/events", until=1)[:4],
    ),
    "GET /plugins": (not_this("DELETE", "/plugins"),),
    "GET /plugins/{name:.+}/json": (Bad("/plugins/none/json", 404, "not found"),),
    # ---- containers
    "GET /containers/json": (
        *bad_filters("/containers/json"),
        Bad("/containers/json?limit=many", 400, "limit"),
        Bad(filters("/containers/json", {"status": ["perhaps"]}), 400, "status"),
        Bad(filters("/containers/json", {"exited": ["x"]}), 400, "exited"),
        Bad(filters("/containers/json", {"health": ["x"]}), 400, "health"),
        Bad(filters("/containers/json", {"is-task": ["x"]}), 400, "is-task"),
        Bad(filters("/containers/json", {"publish": ["x"]}), 400, "x"),
        Bad(filters("/containers/json", {"before": ["nobody"]}), 404, "nobody"),
        Bad(filters("/containers/json", {"since": ["nobody"]}), 404, "nobody"),
    ),
    "POST /containers/create": CREATE,
    "POST /containers/prune": (
        *bad_filters("/containers/prune"),
        Bad(filters("/containers/prune", {"until": ["soon"]}), 400, "soon"),
        Bad(filters("/containers/prune", {"until": ["1h", "2h"]}), 400, "until"),
    ),
    "POST /commit": (
        Bad("/commit", 400, "container"),
        Bad("/commit?container=nobody", 404, "No such container: nobody"),
        Bad("/commit?container={stopped}&repo=BAD", 400, "reference"),
        Bad("/commit?container={stopped}&repo=a&tag=:::", 400, "reference"),
        Bad("/commit?container={stopped}&changes=NONSENSE+x", 400, "nonsense"),
        *bad_json("/commit?container={stopped}"),
        Bad("/commit?container={stopped}", 400, "Env", body={"Env": 7}),
    ),
    "DELETE /containers/{id}": (
        no_container("/containers/{id}"),
        Bad("/containers/{running}", 409, "force"),
        Bad("/containers/{paused}", 409, "container"),
        Bad("/containers/{stopped}?link=1", 409, "cannot remove the default link name"),
    ),
    "GET /containers/{id}/json": (
        no_container("/containers/{id}/json"),
        Bad("/containers/a%2Fb/json", 404, ""),
        Bad("/containers/%20/json", 404, "No such container"),
        Bad("/containers//json", 404, "page not found"),
    ),
    "GET /containers/{id}/top": (
        no_container("/containers/{id}/top"),
        Bad("/containers/{stopped}/top", 409, "is not running"),
        Bad(query("/containers/{running}/top", ps_args="-o comm"), 400, "PID"),
        Bad(query("/containers/{running}/top", ps_args="--nonsense"), 400, "ps"),
    ),
    "GET /containers/{id}/changes": (no_container("/containers/{id}/changes"),),
    "DELETE /containers/{id}/logs": (no_container("/containers/{id}/logs"),),
    "GET /containers/{id}/logs": (
        no_container("/containers/{id}/logs?stdout=1"),
        Bad(LOGS, 400, "choose at least one stream"),
        Bad(f"{LOGS}?stdout=1&since=soon", 400, "since"),
        Bad(f"{LOGS}?stdout=1&until=later", 400, "until"),
    ),
    "GET /containers/{id}/stats": (
        no_container("/containers/{id}/stats"),
        Bad("/containers/{running}/stats?stream=1&one-shot=1", 400, "one-shot"),
    ),
    "POST /containers/{id}/start": (
        no_container("/containers/{id}/start"),
        Bad("/containers/{running}/start", 304),
        Bad("/containers/{paused}/start", 409, "paused"),
    ),
    "POST /containers/{id}/stop": (
        no_container("/containers/{id}/stop"),
        Bad("/containers/{stopped}/stop", 304),
        Bad("/containers/{running}/stop?t=soon", 400, "for t"),
        Bad("/containers/{running}/stop?signal=NONE", 400, "NONE"),
    ),
    "POST /containers/{id}/restart": (
        no_container("/containers/{id}/restart"),
        Bad("/containers/{running}/restart?t=soon", 400, "for t"),
        Bad("/containers/{running}/restart?signal=NONE", 400, "NONE"),
    ),
    "POST /containers/{id}/kill": (
        no_container("/containers/{id}/kill"),
        Bad("/containers/{stopped}/kill", 409, "is not running"),
        Bad("/containers/{running}/kill?signal=NONE", 400, "invalid signal: NONE"),
        Bad("/containers/{running}/kill?signal=99", 400, "invalid signal: 99"),
        Bad("/containers/{running}/kill?signal=-1", 400, "invalid signal: -1"),
    ),
    "POST /containers/{id}/pause": (
        no_container("/containers/{id}/pause"),
        Bad("/containers/{stopped}/pause", 409, "is not running"),
        Bad("/containers/{paused}/pause", 409, "already paused"),
    ),
    "POST /containers/{id}/unpause": (
        no_container("/containers/{id}/unpause"),
        Bad("/containers/{stopped}/unpause", 409, "not"),
        Bad("/containers/{running}/unpause", 409, "is not paused"),
    ),
    "POST /containers/{id}/rename": (
        no_container("/containers/{id}/rename?name=other"),
        Bad("/containers/{stopped}/rename", 400, "empty"),
        Bad("/containers/{stopped}/rename?name=a%20b", 400, "Invalid container name (a b)"),
        Bad("/containers/{stopped}/rename?name=running", 409, "already in use"),
        Bad("/containers/{stopped}/rename?name=stopped", 400, "same name"),
        Bad("/containers/{stopped}/rename?name=a%00b", 400, "for name"),
    ),
    "POST /containers/{id}/resize": (
        no_container("/containers/{id}/resize?h=1&w=1"),
        Bad("/containers/{stopped}/resize?h=24&w=80", 409, "is not running"),
        *below("/containers/{running}/resize", RESIZE),
    ),
    "POST /containers/{id}/update": (
        no_container("/containers/{id}/update", {}),
        *bad_json(UPDATE),
        Bad(UPDATE, 400, "Memory", body={"Memory": "much"}),
        Bad(UPDATE, 400, "Memory", body={"Memory": HUGE}),
        Bad(UPDATE, 400, "CpuShares", body={"CpuShares": [1]}),
        Bad(UPDATE, 400, "RestartPolicy", body={"RestartPolicy": "always"}),
        Bad(UPDATE, 400, "Minimum memory limit", body={"Memory": 1000}),
        Bad(UPDATE, 400, "999", body={"CpusetCpus": "999"}),
        Bad(UPDATE, 400, "memory nodes are not available", body={"CpusetMems": "0,999"}),
        Bad(UPDATE, 400, "CPUs", body={"NanoCpus": 10**13}),
        Bad(UPDATE, 400, "period", body={"CpuPeriod": 1}),
        Bad(UPDATE, 400, "Nano", body={"NanoCpus": 10**9, "CpuQuota": 50_000}),
        Bad(UPDATE, 400, "CpuQuota", body={"CpuQuota": -2}),
        Bad(UPDATE, 400, "EnvAdd", body={"EnvAdd": "A=b"}),
        Bad(UPDATE, 400, "=b", body={"EnvAdd": ["=b"]}),
        Bad(UPDATE, 400, "LabelsAdd", body={"LabelsAdd": ["a=b"]}),
        Bad(UPDATE, 400, "PublishAdd", body={"PublishAdd": []}),
        Bad(UPDATE, 400, "99999", body={"PublishAdd": {"99999/tcp": []}}),
        Bad(UPDATE, 400, "MountsAdd", body={"MountsAdd": {}}),
        Bad(UPDATE, 400, "nonsense", body={"MountsAdd": [{"Type": "nonsense", "Target": "/b"}]}),
        Bad(UPDATE, 400, "Healthcheck.Interval", body={"Healthcheck": {"Interval": "5s"}}),
        Bad(UPDATE, 400, "perhaps", body={"RestartPolicy": {"Name": "perhaps"}}),
        Bad(UPDATE, 400, "EnvAdd", body={"EnvAdd": ["NO_VALUE"]}),
        Bad(UPDATE, 400, "EnvAdd", body={"EnvAdd": {"A": "1"}}),
        Bad(UPDATE, 400, "EnvRemove", body={"EnvAdd": ["A=1"], "EnvRemove": ["A"]}),
        Bad(UPDATE, 400, "LabelsRemove", body={"LabelsAdd": {"a": "1"}, "LabelsRemove": ["a"]}),
        Bad(UPDATE, 400, "LabelsAdd", body={"LabelsAdd": {"a": 1}}),
        Bad(UPDATE, 400, "PublishAdd", body={"PublishAdd": {"80/tcp": None}}),
        Bad(UPDATE, 400, "PublishAdd", body={"PublishAdd": {"80/http": None}}),
        Bad(UPDATE, 400, "PublishAdd", body={"PublishAdd": ["80"]}),
        Bad(UPDATE, 400, "MountsAdd", body={"MountsAdd": [{"Type": "tmpfs", "Target": "x"}]}),
        Bad(UPDATE, 400, "MountsAdd", body={"MountsAdd": [{"Type": "disk", "Target": "/x"}]}),
        Bad(UPDATE, 400, "MountsRemove", body={"MountsRemove": ["x"]}),
        Bad(UPDATE, 400, "Healthcheck", body={"Healthcheck": {"Retries": 3}}),
        Bad(UPDATE, 400, "Healthcheck", body={"Healthcheck": {"Test": ["NONE"], "Retries": 3}}),
        Bad(UPDATE, 400, "Interval", body={"Healthcheck": {"Test": ["CMD", "x"], "Interval": 1}}),
    ),
    "POST /containers/{id}/wait": (
        no_container("/containers/{id}/wait"),
        Bad("/containers/{running}/wait?condition=perhaps", 400, "condition"),
    ),
    "POST /containers/{id}/attach": (
        no_container("/containers/{id}/attach?stream=1&stdout=1"),
        Bad("/containers/{paused}/attach?stream=1&stdout=1", 409, "paused"),
        Bad("/containers/{running}/attach?stream=1&detachKeys=nonsense", 400, "nonsense"),
    ),
    "GET /containers/{id}/attach/ws": (
        Bad("/containers/{running}/attach/ws", 400, "WebSocket"),
        Bad("/containers/{running}/attach/ws?detachKeys=nonsense", 400, "nonsense"),
    ),
    "POST /containers/{id}/exec": (
        no_container("/containers/{id}/exec", {"Cmd": ["true"]}),
        *bad_json(EXEC),
        Bad(EXEC, 400, "EOF"),
        Bad(EXEC, 400, "no exec command specified", body={}),
        Bad(EXEC, 400, "no exec command specified", body={"Cmd": []}),
        Bad(EXEC, 400, "Cmd", body={"Cmd": "true"}),
        Bad(EXEC, 400, "Env", body={"Cmd": ["true"], "Env": "A=b"}),
        Bad(EXEC, 400, "=b", body={"Cmd": ["true"], "Env": ["=b"]}),
        Bad(EXEC, 400, "Tty", body={"Cmd": ["true"], "Tty": "yes"}),
        Bad(EXEC, 400, "User", body={"Cmd": ["true"], "User": 0}),
        Bad(EXEC, 400, "ConsoleSize", body={"Cmd": ["true"], "ConsoleSize": [1, 2, 3]}),
        Bad(EXEC, 400, "nonsense", body={"Cmd": ["true"], "DetachKeys": "nonsense"}),
        Bad(EXEC, 400, "relative", body={"Cmd": ["true"], "WorkingDir": "relative"}),
        Bad("/containers/{stopped}/exec", 409, "is not running", body={"Cmd": ["true"]}),
        Bad("/containers/{paused}/exec", 409, "is paused", body={"Cmd": ["true"]}),
    ),
    "HEAD /containers/{id}/archive": (
        Bad("/containers/nobody/archive?path=/etc", 404),
        Bad(ARCHIVE, 400),
        Bad(f"{ARCHIVE}?path=/no/such", 404),
    ),
    "GET /containers/{id}/archive": (
        no_container("/containers/{id}/archive?path=/etc"),
        Bad(ARCHIVE, 400, "path"),
        Bad(f"{ARCHIVE}?path=/no/such", 404, "/no/such"),
        Bad(f"{ARCHIVE}?path=/etc/passwd/x", 404, "/etc/passwd/x"),
        Bad(f"{ARCHIVE}?path=/a%00b", 400, "for path"),
    ),
    "PUT /containers/{id}/archive": (
        no_container("/containers/{id}/archive?path=/etc", b""),
        Bad(ARCHIVE, 400, "path", body=b""),
        Bad(f"{ARCHIVE}?path=/no/such", 404, "/no/such", body=b""),
        Bad(f"{ARCHIVE}?path=/etc/passwd", 400, "directory", body=b""),
        Bad(f"{ARCHIVE}?path=/tmp", 400, "", body=b"no archive at all" * 100),
    ),
    "GET /containers/{id}/export": (no_container("/containers/{id}/export"),),
    "GET /containers/{id}/checkpoints": (
        no_container("/containers/{id}/checkpoints"),
        Bad(f"{CHECKPOINTS}?dir=here", 400, "CheckpointDir"),
    ),
    "POST /containers/{id}/checkpoints": (
        no_container("/containers/{id}/checkpoints", {"CheckpointID": "one"}),
        *bad_json(CHECKPOINTS),
        Bad(CHECKPOINTS, 400, "Invalid checkpoint ID", body={}),
        Bad(CHECKPOINTS, 400, "Invalid checkpoint ID", body={"CheckpointID": "../up"}),
        Bad(CHECKPOINTS, 400, "CheckpointID", body={"CheckpointID": 7}),
        Bad(CHECKPOINTS, 400, "Exit", body={"CheckpointID": "one", "Exit": "yes"}),
        Bad(
            CHECKPOINTS,
            400,
            "CheckpointDir",
            body={"CheckpointID": "one", "CheckpointDir": "here"},
        ),
    ),
    "DELETE /containers/{id}/checkpoints/{name}": (
        no_container("/containers/{id}/checkpoints/one"),
        Bad(f"{CHECKPOINTS}/gone", 404, "checkpoint gone does not exist"),
        Bad(f"{CHECKPOINTS}/..", 404, ""),
    ),
    # ---- exec
    "POST /exec/{id}/start": (
        Bad("/exec/nobody/start", 404, "No such exec instance: nobody", body={}),
        *bad_json("/exec/{exec}/start"),
        Bad("/exec/{exec}/start", 400, "Tty", body={"Tty": "yes"}),
        Bad("/exec/{exec}/start", 400, "Detach", body={"Detach": 1}),
        Bad("/exec/{exec}/start", 400, "ConsoleSize", body={"ConsoleSize": [1]}),
    ),
    "POST /exec/{id}/resize": (
        Bad("/exec/nobody/resize?h=1&w=1", 404, "No such exec instance: nobody"),
        Bad("/exec/{exec}/resize?h=24&w=80", 409, "not running"),
        *below("/exec/{exec}/resize", RESIZE),
    ),
    "GET /exec/{id}/json": (Bad("/exec/nobody/json", 404, "No such exec instance: nobody"),),
    # ---- images
    "GET /images/json": (
        *bad_filters("/images/json"),
        Bad(filters("/images/json", {"dangling": ["x"]}), 400, "dangling"),
        Bad(filters("/images/json", {"before": ["no/such"]}), 404, "no/such"),
    ),
    "POST /images/create": (
        Bad("/images/create", 400, "fromImage"),
        Bad("/images/create?fromSrc=-&repo=BAD", 400, "BAD"),
        Bad(query("/images/create", fromSrc="-", changes="NONSENSE x"), 400, "nonsense"),
        Bad("/images/create?fromImage=UPPER%20case", 400, "reference"),
    ),
    "POST /images/load": (Bad("/images/load?platform=%7Bbroken", 400, "platform"),),
    "POST /images/prune": (
        *bad_filters("/images/prune"),
        Bad(filters("/images/prune", {"dangling": ["x"]}), 400, "dangling"),
        Bad(filters("/images/prune", {"until": ["soon"]}), 400, "soon"),
    ),
    "GET /images/get": (Bad("/images/get?names=no/such", 404, "no/such"),),
    "GET /images/{name:.+}/get": (no_image("/images/{name}/get"),),
    "GET /images/{name:.+}/json": (
        no_image("/images/{name}/json"),
        Bad("/images/UPPER/json", 400, "reference"),
    ),
    "GET /images/{name:.+}/history": (no_image("/images/{name}/history"),),
    "POST /images/{name:.+}/tag": (
        no_image("/images/{name}/tag?repo=a"),
        Bad(f"/images/{BASE}/tag", 400, "reference"),
        Bad(f"/images/{BASE}/tag?repo=UPPER", 400, "UPPER"),
        Bad(f"/images/{BASE}/tag?repo=a&tag=:::", 400, "tag"),
    ),
    "DELETE /images/{name:.+}": (
        no_image("/images/{name}"),
        Bad("/images/{image}", 409, "container"),
    ),
}
