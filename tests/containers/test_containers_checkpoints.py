"""Checkpoints: their rules, and what a crash leaves of them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.containers.container_fakes import World

from wherry.errors import Conflict, Internal, Invalid, NotFound, NotImplementedYet
from wherry.wire.container import HostConfig, RestartPolicy


async def test_there_and_back(world: World) -> None:
    policy = RestartPolicy(name="always")
    box = await world.run("sleep", name="box", host=HostConfig(restart_policy=policy))
    await world.engine.checkpoint("box", "one", end=True)
    assert world.state(box)["Status"] == "exited"
    assert world.state(box)["ExitCode"] == 137
    assert "checkpoint" in world.events.actions(box)
    assert world.engine.checkpoints("box") == ["one"]
    await world.engine.start("box", "one")
    assert world.state(box)["Running"]
    assert [each.name for each in world.runtime.restored] == ["one"]
    pid = world.state(box)["Pid"]
    await world.engine.checkpoint("box", "two")
    assert world.state(box)["Pid"] == pid
    assert world.engine.checkpoints("box") == ["one", "two"]
    await world.engine.remove_checkpoint("box", "one")
    assert world.engine.checkpoints("box") == ["two"]
    await world.engine.remove("box", force=True)
    assert not world.paths.container(box).root.exists()


async def test_directories_of_ones_own(world: World, tmp_path: Path) -> None:
    await world.run("sleep", name="box")
    await world.engine.checkpoint("box", "one", str(tmp_path / "deep" / "er"))
    assert (tmp_path / "deep" / "er" / "one" / "pages").read_text() == "whole"
    assert world.engine.checkpoints("box") == []
    assert world.engine.checkpoints("box", str(tmp_path / "deep" / "er")) == ["one"]
    await world.engine.stop("box")
    with pytest.raises(NotFound, match="checkpoint one does not exist for container box"):
        await world.engine.start("box", "one")
    await world.engine.start("box", "one", str(tmp_path / "deep" / "er"))
    await world.engine.remove_checkpoint("box", "one", str(tmp_path / "deep" / "er"))
    assert list((tmp_path / "deep" / "er").iterdir()) == []


async def test_what_is_refused(world: World) -> None:
    await world.make("sleep", name="rest")
    await world.run("sleep", name="tty", tty=True)
    await world.run("sleep", name="brief", host=HostConfig(auto_remove=True))
    await world.run("sleep", name="box")
    await world.engine.checkpoint("box", "one")
    for kind, words, name, checkpoint in (
        (Conflict, "Container rest is created", "rest", "new"),
        (Invalid, "with tty", "tty", "new"),
        (Conflict, "brief is removed at its end", "brief", "new"),
        (Conflict, "one already exists for container box", "box", "one"),
        (Invalid, r"Invalid checkpoint ID \(\.\./x\)", "box", "../x"),
        (Invalid, "Invalid checkpoint ID", "box", ""),
        (NotFound, "No such container", "nobody", "new"),
    ):
        with pytest.raises(kind, match=words):
            await world.engine.checkpoint(name, checkpoint, end=True)
    with pytest.raises(Invalid, match="CheckpointDir"):
        await world.engine.checkpoint("box", "new", "here")
    for missing in ("gone", "../../box", ""):
        with pytest.raises(NotFound, match="does not exist for container box"):
            await world.engine.remove_checkpoint("box", missing)
    with pytest.raises(Invalid, match="checkpoint-dir"):
        await world.engine.start("rest", "", "/somewhere")
    world.runtime.lack = "criu is not installed: install the package criu"
    with pytest.raises(NotImplementedYet, match="criu is not installed"):
        await world.engine.checkpoint("box", "new")
    await world.engine.stop("box")
    with pytest.raises(NotImplementedYet, match="checkpoints of container box: criu is not"):
        await world.engine.start("box", "one")
    assert world.engine.checkpoints("box") == ["one"]
    assert world.state("box")["Status"] == "exited"


async def test_a_failure_leaves_the_container_as_it_was(world: World) -> None:
    policy = RestartPolicy(name="always")
    box = await world.run("sleep", name="box", host=HostConfig(restart_policy=policy))
    world.runtime.dumps = False
    with pytest.raises(Internal, match="criu says no"):
        await world.engine.checkpoint("box", "one", end=True)
    assert world.engine.checkpoints("box") == []
    assert list((world.paths.container(box).root / "checkpoints").iterdir()) == []
    live = world.engine._book.get("box")
    assert (live.stopping, live.record.stopped_by_user) == (False, False)
    assert world.state(box)["Running"]


async def test_a_crash_in_between(world: World) -> None:
    box = await world.run("sleep", name="box")
    folder = world.paths.container(box).root / "checkpoints"
    for name, content in (("whole", "whole"), ("half", "ha")):
        (folder / f".{name}.new").mkdir(parents=True)
        (folder / f".{name}.new" / "pages").write_text(content)
    assert world.engine.checkpoints("box") == []
    await world.again()
    assert world.engine.checkpoints("box") == ["whole"]
    assert [each.name for each in folder.iterdir()] == ["whole"]


async def test_a_name_that_no_file_can_have(world: World) -> None:
    box = await world.run("sleep", name="box")
    name = "x" * 300
    with pytest.raises(Invalid, match="Invalid checkpoint ID"):
        await world.engine.checkpoint("box", name)
    with pytest.raises(NotFound, match="does not exist for container box"):
        await world.engine.remove_checkpoint("box", name)
    assert world.state(box)["Running"]


async def test_a_checkpoint_that_cannot_be_settled_stops_no_daemon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = await world.run("sleep", name="box")
    half = world.paths.container(box).root / "checkpoints" / ".one.new"
    half.mkdir(parents=True)
    (half / "pages").write_text("whole")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wherry.containers.checkpoints.os.rename", full)
    await world.again()
    assert world.state(box)["Running"]
    await world.engine.stop("box")
    assert world.state(box)["Status"] == "exited"
