"""Volume plugins: a real plugin process that works, hangs, lies and dies."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import Conflict, Internal, NotFound, Unavailable
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import RecordingSyscalls
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.store.volumes import READY, REMOVING
from wherry.volumes import build
from wherry.volumes.plugins import PluginFolder
from wherry.wire.container import HostConfig
from wherry.wire.mounts import MountRequest, RootView

pytestmark = pytest.mark.root
SCRIPT = Path(__file__).with_name("volume_plugin.py")


class Silent:
    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        return None


class World:
    def __init__(self, root: Path, timeout: float = 1.0) -> None:
        self.root = root
        self.state = root / "state"
        self.sockets = root / "plugins"
        self.paths = Paths(root / "data", root / "run")
        for folder in (self.state, self.sockets, self.paths.data):
            folder.mkdir()
        self.database = Database(self.paths.database)
        self.plugins = PluginFolder([self.sockets], [root / "specs"], timeout=timeout)
        self.service, self.archive, self.mounts = build(
            self.database,
            self.paths,
            PrivateMounts(RecordingSyscalls()),
            Silent(),
            lambda ref: [],
            plugins=self.plugins,
        )
        self.process = self.launch()

    def launch(self) -> subprocess.Popen[bytes]:
        path = self.sockets / "small.sock"
        path.unlink(missing_ok=True)
        words = [sys.executable, str(SCRIPT), str(path), str(self.state)]
        process = subprocess.Popen(words)
        until = time.monotonic() + 10
        while not path.exists() and time.monotonic() < until:
            os.sched_yield()
        assert path.exists()
        return process

    def mood(self, mood: str) -> None:
        (self.state / "mood").write_text(mood)

    def asked(self) -> list[tuple[str, Any]]:
        lines = (self.state / "log").read_text().splitlines()
        found = [tuple(json.loads(line)) for line in lines]
        return [each for each in found if not each[0].endswith(("Get", "List"))]

    async def start(self, container_id: str, **host: Any) -> list[str]:
        config = HostConfig(**host)
        points, _ = await self.mounts.plan(MountRequest(container_id, config, ()))
        view = RootView([], self.paths.data / "none")
        return [str(m["source"]) for m in await self.mounts.prepare(container_id, points, view)]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[World]:
    """A daemon that waits for plugins longer than a test may take."""
    made = World(tmp_path, timeout=600.0)
    yield made
    made.close()


async def test_life_of_a_plugin_volume(world: World) -> None:
    made = await world.service.create("pv1", "small", {"a": "b"}, {"l": "1"})
    assert (made["Driver"], made["Scope"], made["Status"]) == ("small", "global", {"mood": "good"})
    assert made["Mountpoint"] == str(world.state / "volumes" / "pv1")
    (source,) = await world.start("c1", binds=["pv1:/x:nocopy"])
    assert source == made["Mountpoint"]
    with pytest.raises(Conflict, match="volume is in use"):
        await world.service.remove("pv1")
    await world.mounts.release("c1", ())
    await world.mounts.forget("c1", (), remove_anonymous=True)
    await world.service.remove("pv1")
    assert world.asked() == [
        ("/Plugin.Activate", {}),
        ("/VolumeDriver.Capabilities", {}),
        ("/VolumeDriver.Create", {"Name": "pv1", "Opts": {"a": "b"}}),
        ("/VolumeDriver.Mount", {"Name": "pv1", "ID": "c1"}),
        ("/VolumeDriver.Unmount", {"Name": "pv1", "ID": "c1"}),
        ("/VolumeDriver.Remove", {"Name": "pv1"}),
    ]


async def test_volumes_that_only_the_plugin_knows(world: World) -> None:
    (world.state / "volumes" / "theirs").mkdir(parents=True)
    listed = await world.service.listing({})
    assert [(each["Name"], each["CreatedAt"]) for each in listed["Volumes"]] == [
        ("theirs", "2026-01-02T03:04:05Z")
    ]
    assert (await world.service.inspect("theirs"))["Driver"] == "small"


async def test_its_errors_are_passed_on(world: World) -> None:
    await world.service.create("pv1", "small")
    world.mood("refuse")
    with pytest.raises(Internal, match=r"^create pv2: the plugin is in a bad mood$"):
        await world.service.create("pv2", "small")
    assert world.service.table.by_name("pv2") is None
    with pytest.raises(Internal, match="the plugin is in a bad mood"):
        await world.start("c1", binds=["pv1:/x"])
    row = world.service.get("pv1")
    assert world.service.table.holders(row.id) == []
    world.mood("garbage")
    with pytest.raises(Internal, match=r"VolumeDriver.Create: not JSON"):
        await world.service.create("pv2", "small")


async def test_a_plugin_that_hangs_holds_up_nobody_else(world: World) -> None:
    await world.service.create("pv1", "small")
    world.mood("hang")
    stuck = asyncio.gather(
        *(world.service.create(f"stuck{n}", "small") for n in range(3)), return_exceptions=True
    )
    await world.service.create("local1")
    assert not stuck.done()
    for error in await stuck:
        assert isinstance(error, Unavailable)
        assert "volume driver small: no answer to VolumeDriver.Create in 1 s" in error.message
    listed = await world.service.listing({})
    assert [each["Name"] for each in listed["Volumes"]] == ["local1", "pv1"]
    assert "no answer to VolumeDriver.List" in listed["Warnings"][0]


async def test_a_plugin_that_dies_and_comes_back(world: World) -> None:
    await world.service.create("pv1", "small")
    world.mood("die")
    with pytest.raises(Unavailable, match=r"volume driver small: VolumeDriver.Mount"):
        await world.start("c1", binds=["pv1:/x"])
    world.process.wait(10)
    with pytest.raises(Unavailable):
        await world.service.create("pv2", "small")
    world.mood("")
    world.process = world.launch()
    (source,) = await world.start("c2", binds=["pv1:/x:nocopy"])
    assert source.endswith("/pv1")


async def test_a_plugin_that_is_gone(world: World) -> None:
    await world.service.create("pv1", "small")
    world.process.kill()
    world.process.wait()
    (world.sockets / "small.sock").unlink()
    assert (await world.service.inspect("pv1"))["Mountpoint"] == ""
    with pytest.raises(NotFound, match='plugin "small" not found'):
        await world.service.remove("pv1")
    assert world.service.get("pv1").state == "ready"
    await world.service.remove("pv1", force=True)
    assert world.service.table.all() == []


async def test_the_start_does_not_wait_for_a_plugin(patient: World) -> None:
    """A removal that a crash cut short is finished beside it, or given up."""
    await patient.service.create("pv1", "small")
    table = patient.service.table
    row = patient.service.get("pv1")
    table.set_state(row.id, REMOVING)
    patient.mood("hang")
    await patient.mounts.adopt((), ())
    found = table.by_id(row.id)
    assert found is not None
    assert found.state == REMOVING
    patient.process.kill()
    patient.process.wait()
    for _ in range(3000):
        found = table.by_id(row.id)
        if found is not None and found.state == READY:
            break
        await asyncio.sleep(0.01)
    assert patient.service.get("pv1").state == READY
    patient.mood("")
    patient.process = patient.launch()
    table.set_state(row.id, REMOVING)
    await patient.mounts.adopt((), ())
    for _ in range(3000):
        if table.by_id(row.id) is None:
            break
        await asyncio.sleep(0.01)
    assert table.all() == []


async def test_a_list_asks_a_silent_plugin_once(world: World) -> None:
    for number in range(5):
        await world.service.create(f"pv{number}", "small")
    world.mood("hang")
    (world.state / "log").unlink()
    listed = await world.service.listing({})
    assert len(listed["Volumes"]) == 5
    assert len(listed["Warnings"]) == 1
    asked = [json.loads(line)[0] for line in (world.state / "log").read_text().splitlines()]
    assert asked == ["/VolumeDriver.List"]


def test_descriptions(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "one.spec").write_text("unix:///some/where.sock\n")
    (specs / "two.json").write_text('{"Name": "two", "Addr": "tcp://localhost:99"}')
    for name, text in (("bad.json", "{"), ("odd.spec", "ftp://x"), ("other.txt", "unix:///x")):
        (specs / name).write_text(text)
    folder = PluginFolder([tmp_path / "none"], [specs])
    assert folder.names() == ["one", "two"]
    assert folder.find("bad") is None
