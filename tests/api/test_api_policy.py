"""The policy of limited sockets: complete, and what it lets through of a request's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.api.api_fakes import FakeContainers, Service
from tests.support.routes import router

from wherry.api import scope
from wherry.api.containers import ContainerRoutes
from wherry.api.policy import TABLE, Guard, Rule
from wherry.api.routing import Router
from wherry.api.scope import Label, Scope
from wherry.api.streams import StreamRoutes
from wherry.errors import Forbidden, Invalid, NotFound
from wherry.wire.container import CreateRequest, HostConfig, Mount, UpdateRequest
from wherry.wire.decode import decode
from wherry.wire.exec import ExecBody
from wherry.wire.filters import Filters

TEAM = Label("team", "web", frozenset({"web"}), frozenset({"web-data"}))


def own(ref: str) -> str:
    if ref in ("mine", "/mine"):
        return "1" * 64
    raise NotFound(f"No such container: {ref}")


def create(**body: Any) -> CreateRequest:
    request = decode(msgspec.json.encode(body), CreateRequest)
    assert request is not None
    scope.confine_create(request, TEAM, own)
    return request


def host(**fields: Any) -> HostConfig:
    made = create(HostConfig=fields).host_config
    assert made is not None
    return made


def test_every_route_has_a_rule() -> None:
    served = {f"{method} {pattern}" for method, pattern in router().routes()}
    assert sorted(served - set(TABLE)) == [], "say in wherry/api/policy.py who may use it"


def test_every_rule_has_a_route() -> None:
    made = router()
    known = {f"{method} {pattern}" for method, pattern in made.routes() + made.absent()}
    assert sorted(set(TABLE) - known) == []


def test_routes_by_id_are_looked_up_or_refused() -> None:
    """A label's socket never reaches an ``{id}`` that was not looked up."""
    free = {Rule.OPEN, Rule.LIST, Rule.EVENTS, Rule.INFO, Rule.CREATE}
    assert [name for name, (_, rule) in TABLE.items() if "{id}" in name and rule in free] == []


def test_what_reads_is_no_change() -> None:
    """Only looking: GET and HEAD, and waiting; a terminal by web socket is no look."""
    for name, (reads, _) in TABLE.items():
        looks = name.startswith(("GET ", "HEAD ")) and not name.endswith("/attach/ws")
        assert reads == (looks or name.endswith("/wait")), name


def test_the_label_is_put_on() -> None:
    assert create().labels == {"team": "web"}
    assert create(Labels={"a": "b", "team": "web"}).labels == {"a": "b", "team": "web"}
    with pytest.raises(Forbidden, match="team=db"):
        create(Labels={"team": "db"})
    assert create(LABELS={"a": "b"}).labels == {"a": "b", "team": "web"}


def test_what_docker_sends_by_itself_is_allowed() -> None:
    """The body of ``docker run`` without flags, all of its fields written out."""
    everything = msgspec.to_builtins(
        CreateRequest(image="busybox", cmd=["true"], host_config=HostConfig())
    )
    everything["HostConfig"] |= {
        "NetworkMode": "default",
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "LogConfig": {"Type": "", "Config": {}},
        "MemorySwappiness": -1,
        "ConsoleSize": [0, 0],
        "Privileged": False,
        "Devices": [],
        "CapAdd": None,
        "OomKillDisable": False,
    }
    endpoint: dict[str, Any] = {"MacAddress": "", "Links": [], "IPAMConfig": None, "IPPrefixLen": 0}
    everything["NetworkingConfig"] = {"EndpointsConfig": {"default": endpoint}}
    assert create(**everything).labels == {"team": "web"}


ALLOWED: list[dict[str, Any]] = [
    {"Memory": 1 << 30, "NanoCpus": 10**9, "PidsLimit": 50, "Init": True, "ReadonlyRootfs": True},
    {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}, "AutoRemove": True, "CapDrop": ["ALL"]},
    {"Binds": ["/anonymous"], "Tmpfs": {"/t": ""}, "SecurityOpt": ["no-new-privileges"]},
    {"Binds": ["web-data:/data:ro"]},
    {"Mounts": [{"Type": "tmpfs", "Target": "/t"}, {"Type": "volume", "Target": "/v"}]},
    {"Mounts": [{"Type": "volume", "Source": "web-data", "Target": "/v"}]},
    {"NetworkMode": "none", "IpcMode": "shareable"},
    {"NetworkMode": "web"},
    {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}},
]


@pytest.mark.parametrize("fields", ALLOWED)
def test_allowed(fields: dict[str, Any]) -> None:
    host(**fields)


REFUSED: list[dict[str, Any]] = [
    {"Privileged": True},
    {"pRIVILEGED": True},
    {"Binds": ["/:/host"]},
    {"Binds": ["/etc/../:/host"]},
    {"binds": ["/:/host"]},
    {"Binds": ["other-data:/data"]},
    {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]},
    {"Mounts": [{"type": "BIND", "Source": "/", "Target": "/host"}]},
    {"Mounts": [{"Source": "/", "Target": "/host"}]},
    {"Mounts": [{"Type": "volume", "Source": "other-data", "Target": "/v"}]},
    {
        "Mounts": [
            {
                "Type": "volume",
                "Target": "/v",
                "VolumeOptions": {
                    "DriverConfig": {"Options": {"type": "none", "o": "bind", "device": "/"}}
                },
            }
        ]
    },
    {
        "Mounts": [
            {
                "Type": "volume",
                "Target": "/v",
                "VolumeOptions": {"DriverConfig": {"Name": "sshfs"}},
            }
        ]
    },
    {"Mounts": [{"Type": "tmpfs", "Target": "/t", "BindOptions": {"Propagation": "rshared"}}]},
    {"VolumeDriver": "sshfs"},
    {"NetworkMode": "host"},
    {"NetworkMode": "db"},
    {"NetworkMode": "ns:/proc/1/ns/net"},
    {"PidMode": "host"},
    {"IpcMode": "host"},
    {"UTSMode": "host"},
    {"CgroupnsMode": "host"},
    {"UsernsMode": "host"},
    {"CgroupParent": "/"},
    {"Cgroup": "x"},
    {"CapAdd": ["SYS_ADMIN"]},
    {"Devices": [{"PathOnHost": "/dev/sda"}]},
    {"DeviceCgroupRules": ["a *:* rwm"]},
    {"DeviceRequests": [{"Driver": "cdi"}]},
    {"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}]},
    {"SecurityOpt": ["seccomp=unconfined"]},
    {"SecurityOpt": ["systempaths=unconfined"]},
    {"SecurityOpt": ["no-new-privileges=false"]},
    {"MaskedPaths": []},
    {"ReadonlyPaths": []},
    {"MaskedPaths": ["/x"]},
    {"Sysctls": {"net.ipv4.ip_forward": "1"}},
    {"Runtime": "other"},
    {"Annotations": {"run.oci.hooks.stdout": "/etc/cron.d/x"}},
    {"OomScoreAdj": -1000},
    {"OomKillDisable": True},
    {"CpuRealtimeRuntime": 950_000},
    {"LogConfig": {"Type": "syslog", "Config": {"syslog-address": "unix:///run/x.sock"}}},
    {"StorageOpt": {"size": "1G"}},
]


@pytest.mark.parametrize("fields", REFUSED)
def test_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Forbidden, match="this socket does not allow"):
        host(**fields)


def test_a_second_key_does_not_hide_the_first() -> None:
    """What is checked is what is used: of two keys the last counts, in both."""
    body = b'{"HostConfig": {"Privileged": false}, "hostconfig": {"privileged": true}}'
    request = decode(body, CreateRequest)
    assert request is not None
    with pytest.raises(Forbidden, match="Privileged"):
        scope.confine_create(request, TEAM, own)


@pytest.mark.parametrize("field", ["NetworkMode", "PidMode", "IpcMode"])
def test_namespaces_of_containers(field: str) -> None:
    made = host(**{field: "container:mine"})
    assert f"container:{'1' * 64}" in (made.network_mode, made.pid_mode, made.ipc_mode)
    for ref in ("other", "", "0"):
        with pytest.raises(NotFound, match="No such container"):
            host(**{field: f"container:{ref}"})


def test_other_containers() -> None:
    made = host(Links=["mine:db", "/mine"], VolumesFrom=["mine:ro", "mine"])
    assert made.links == [f"{'1' * 64}:db", f"{'1' * 64}:mine"]
    assert made.volumes_from == [f"{'1' * 64}:ro", "1" * 64]
    for fields in ({"Links": ["other:db"]}, {"VolumesFrom": ["other"]}):
        with pytest.raises(NotFound, match="other"):
            host(**fields)


def test_what_comes_first() -> None:
    made = create(
        HostConfig={"DependsOn": ["mine:healthy"]}, Labels={"wherry.depends-on": "/mine:healthy"}
    )
    assert made.host_config is not None
    assert made.host_config.depends_on == [f"{'1' * 64}:healthy"]
    assert "wherry.depends-on" not in (made.labels or {})
    for fields in (
        {"HostConfig": {"DependsOn": ["other"]}},
        {"Labels": {"wherry.depends-on": "mine,other:completed"}},
    ):
        with pytest.raises(NotFound, match="other"):
            create(**fields)


def test_endpoints() -> None:
    def endpoints(**settings: Any) -> None:
        create(NetworkingConfig={"EndpointsConfig": settings})

    endpoints(web={"Aliases": ["a"], "Links": ["mine:db"]})
    mac: dict[str, Any] = {"MacAddress": "02:42:00:00:00:01"}
    for name, settings in (("db", {}), ("host", {}), ("web", mac)):
        with pytest.raises(Forbidden):
            endpoints(**{name: settings})
    with pytest.raises(NotFound):
        endpoints(web={"Links": ["other:db"]})
    with pytest.raises(Forbidden):
        create(MacAddress="02:42:00:00:00:01")


def test_update_exec_and_ps() -> None:
    scope.confine_update(UpdateRequest(memory=1 << 30, labels_add={"a": "b"}), TEAM, own)
    wish = UpdateRequest(labels_add={"wherry.depends-on": "mine:healthy"})
    scope.confine_update(wish, TEAM, own)
    assert wish.labels_add == {"wherry.depends-on": f"{'1' * 64}:healthy"}
    with pytest.raises(NotFound, match="other"):
        scope.confine_update(UpdateRequest(labels_add={"wherry.depends-on": "other"}), TEAM, own)
    for asked in (
        UpdateRequest(privileged=True),
        UpdateRequest(binds=["/:/x"]),
        UpdateRequest(labels_add={"team": "db"}),
        UpdateRequest(labels_remove=["team"]),
        UpdateRequest(mounts_add=[Mount(type="bind", source="/", target="/x")]),
        UpdateRequest(mounts_add=[Mount(type="volume", source="db-data", target="/x")]),
    ):
        with pytest.raises(Forbidden):
            scope.confine_update(asked, TEAM, own)
    scope.confine_exec(ExecBody(cmd=["sh"], user="root"))
    with pytest.raises(Forbidden):
        scope.confine_exec(ExecBody(cmd=["sh"], privileged=True))
    scope.confine_ps("-eo pid,args")
    with pytest.raises(Forbidden):
        scope.confine_ps("-eo ppid=PID,args")


def test_filters() -> None:
    asked = Filters({"label": ["a=b"], "before": ["mine"]})
    assert scope.narrowed(asked, TEAM, own) == {
        "label": ["a=b", "team=web"],
        "before": ["1" * 64],
    }
    with pytest.raises(NotFound):
        scope.narrowed(Filters({"since": ["other"]}), TEAM, own)
    assert scope.narrowed_events(Filters(), TEAM) == {"type": ["container"], "label": ["team=web"]}
    assert scope.narrowed_events(Filters({"type": ["image"]}), TEAM)["type"] == [""]
    both = scope.narrowed_events(Filters({"type": ["image", "container"]}), TEAM)
    assert both["type"] == ["container"]


class OneContainer(FakeContainers):
    """``c1`` has the label."""

    def labels_of(self, ref: str) -> tuple[str, dict[str, str]]:
        self._know(ref)
        return "c1", {"team": "web"}

    def holder(self, name: str) -> str | None:
        return None

    def exec_inspect(self, exec_id: str) -> dict[str, Any]:
        return {"ID": exec_id, "ContainerID": "c1"}


async def test_check_and_handler_read_a_body_as_the_same_type(tmp_path: Path) -> None:
    """Where they do not, the request fails: nothing gets past the check unseen."""
    containers, made = OneContainer(), Router()
    ContainerRoutes(containers).register(made)
    StreamRoutes(containers).register(made)
    guard = Guard("limited", Scope(label=TEAM), containers)
    async with Service(tmp_path / "s.sock", made, guard) as service:
        for path, body in (
            ("/containers/create", b'{"Image": "a"}'),
            ("/containers/c1/update", b'{"Memory": 100000000}'),
            ("/containers/c1/exec", b'{"Cmd": ["true"]}'),
        ):
            reply = await service.ask("POST", path, body)
            assert reply.status in (200, 201), reply.body
        assert (await service.ask("POST", "/containers/c1/start?checkpoint=x")).status == 204
        elsewhere = "/containers/c1/start?checkpoint=x&checkpoint-dir=/tmp"
        assert (await service.ask("POST", elsewhere)).status == 403


@pytest.mark.parametrize("text", ["", "team", "team=", "=web", "name=x", "image=x"])
def test_labels_that_say_nothing(text: str) -> None:
    with pytest.raises(Invalid, match="label"):
        scope.parse_label(text)
