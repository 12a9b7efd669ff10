"""Every change of state is an event, with Docker's names and attributes."""

from __future__ import annotations

import io
import json
import signal
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.engine import Engine, eventually
from tests.support.images import BASE

from wherry.client.config import Endpoint
from wherry.client.engine import Client

pytestmark = pytest.mark.root


@dataclass
class Recorder:
    """The events since it was made."""

    engine: Engine
    since: int

    def all(self) -> list[dict[str, Any]]:
        until = time.time_ns()
        answer = self.engine.get(f"/events?since={stamp(self.since)}&until={stamp(until)}")
        assert answer.status == 200, answer.body
        return [json.loads(line) for line in answer.body.splitlines()]

    def until(self, *last: str) -> list[dict[str, Any]]:
        """All of them, once each of ``last`` (``type action``) is among them."""

        def come() -> list[dict[str, Any]]:
            found = self.all()
            missing = set(last) - {word(one) for one in found}
            return [] if missing else found

        found: list[dict[str, Any]] = eventually(come, seconds=40, what=f"events {last}")
        return found


def stamp(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def word(event: dict[str, Any]) -> str:
    return f"{event['Type']} {event['Action']}"


def attributes(events: list[dict[str, Any]], wanted: str) -> dict[str, str]:
    """Of the first such event; the container's own (name, image, labels) left out."""
    event = next(one for one in events if word(one) == wanted)
    found: dict[str, str] = event["Actor"]["Attributes"]
    if event["Type"] == "container" and event["Actor"]["ID"]:
        assert found["image"] == BASE
        assert found["kind"] == "noted"
        return {k: v for k, v in found.items() if k not in ("image", "kind", "name")}
    return found


@pytest.fixture
def recorder(engine: Engine) -> Iterator[Recorder]:
    yield Recorder(engine, time.time_ns())
    engine.remove_containers()


def make(engine: Engine, name: str, *command: str, **more: Any) -> str:
    host = {"NetworkMode": "none", **more.pop("HostConfig", {})}
    body = {"Image": BASE, "Cmd": command, "Labels": {"kind": "noted"}, "HostConfig": host, **more}
    answer = engine.post(f"/containers/create?name={name}", body)
    assert answer.status == 201, answer.body
    engine.seen.add(answer.json["Id"])
    return str(answer.json["Id"])


def test_the_life_of_a_container(engine: Engine, recorder: Recorder) -> None:
    made = make(engine, "noted", "sleep", "600", StopSignal="SIGKILL")
    for path in ("start", "pause", "unpause", "rename?name=other", "kill?signal=CONT"):
        assert engine.post(f"/containers/{made}/{path}").status == 204
    assert engine.post(f"/containers/{made}/update", {"PidsLimit": 99}).status == 200
    assert engine.get(f"/containers/{made}/top").status == 200
    assert engine.post(f"/containers/{made}/stop?t=30").status == 204
    assert engine.post(f"/containers/{made}/start").status == 204
    assert engine.post(f"/containers/{made}/restart?t=30").status == 204
    assert engine.delete(f"/containers/{made}?force=1").status == 204
    events = recorder.until("container destroy")
    assert {one["Actor"]["ID"] for one in events if one["Type"] == "container"} == {made}
    own = [one["Action"] for one in events if one["Type"] == "container"]
    assert own == [
        "create", "start", "pause", "unpause", "rename", "kill", "update", "top",
        "kill", "die", "stop", "start", "kill", "die", "stop", "start", "restart",
        "kill", "die", "destroy",
    ]  # fmt: skip
    first = events[0]
    assert (first["status"], first["id"], first["from"]) == ("create", made, BASE)
    assert first["scope"] == "local"
    assert first["timeNano"] // 10**9 == first["time"]
    assert attributes(events, "container rename") == {"oldName": "/noted"}
    assert attributes(events, "container kill") == {"signal": "18"}
    died = attributes(events, "container die")
    assert died["exitCode"] == "137"
    assert int(died["execDuration"]) >= 0
    for plain in ("create", "start", "pause", "update", "top", "stop", "restart", "destroy"):
        assert attributes(events, f"container {plain}") == {}
    networks = [one for one in events if one["Type"] == "network"]
    assert [one["Action"] for one in networks] == ["connect", "disconnect"] * 3
    assert attributes(events, "network connect") == {
        "name": "none", "type": "null", "container": made
    }  # fmt: skip


def test_execs(engine: Engine, recorder: Recorder) -> None:
    made = make(engine, "noted", "sleep", "600", Tty=True)
    engine.post(f"/containers/{made}/start")
    assert engine.post(f"/containers/{made}/resize?h=10&w=20").status == 200
    body = {"Cmd": ["sh", "-c", "exit 3"], "AttachStdout": True}
    created = engine.post(f"/containers/{made}/exec", body).json["Id"]
    assert engine.post(f"/exec/{created}/start", {"Detach": True}).status == 200
    events = recorder.until("container exec_die")
    actions = [one["Action"] for one in events if one["Type"] == "container"]
    assert actions == [
        "create", "start", "resize", "exec_create: sh -c exit 3", "exec_start: sh -c exit 3",
        "exec_die",
    ]  # fmt: skip
    assert attributes(events, "container resize") == {"height": "10", "width": "20"}
    assert attributes(events, "container exec_create: sh -c exit 3") == {"execID": created}
    assert attributes(events, "container exec_die") == {"execID": created, "exitCode": "3"}


def test_attaching_and_detaching(engine: Engine, recorder: Recorder) -> None:
    made = make(engine, "noted", "cat", OpenStdin=True, Tty=True)
    engine.post(f"/containers/{made}/start")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(40)
        sock.connect(str(engine.socket))
        query = "stream=1&stdin=1&stdout=1&detachKeys=a"
        head = f"POST /containers/{made}/attach?{query} HTTP/1.1\r\nHost: x\r\n"
        sock.sendall(head.encode() + b"Upgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
        assert b"101" in sock.recv(4096)
        sock.sendall(b"a")
        recorder.until("container attach", "container detach")


def test_files(engine: Engine, recorder: Recorder) -> None:
    made = make(engine, "noted", "true")
    assert engine.get(f"/containers/{made}/archive?path=/etc/passwd").status == 200
    with engine.client() as client:
        tar = io.BytesIO()
        tarfile.open(fileobj=tar, mode="w").close()
        data = tar.getvalue()
        code, _ = client.upload("PUT", f"/containers/{made}/archive?path=/tmp", [data], len(data))
        assert code == 200
    assert engine.get(f"/containers/{made}/export").status == 200
    image = engine.post(f"/commit?container={made}&repo=kept&tag=1&comment=why").json["Id"]
    events = recorder.until("container commit", "image tag")
    actions = [one["Action"] for one in events if one["Type"] == "container"]
    assert actions == ["create", "archive-path", "extract-to-dir", "export", "commit"]
    assert attributes(events, "container commit") == {
        "comment": "why", "imageID": image, "imageRef": "kept:1"
    }  # fmt: skip
    engine.delete("/images/kept:1?force=1")


def test_what_a_container_meets(engine: Engine, recorder: Recorder) -> None:
    """Its end for lack of memory, its health, its restart."""
    hungry = "x=a; while :; do x=$x$x; done"
    limits = {"Memory": 16 << 20, "MemorySwap": 16 << 20}
    engine.post(
        f"/containers/{make(engine, 'hungry', 'sh', '-c', hungry, HostConfig=limits)}/start"
    )
    check = {"Test": ["CMD", "true"], "Interval": 10**8}
    engine.post(f"/containers/{make(engine, 'well', 'sleep', '600', Healthcheck=check)}/start")
    policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}}
    engine.post(f"/containers/{make(engine, 'failing', 'false', HostConfig=policy)}/start")
    recorder.until("container oom", "container health_status: healthy")

    def twice() -> bool:
        names = [
            one["Action"]
            for one in recorder.all()
            if one["Type"] == "container" and one["Actor"]["Attributes"].get("name") == "failing"
        ]
        return names == ["create", "start", "die", "start", "die"]

    eventually(twice, seconds=40, what="a restart")


def test_images(engine: Engine, recorder: Recorder) -> None:
    assert engine.post(f"/images/{BASE}/tag?repo=noted&tag=1").status == 201
    image = engine.get(f"/images/{BASE}/json").json["Id"]
    saved = engine.get("/images/noted:1/get")
    assert saved.status == 200
    assert engine.upload("/images/load", saved.body).status == 200
    assert engine.delete("/images/noted:1").status == 200
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    path = "/images/create?fromSrc=-&repo=imported&tag=1"
    assert engine.upload(path, empty.getvalue()).status == 200
    assert engine.delete("/images/imported:1").status == 200
    events = recorder.until("image delete")
    actions = [one["Action"] for one in events]
    assert actions == ["tag", "save", "load", "untag", "tag", "import", "untag", "delete"]
    assert {one["Actor"]["ID"] for one in events[:4]} == {image}
    assert attributes(events, "image tag")["name"] == "noted:1"


def test_networks_and_volumes(engine: Engine, recorder: Recorder) -> None:
    network = engine.post("/networks/create", {"Name": "noted"}).json["Id"]
    mount = [{"Type": "volume", "Source": "noted", "Target": "/data", "ReadOnly": True}]
    host = {"NetworkMode": "noted", "Mounts": mount}
    made = make(engine, "noted", "sleep", "600", HostConfig=host)
    engine.post(f"/containers/{made}/start")
    body = {"Container": made}
    assert engine.post("/networks/noted/disconnect", body).status == 200
    assert engine.post("/networks/noted/connect", body).status == 200
    engine.delete(f"/containers/{made}?force=1")
    assert engine.delete("/networks/noted").status == 204
    assert engine.delete("/volumes/noted").status == 204
    events = recorder.until("network destroy", "volume destroy")
    own = [one for one in events if one["Actor"]["ID"] == network]
    assert [one["Action"] for one in own] == [
        "create", "connect", "disconnect", "connect", "disconnect", "destroy"
    ]  # fmt: skip
    assert attributes(own, "network create") == {"name": "noted", "type": "bridge"}
    assert attributes(own, "network connect") == {
        "name": "noted", "type": "bridge", "container": made
    }  # fmt: skip
    own = [one for one in events if one["Type"] == "volume"]
    assert [one["Action"] for one in own] == ["create", "mount", "unmount", "destroy"]
    assert attributes(own, "volume create") == {"driver": "local"}
    assert attributes(own, "volume mount") == {
        "driver": "local", "container": made, "destination": "/data", "read/write": "false",
        "propagation": "",
    }  # fmt: skip
    assert attributes(own, "volume unmount") == {"driver": "local", "container": made}


def test_prunes(engine: Engine, recorder: Recorder) -> None:
    for kind in ("container", "image", "network", "volume"):
        assert engine.post(f"/{kind}s/prune").status == 200
        events = recorder.until(f"{kind} prune")
        assert set(attributes(events, f"{kind} prune")) == {"reclaimed"}
        assert "id" not in events[-1]


def test_a_reload_of_the_daemon(engine: Engine, recorder: Recorder) -> None:
    assert engine.process is not None
    engine.process.send_signal(signal.SIGHUP)
    events = recorder.until("daemon reload")
    assert events[-1]["Actor"]["ID"] == engine.get("/info").json["ID"]
    found = attributes(events, "daemon reload")
    assert found["name"] == engine.get("/info").json["Name"]
    assert found["labels"] == "[]"
    assert found["live-restore"] == "true"


def asked(engine: Engine, accept: str, filters: dict[str, list[str]], since: int) -> Any:
    """Media type and body of the events until now."""
    query = f"since={stamp(since)}&until={stamp(time.time_ns())}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(40)
        sock.connect(str(engine.socket))
        target = f"/events?{query}&filters={quote(json.dumps(filters))}"
        head = f"GET {target} HTTP/1.0\r\nHost: x\r\nAccept: {accept}\r\n\r\n"
        sock.sendall(head.encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    lines = top.decode().lower().splitlines()
    kind = next(line for line in lines if line.startswith("content-type:"))
    return kind.partition(":")[2].strip(), body


@pytest.mark.parametrize(
    ("accept", "media_type", "before"),
    [
        ("*/*", "application/json", b""),
        ("application/json", "application/json", b""),
        ("application/x-ndjson", "application/x-ndjson", b""),
        ("application/json-seq", "application/json-seq", b"\x1e"),
        ("text/html, application/json-seq;q=0.5", "application/json-seq", b"\x1e"),
    ],
)
def test_formats(
    engine: Engine, recorder: Recorder, accept: str, media_type: str, before: bytes
) -> None:
    for name in ("one", "two"):
        engine.post("/networks/create", {"Name": name})
        engine.delete(f"/networks/{name}")
    found, body = asked(engine, accept, {"type": ["network"]}, recorder.since)
    assert found == media_type
    lines = body.split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 4
    for line in lines:
        assert line.startswith(before)
        assert json.loads(line[len(before) :])["Type"] == "network"


FILTERED: list[tuple[dict[str, list[str]], Callable[[str], bool]]] = [
    ({"type": ["container"]}, lambda name: name.startswith("container")),
    ({"event": ["start", "die"]}, lambda name: name.split()[1] in ("start", "die")),
    ({"event": ["exec_create"]}, lambda name: False),
    ({"container": ["noted"]}, lambda name: name.startswith("container")),
    ({"label": ["kind=noted"], "type": ["container"]}, lambda name: name.startswith("container")),
    ({"label": ["kind=other"]}, lambda name: False),
    ({"image": [BASE]}, lambda name: name.startswith("container")),
    ({"network": ["none"]}, lambda name: name.startswith("network")),
    ({"scope": ["local"]}, lambda name: True),
    ({"daemon": ["nobody"]}, lambda name: False),
]


def test_filters(engine: Engine, recorder: Recorder) -> None:
    made = make(engine, "noted", "true")
    engine.post(f"/containers/{made}/start")
    engine.wait(made)
    engine.delete(f"/containers/{made}")
    everything = [word(one) for one in recorder.until("container destroy", "network disconnect")]
    for filters, keeps in FILTERED:
        _, body = asked(engine, "*/*", filters, recorder.since)
        found = [word(json.loads(line)) for line in body.splitlines()]
        assert found == [name for name in everything if keeps(name)], filters


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("since=soon", "since"),
        ("until=later", "until"),
        ("since=20&until=10", "since"),
        ("filters=x", "filter"),
        (f"filters={quote(json.dumps({'nope': ['x']}))}", "nope"),
    ],
)
def test_bad_queries_are_named(engine: Engine, query: str, named: str) -> None:
    answer = engine.get(f"/events?{query}")
    assert answer.status == 400
    assert named in answer.message


def test_a_stream_that_is_open_gets_what_comes(engine: Engine) -> None:
    client = Client(Endpoint(engine.host, None, "", True))
    response = client.send("GET", "/events", {"filters": {"type": {"network": True}}})
    response.connection.sock.settimeout(40)
    messages = client.messages(response)
    first = engine.post("/networks/create", {"Name": "streamed"}).json["Id"]
    assert next(messages)["Actor"]["ID"] == first
    engine.delete("/networks/streamed")
    assert next(messages)["Action"] == "destroy"
    response.connection.close()
