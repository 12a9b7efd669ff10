"""The data root's file system is full: what runs goes on, and nothing is half made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.support.agreement import Seen, settled
from tests.support.engine import Answer, Engine, eventually
from tests.support.filesystems import small_disk
from tests.support.images import BASE, docker_archive, tar_of

pytestmark = pytest.mark.root
COUNT = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done"
ENDING = "trap 'exit 7' TERM; while :; do sleep 0.05; done"
# Whatever room there is, this takes: also what the daemon gives free.
GREEDY = "while :; do cat /dev/zero >> /v/f; sleep 0.1; done 2>/dev/null"


@pytest.fixture(params=["ext4", "tmpfs"])
def small(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with small_disk(request.param, 64) as engine:
        yield engine


def fill_up(engine: Engine, greedy: str) -> None:
    """Until nothing is left, and the greedy container goes on trying."""
    assert engine.post(f"/containers/{greedy}/start").status == 204
    folder = engine.data / "volumes" / "big" / "_data"

    def full() -> bool:
        status = os.statvfs(engine.data)
        return status.f_bavail * status.f_frsize < 64 << 10

    eventually(full, seconds=60, what="a full disk")
    with suppress(OSError), (folder / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(512))


def create_body(**host: Any) -> dict[str, Any]:
    return {"Image": BASE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", **host}}


def refused(answer: Answer) -> None:
    """Status and words of a full disk."""
    text = answer.body.decode(errors="replace").lower()
    assert "no space left on device" in text, (answer.status, text)
    assert answer.status == 500 or (answer.status == 200 and "error" in text)


def folder_names(engine: Engine) -> dict[str, list[str]]:
    names = ("containers", "volumes", "blobs/sha256", "layers")
    return {each: sorted(os.listdir(engine.data / each)) for each in names}


def test_everything_about_a_full_disk(small: Engine) -> None:
    engine = small
    seen = Seen()
    counting, ending = engine.run("sh", "-c", COUNT), engine.run("sh", "-c", ENDING)
    resting, other = engine.create("true"), engine.create("true")
    greedy = engine.create("sh", "-c", GREEDY, Binds=["big:/v"])
    assert engine.post("/volumes/create", {"Name": "spare"}).status == 201
    pid = engine.inspect(counting)["State"]["Pid"]
    fill_up(engine, greedy)
    before, images = folder_names(engine), engine.get("/images/json?all=1").json

    # It can be looked at.
    assert len(engine.containers()) == 5
    assert engine.inspect(counting)["State"]["Pid"] == pid
    assert engine.logs(counting)
    # What needs room is refused, with nothing half made.
    noise = tar_of({f"f{number}": os.urandom(100_000) for number in range(20)})
    refused(engine.post(f"/containers/{resting}/start"))
    assert "no space left" in engine.inspect(resting)["State"]["Error"]
    refused(engine.upload("/images/create?fromSrc=-&repo=half&tag=1", noise))
    refused(engine.upload("/images/load", docker_archive("half:1", noise)))
    refused(engine.post(f"/commit?container={counting}&repo=half&tag=1"))
    refused(engine.request("PUT", f"/containers/{counting}/archive?path=/tmp", noise))
    if (engine.root / "disk").exists():
        # On tmpfs a directory takes no room.
        refused(engine.post("/containers/create", create_body()))
        refused(engine.post("/containers/create", create_body(Binds=["fresh:/x"])))
        refused(engine.post("/volumes/create", {"Name": "fresh"}))
    assert folder_names(engine) == before
    assert engine.get("/images/json?all=1").json == images
    settled(engine, seen)

    # The daemon may die and come back meanwhile.
    engine.crash_and_start()
    assert engine.inspect(counting)["State"]["Pid"] == pid
    # What ends and removes works, with the true exit code.
    assert engine.post(f"/containers/{ending}/stop").status == 204
    assert engine.inspect(ending)["State"]["ExitCode"] == 7
    assert engine.post(f"/containers/{counting}/pause").status == 204
    assert engine.post(f"/containers/{counting}/unpause").status == 204
    assert engine.delete(f"/containers/{ending}").status == 204
    assert engine.post("/containers/prune").status == 200
    assert engine.delete("/volumes/spare").status == 204
    for prune in ("volumes", "networks", "images"):
        assert engine.post(f"/{prune}/prune").status == 200
    assert {row["Id"] for row in engine.containers()} == {counting, greedy}
    settled(engine, seen)

    # With room again everything works, in the same process.
    assert engine.delete(f"/containers/{greedy}?force=1").status == 204
    assert engine.delete("/volumes/big").status == 204
    assert engine.wait(engine.run("true", Binds=["fresh:/x"])) == 0
    assert engine.upload("/images/create?fromSrc=-&repo=whole&tag=1", noise).status == 200
    assert engine.post(f"/commit?container={counting}&repo=more&tag=1").status == 201
    number = len(engine.logs(counting).split())
    eventually(lambda: len(engine.logs(counting).split()) > number + 3)
    assert engine.inspect(counting)["State"]["Pid"] == pid
    settled(engine, seen)
    assert other not in {row["Id"] for row in engine.containers()}
