"""Limited sockets of a real daemon: what their callers see, and the ways out that are closed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.engine import Answer, Engine
from tests.support.images import BASE
from tests.support.rawhttp import answer, exchange, request
from tests.support.traces import untouched

from wherry.api.policy import TABLE, Rule

pytestmark = pytest.mark.root
GROUP = 54321


@dataclass(frozen=True)
class Limited:
    """A daemon with limited sockets, and two containers that run: ``mine`` and ``other``."""

    engine: Engine
    names: Mapping[str, str]

    def ask(self, way: str, method: str, path: str, body: Any = None) -> Answer:
        """One request to the socket ``way``: look, web or both."""
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        sent = request(method, path, data)
        return answer(exchange(self.engine.root / f"{way}.sock", sent))

    def get(self, way: str, path: str) -> Any:
        got = self.ask(way, "GET", path)
        assert got.status == 200, got.body
        return got.json

    def rows(self, way: str) -> set[str]:
        return {row["Names"][0] for row in self.get(way, "/containers/json?all=1")}

    def create(self, name: str, **changes: Any) -> Answer:
        body = {"Image": BASE, "Cmd": ["sleep", "1000"], **changes}
        body["HostConfig"] = {"NetworkMode": "none"} | dict(changes.get("HostConfig", {}))
        return self.ask("web", "POST", f"/containers/create?name={name}", body)


def configuration(engine: Engine) -> dict[str, Any]:
    def host(name: str) -> str:
        return f"unix://{engine.root}/{name}.sock"

    label = {"label": "team=web"}
    return {
        "sockets": [
            {"host": host("look"), "scope": "read-only", "group": str(GROUP)},
            {"host": host("web"), "volumes": ["web-data"], **label},
            {"host": host("both"), "scope": "read-only", **label},
        ]
    }


@pytest.fixture(scope="module")
def limited() -> Iterator[Limited]:
    with Engine() as engine:
        file = engine.root / "daemon.json"
        file.write_text(json.dumps(configuration(engine)))
        engine.options = ["--config", str(file)]
        engine.start()
        names = {}
        for name, labels in (("mine", {"team": "web"}), ("other", {"team": "webx"})):
            body = {"Image": BASE, "Cmd": ["sleep", "1000"], "Labels": labels}
            body["HostConfig"] = {"NetworkMode": "none"}
            names[name] = engine.post(f"/containers/create?name={name}", body).json["Id"]
            assert engine.post(f"/containers/{name}/start").status == 204
            made = engine.post(f"/containers/{name}/exec", {"Cmd": ["true"]}).json["Id"]
            names[f"exec of {name}"] = made
        yield Limited(engine, names)


def concrete(route: str, container: str, exec_id: str) -> tuple[str, str]:
    """Method and path of a route, for a container and an exec."""
    method, _, pattern = route.partition(" ")
    own = exec_id if pattern.startswith("/exec/") else container
    path = pattern.replace("{id}", own).replace("{name:.+}", BASE).replace("{name}", "some")
    return method, path.replace("{label}", "some")


# ---- read-only


def test_read_only_looks(limited: Limited) -> None:
    assert limited.rows("look") == {"/mine", "/other"}
    for path in ("info", "version", "system/df", "images/json", "networks", "volumes"):
        limited.get("look", f"/{path}")
    for path in ("json", "logs?stdout=1", "top", "changes", "stats?stream=0", "export"):
        assert limited.ask("look", "GET", f"/containers/other/{path}").status == 200, path
    assert limited.ask("look", "GET", "/events?until=1").status == 200


@pytest.mark.parametrize("way", ["look", "both"])
def test_read_only_changes_nothing(limited: Limited, way: str) -> None:
    """Every route that changes something, and one that is nobody's yet."""
    changing = [route for route, (reads, _) in TABLE.items() if not reads]
    with untouched(limited.engine):
        for route in [*changing, "POST /swarm/init", "GET /swarm"]:
            method, path = concrete(route, limited.names["mine"], limited.names["exec of mine"])
            got = limited.ask(way, method, path, b"{}")
            assert got.status == 403, (route, got)
            assert "read-only" in got.message


# ---- a label


@pytest.mark.parametrize("way", ["web", "both"])
def test_foreign_containers_do_not_exist(limited: Limited, way: str) -> None:
    """By no route, and by none of the ways to write an id."""
    other = limited.names["other"]
    assert limited.rows(way) == {"/mine"}
    with untouched(limited.engine):
        for route in TABLE:
            method, path = concrete(route, other, limited.names["exec of other"])
            if other in path or "/exec/" in path:
                got = limited.ask(way, method, path, b"{}")
                assert got.status in (403, 404), (route, got)
        for ref in ("other", other[:12], other[:6], "%6fther", "%2fother", "mine%2f..%2fother"):
            assert limited.ask(way, "GET", f"/containers/{ref}/json").status == 404
            assert limited.ask(way, "GET", f"/v1.24/containers/{ref}/json").status == 404


def test_foreign_images_volumes_and_networks_are_out_of_reach(limited: Limited) -> None:
    refused = [route for route, (_, rule) in TABLE.items() if rule is Rule.NO]
    with untouched(limited.engine):
        for route in [*refused, "POST /swarm/init"]:
            method, path = concrete(route, limited.names["mine"], "")
            got = limited.ask("web", method, path, b"{}")
            assert got.status == 403, (route, got)
        for path in ("/networks/bridge", "/volumes/some"):
            assert limited.ask("web", "GET", path).status == 404


PATHS = (
    "/containers/other/json/",
    "//containers/other/json",
    "/containers//other/json",
    "/containers/./other/json",
    "/containers/mine/../other/json",
    "/containers/mine/%2e%2e/other/json",
    "/containers/other%2fjson",
    "/containers/other/json%00",
    "/containers/other%0a/json",
    "/v1.41/v1.41/containers/other/json",
    "/v1.41//containers/other/json",
    "/Containers/other/json",
    "http://engine/containers/other/json",
    "/images/../containers/other/json",
    "/plugins/../containers/other/json",
)


@pytest.mark.parametrize("path", PATHS)
def test_paths_in_disguise(limited: Limited, path: str) -> None:
    got = limited.ask("web", "GET", path)
    assert got.status in (400, 404), got
    assert limited.names["other"].encode() not in got.body


def test_a_list_is_never_wider(limited: Limited) -> None:
    """Filters of the caller's are joined to the label, in whatever shape they come."""
    for filters in (
        {"label": ["team=webx"]},
        {"label": {"team=webx": True}},
        {"name": ["other"]},
        {"id": [limited.names["other"]]},
    ):
        text = json.dumps(filters)
        assert limited.get("web", f"/containers/json?all=1&filters={text}".replace(" ", "")) == []
    twice = '/containers/json?all=1&filters={"name":["mine"]}&filters={"name":["other"]}'
    assert {row["Names"][0] for row in limited.get("web", twice)} <= {"/mine"}
    before = '/containers/json?all=1&filters={"before":["other"]}'
    assert limited.ask("web", "GET", before).status == 404


def test_events_of_own_containers_alone(limited: Limited) -> None:
    for name in ("mine", "other"):
        assert limited.engine.get(f"/containers/{name}/top").status == 200
    until = f"{time.time():.9f}"
    for query in ("", '&filters={"type":["image"]}', '&filters={"container":["other"]}'):
        got = limited.ask("web", "GET", f"/events?since=1&until={until}{query}")
        assert got.status == 200
        assert limited.names["other"].encode() not in got.body
        assert b'"Type":"image"' not in got.body
        assert (limited.names["mine"].encode() in got.body) == (not query)


def test_info_counts_own_containers(limited: Limited) -> None:
    info, whole = limited.get("web", "/info"), limited.engine.get("/info").json
    assert (info["Containers"], info["ContainersRunning"]) == (1, 1)
    assert (whole["Containers"], whole["ContainersRunning"]) == (2, 2)


def test_own_containers_are_one_s_own(limited: Limited) -> None:
    """The whole life of a container through the label's socket."""
    made = limited.create("made", Volumes={"/anonymous": {}})
    assert made.status == 201, made.body
    assert limited.engine.inspect("made")["Config"]["Labels"] == {"team": "web"}
    for path in ("start", "pause", "unpause", "restart?t=0", "update", "rename?name=renamed"):
        body = {"CpuShares": 512} if path == "update" else None
        got = limited.ask("web", "POST", f"/containers/{made.json['Id']}/{path}", body)
        assert got.status in (200, 204), (path, got)
    assert limited.rows("web") == {"/mine", "/renamed"}
    made_exec = limited.ask("web", "POST", "/containers/renamed/exec", {"Cmd": ["true"]})
    started = limited.ask("web", "POST", f"/exec/{made_exec.json['Id']}/start", {"Detach": True})
    assert started.status == 200
    assert limited.ask("web", "GET", f"/exec/{made_exec.json['Id']}/json").status == 200
    assert limited.ask("web", "POST", "/containers/renamed/stop?t=0").status == 204
    pruned = limited.ask("web", "POST", "/containers/prune").json
    assert pruned["ContainersDeleted"] == [made.json["Id"]]
    assert limited.rows("look") == {"/mine", "/other"}


def test_prune_takes_own_containers_alone(limited: Limited) -> None:
    stopped = limited.engine.create("true", name="foreign-stopped")
    try:
        assert not limited.ask("web", "POST", "/containers/prune").json["ContainersDeleted"]
        assert limited.engine.get(f"/containers/{stopped}/json").status == 200
    finally:
        limited.engine.delete(f"/containers/{stopped}")


ESCAPES: tuple[tuple[int, dict[str, Any]], ...] = (
    (403, {"HostConfig": {"Privileged": True}}),
    (403, {"hostconfig": {"PRIVILEGED": True}}),
    (403, {"HostConfig": {"Binds": ["/:/host"]}}),
    (403, {"HostConfig": {"Binds": ["foreign:/data"]}}),
    (403, {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]}}),
    (403, {"HostConfig": {"PidMode": "host"}}),
    (404, {"HostConfig": {"PidMode": "container:other"}}),
    (404, {"HostConfig": {"IpcMode": "container:{other}"}}),
    (404, {"HostConfig": {"NetworkMode": "container:other"}}),
    (404, {"HostConfig": {"VolumesFrom": ["other"]}}),
    (404, {"HostConfig": {"Links": ["other:db"]}}),
    (403, {"HostConfig": {"MaskedPaths": []}}),
    (403, {"HostConfig": {"CgroupParent": "/x"}}),
    (403, {"Labels": {"team": "webx"}}),
    (403, {"LABELS": {"team": "webx"}}),
)


@pytest.mark.parametrize(("status", "changes"), ESCAPES)
def test_ways_out_at_create(limited: Limited, status: int, changes: dict[str, Any]) -> None:
    filled = json.loads(json.dumps(changes).replace("{other}", limited.names["other"]))
    with untouched(limited.engine):
        body = {"Image": BASE, "Cmd": ["true"], **filled}
        got = limited.ask("web", "POST", "/containers/create", body)
        assert got.status == status, got


def test_of_two_keys_the_one_that_counts_is_checked(limited: Limited) -> None:
    good, evil = b'{"NetworkMode": "none"}', b'{"NetworkMode": "none", "Privileged": true}'
    head = b'{"Image": "%s", "Cmd": ["true"], ' % BASE.encode()
    for first, second in ((b"HostConfig", b"hostconfig"), (b"HostConfig", b"HostConfig")):
        body = head + b'"%s": %s, "%s": %s}' % (first, good, second, evil)
        assert limited.ask("web", "POST", "/containers/create", body).status == 403
        body = head + b'"%s": %s, "%s": %s}' % (first, evil, second, good)
        made = limited.ask("web", "POST", "/containers/create", body)
        assert made.status == 201, made
        assert limited.engine.inspect(made.json["Id"])["HostConfig"]["Privileged"] is False
        assert limited.ask("web", "DELETE", f"/containers/{made.json['Id']}").status == 204


def test_ways_out_of_an_own_container(limited: Limited) -> None:
    mine = "/containers/mine"
    with untouched(limited.engine):
        for path, body in (
            (f"{mine}/exec", {"Cmd": ["sh"], "Privileged": True}),
            (f"{mine}/exec", {"Cmd": ["sh"], "privileged": True}),
            (f"{mine}/update", {"Privileged": True}),
            (f"{mine}/update", {"LabelsAdd": {"team": "webx"}}),
            (f"{mine}/update", {"labelsremove": ["team"]}),
            (f"{mine}/update", {"MountsAdd": [{"Type": "bind", "Source": "/", "Target": "/h"}]}),
            (f"{mine}/update", {"Devices": [{"PathOnHost": "/dev/null"}]}),
            ("/commit?container=mine&repo=stolen", {}),
            ("/build", b""),
            ("/images/create?fromSrc=-", b""),
        ):
            got = limited.ask("web", "POST", path, body)
            assert got.status == 403, (path, got)
        assert limited.ask("web", "GET", f"{mine}/top?ps_args=-eo%20ppid%3DPID").status == 403


def test_names_of_others_are_taken_and_not_told(limited: Limited) -> None:
    for got in (
        limited.create("other"),
        limited.ask("web", "POST", "/containers/mine/rename?name=other"),
        limited.ask("web", "POST", "/containers/mine/rename?name=/other"),
    ):
        assert got.status == 409
        assert limited.names["other"].encode() not in got.body


def test_streams_are_no_way_around(limited: Limited) -> None:
    """Neither a connection that is to be taken over, nor what is sent right behind it."""
    upgrade = "Host: engine\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"
    head = f"POST /containers/other/attach?stream=1&stdin=1 HTTP/1.1\r\n{upgrade}".encode()
    behind = request("GET", f"/containers/{limited.names['other']}/json")
    heard = exchange(limited.engine.root / "web.sock", head + behind)
    assert heard.count(b"HTTP/1.1 404 ") == 2
    assert b"101 UPGRADED" not in heard


def test_the_log_says_who_did_what(limited: Limited) -> None:
    me = f"pid {os.getpid()} uid {os.getuid()} gid {os.getgid()}"
    limited.ask("web", "GET", "/containers/mine/json")
    limited.ask("web", "GET", "/containers/other%0aX/json")
    limited.ask("look", "DELETE", "/containers/mine?force=1")
    log = limited.engine.log()
    web, look = (f"unix://{limited.engine.root}/{name}.sock" for name in ("web", "look"))
    assert f"{web}: {me}: GET /containers/mine/json: allowed" in log
    assert f"{web}: {me}: GET /containers/other%0aX/json: refused: No such container" in log
    assert f"{look}: {me}: DELETE /containers/mine?force=1: refused: this socket" in log


def test_the_socket_s_group(limited: Limited) -> None:
    found = (limited.engine.root / "look.sock").stat()
    assert (found.st_gid, found.st_mode & 0o777) == (GROUP, 0o660)


def test_a_wrong_configuration_ends_the_start() -> None:
    with Engine() as engine:
        file = engine.root / "daemon.json"
        file.write_text(json.dumps({"sockets": [{"host": "unix:///x.sock", "scope": "all"}]}))
        engine.options = ["--config", str(file)]
        done = subprocess.run(engine.command(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr == (
            'wherryd: sockets[0]: the scope "all" is not known: it is read-only, '
            "or there is a label\n"
        )
