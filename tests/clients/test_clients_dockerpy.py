"""docker-py, unmodified, through a container's life."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from tests.support.engine import Engine, eventually
from tests.support.images import BASE, docker_archive, tar_of

pytestmark = [
    pytest.mark.root,
    # docker-py leaves response sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def api(engine: Engine) -> Iterator[Any]:
    client = docker.DockerClient(base_url=engine.host, version="auto", timeout=60)
    yield client
    client.close()
    engine.remove_containers()


def run(api: Any, command: Any, **options: Any) -> Any:
    return api.containers.run(BASE, command, network_mode="none", **options)


def test_ping_version_info(api: Any) -> None:
    assert api.ping() is True
    assert tuple(map(int, api.version()["ApiVersion"].split("."))) >= (1, 41)
    assert api.info()["OSType"] == "linux"


def test_run_returns_the_output(api: Any) -> None:
    assert run(api, "echo hello", remove=True) == b"hello\n"
    both = run(api, ["sh", "-c", "echo e >&2; echo o"], stderr=True, stdout=False, remove=True)
    assert both == b"e\n"
    with pytest.raises(ContainerError) as failed:
        run(api, ["sh", "-c", "echo why >&2; exit 3"], remove=True)
    assert failed.value.exit_status == 3
    assert failed.value.stderr == b"why\n"


def test_the_whole_life(api: Any) -> None:
    script = "trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done"
    box = run(api, ["sh", "-c", script], detach=True, name="py", labels={"a": "b"}, tty=False)
    eventually(lambda: b"up" in box.logs())
    box.reload()
    assert box.status == "running"
    assert box.labels == {"a": "b"}
    code, out = box.exec_run(["sh", "-c", "echo in; exit 2"])
    assert (code, out) == (2, b"in\n")
    code, parts = box.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
    assert parts == (b"o\n", b"e\n")
    box.pause()
    box.reload()
    assert box.status == "paused"
    box.unpause()
    assert any("trap" in " ".join(row) for row in box.top()["Processes"])
    box.rename("py2")
    assert api.containers.get("py2").id == box.id
    box.stop(timeout=5)
    assert box.wait()["StatusCode"] == 4
    box.start()
    box.kill()
    assert box.wait(condition="not-running")["StatusCode"] == 137
    box.restart(timeout=1)
    box.remove(force=True)
    with pytest.raises(NotFound):
        api.containers.get("py2")


def test_logs_stream(api: Any) -> None:
    box = run(api, ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.05; done"], detach=True)
    assert b"".join(box.logs(stream=True, follow=True)) == b"1\n2\n3\n"
    assert box.logs(tail=1) == b"3\n"
    stamped = box.logs(timestamps=True, tail=1)
    assert stamped.endswith(b"Z 3\n")


def test_attach_socket(api: Any) -> None:
    box = api.containers.create(BASE, "cat", stdin_open=True, network_mode="none", tty=True)
    link = box.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    box.start()
    raw = link._sock
    raw.settimeout(15)
    raw.sendall(b"typed\n")
    seen = b""
    while seen.count(b"typed") < 2:
        seen += raw.recv(1000)
    raw.sendall(b"\x04")
    assert box.wait()["StatusCode"] == 0
    link.close()


def test_list_and_filters(api: Any) -> None:
    box = run(api, "sleep 1000", detach=True, labels={"kind": "x"})
    other = api.containers.create(BASE, "true", network_mode="none")
    assert [each.id for each in api.containers.list()] == [box.id]
    assert {each.id for each in api.containers.list(all=True)} == {box.id, other.id}
    assert [each.id for each in api.containers.list(filters={"label": "kind=x"})] == [box.id]
    assert api.containers.list(filters={"status": "created"}, all=True)[0].id == other.id
    pruned = api.containers.prune()
    assert pruned["ContainersDeleted"] == [other.id]


def test_images(api: Any) -> None:
    loaded = api.images.load(docker_archive("py:1", tar_of({"f": b"1"})))
    assert loaded[0].tags == ["py:1"]
    assert loaded[0].tag("py", "2")
    saved = b"".join(api.images.get("py:2").save(named=True))
    api.images.remove("py:1")
    api.images.remove("py:2")
    with pytest.raises(ImageNotFound):
        api.images.get("py:2")
    assert api.images.load(io.BytesIO(saved).read())[0].id == loaded[0].id
    assert [row["CreatedBy"] for row in loaded[0].history()] == ["test"]
    api.images.remove(loaded[0].id, force=True)


def test_commit(api: Any) -> None:
    box = run(api, ["sh", "-c", "echo x >/x"], detach=True)
    box.wait()
    assert {"Path": "/x", "Kind": 1} in box.diff()
    image = box.commit("py-commit", "1", message="m", author="a", changes="CMD cat /x")
    assert api.containers.run("py-commit:1", network_mode="none", remove=True) == b"x\n"
    box.remove()
    api.images.remove(image.id, force=True)


def test_events(api: Any) -> None:
    begin = int(time.time())
    box = run(api, "true", detach=True)
    box.wait()
    events = api.events(since=begin, until=int(time.time()) + 1, decode=True)
    seen = [event["Action"] for event in events if event["Actor"]["ID"] == box.id]
    assert seen[:2] == ["create", "start"] or {"create", "start", "die"} <= set(seen)


def test_errors_carry_status_and_message(api: Any) -> None:
    with pytest.raises(NotFound) as missing:
        api.containers.get("nobody")
    assert "No such container: nobody" in str(missing.value)
    box = api.containers.create(BASE, "true", network_mode="none", name="taken")
    with pytest.raises(APIError) as conflict:
        api.containers.create(BASE, "true", network_mode="none", name="taken")
    assert conflict.value.status_code == 409
    assert box.id in str(conflict.value)
