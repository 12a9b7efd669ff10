"""The life cycle on the fake runtime."""

from __future__ import annotations

import asyncio

import pytest
from tests.containers.container_fakes import World

from wherry.errors import Conflict, Exhausted, Invalid, NotFound, NotModified
from wherry.linux.tasks import spawn
from wherry.runtime.failures import CommandNotFound
from wherry.wire.container import HostConfig, RestartPolicy


def full(*_: object) -> None:
    raise Exhausted("no space left for the database")


async def test_create_start_wait_remove(world: World) -> None:
    container = await world.make("true", name="one")
    waiting = spawn(world.engine.wait("one", "next-exit"), name="wait")
    await asyncio.sleep(0)
    assert world.state("one")["Status"] == "created"
    await world.engine.start("one")
    assert await waiting == (0, "")
    state = world.state(container[:12])
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 0, 0)
    assert state["FinishedAt"] > "2020"
    await world.engine.remove("one")
    with pytest.raises(NotFound, match="No such container: one"):
        world.engine.inspect("one")
    assert not world.paths.container(container).root.exists()
    assert world.events.actions(container) == ["create", "start", "die", "destroy"]
    assert world.events.attributes("die")["exitCode"] == "0"
    assert world.events.attributes("die")["origin"] == "image"
    assert world.events.attributes("die")["image"] == "box"


async def test_names_are_unique_and_free_again(world: World) -> None:
    first = await world.make(name="twin")
    with pytest.raises(Conflict) as caught:
        await world.make(name="/twin")
    assert caught.value.message == (
        f'Conflict. The container name "/twin" is already in use by container "{first}". You '
        "have to remove (or rename) that container to be able to reuse that name."
    )
    await world.engine.rename("twin", "other")
    second = await world.make(name="twin")
    assert second != first
    with pytest.raises(Invalid, match="only \\[a-zA-Z0-9\\]"):
        await world.make(name="-bad")
    with pytest.raises(Conflict):
        await world.engine.rename("twin", "other")
    assert world.engine.inspect("twin")["Id"] == second


async def test_unknown_image_leaves_nothing(world: World) -> None:
    from wherry.wire.container import CreateRequest

    with pytest.raises(NotFound, match="No such image: nothing"):
        await world.engine.create("xx", CreateRequest(image="nothing"))
    assert not world.paths.containers.exists() or not list(world.paths.containers.iterdir())
    await world.make(name="xx")


async def test_missing_command_leaves_it_created_with_127(world: World) -> None:
    container = await world.make("missing")
    with pytest.raises(CommandNotFound):
        await world.engine.start(container)
    state = world.state(container)
    assert (state["Status"], state["ExitCode"]) == ("created", 127)
    assert "executable file not found" in state["Error"]
    assert container in world.runtime.deleted


async def test_stop_signals_then_kills(world: World) -> None:
    gentle = await world.run("sleep", name="gentle")
    await world.engine.stop("gentle")
    assert world.state(gentle)["ExitCode"] == 143
    stubborn = await world.run("stubborn", name="stubborn")
    await world.engine.stop("stubborn", timeout=0)
    assert world.state(stubborn)["ExitCode"] == 137
    assert world.events.actions(stubborn) == ["create", "start", "kill", "kill", "die", "stop"]
    with pytest.raises(NotModified):
        await world.engine.stop("gentle")


async def test_start_twice_is_not_modified(world: World) -> None:
    container = await world.run("sleep")
    with pytest.raises(NotModified):
        await world.engine.start(container)


async def test_kill_needs_a_process(world: World) -> None:
    container = await world.make(name="idle")
    with pytest.raises(Conflict, match=f"container {container} is not running"):
        await world.engine.kill("idle")
    with pytest.raises(Invalid, match="invalid signal: NOPE"):
        await world.engine.kill("idle", "NOPE")


async def test_pause_and_unpause(world: World) -> None:
    container = await world.run("sleep", name="pp")
    await world.engine.pause("pp")
    assert world.state("pp")["Status"] == "paused"
    assert world.runtime.boxes[container].frozen
    with pytest.raises(Conflict, match="already paused"):
        await world.engine.pause("pp")
    with pytest.raises(Conflict, match="paused and must be unpaused first"):
        await world.engine.remove("pp")
    with pytest.raises(Conflict, match="cannot start a paused container"):
        await world.engine.start("pp")
    await world.engine.unpause("pp")
    assert world.state("pp")["Status"] == "running"
    with pytest.raises(Conflict, match="is not paused"):
        await world.engine.unpause("pp")
    await world.engine.pause("pp")
    await world.engine.stop("pp")
    assert world.state("pp")["Status"] == "exited"


async def test_remove_of_a_running_container_needs_force(world: World) -> None:
    container = await world.run("sleep", name="busy")
    with pytest.raises(Conflict) as caught:
        await world.engine.remove("busy")
    assert caught.value.message == (
        'cannot remove container "/busy": container is running: stop the container before '
        "removing or force remove"
    )
    await world.engine.remove("busy", force=True)
    assert world.events.actions(container)[-3:] == ["kill", "die", "destroy"]


async def test_auto_remove_tells_who_waits_for_removal(world: World) -> None:
    container = await world.make("fail", "7", host=HostConfig(auto_remove=True))
    waiting = spawn(world.engine.wait(container, "removed"), name="wait")
    await asyncio.sleep(0)
    await world.engine.start(container)
    assert await waiting == (7, "")
    with pytest.raises(NotFound):
        world.engine.inspect(container)


async def test_wait_conditions(world: World) -> None:
    container = await world.make("fail", "3")
    assert await world.engine.wait(container) == (0, "")
    await world.engine.start(container)
    assert await world.engine.wait(container, "not-running") == (3, "")
    with pytest.raises(Invalid, match="invalid condition"):
        await world.engine.wait(container, "never")


async def test_restart_runs_it_again(world: World) -> None:
    container = await world.run("sleep")
    before = world.state(container)["Pid"]
    await world.engine.restart(container)
    assert world.state(container)["Pid"] != before
    assert world.events.actions(container)[-5:] == ["kill", "die", "stop", "start", "restart"]


async def test_fifty_starts_run_at_once(world: World) -> None:
    containers = [await world.make("sleep") for _ in range(50)]
    world.runtime.gate = asyncio.Event()
    starts = asyncio.gather(*(world.engine.start(each) for each in containers))
    for _ in range(10):
        await asyncio.sleep(0)
    world.runtime.gate.set()
    await starts
    assert world.runtime.most_at_once == 50
    assert world.engine.counts() == {"running": 50, "paused": 0, "stopped": 0}


async def test_policy_restarts_with_a_growing_delay(world: World) -> None:
    delays: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        delays.append(seconds)
        if len(delays) == 4:
            enough.set()
            await asyncio.Event().wait()

    world.engine._supervisor._sleep = sleep
    policy = RestartPolicy(name="always")
    container = await world.run("fail", "1", host=HostConfig(restart_policy=policy))
    await enough.wait()
    assert delays == [0.1, 0.2, 0.4, 0.8]
    shown = world.engine.inspect(container)
    assert shown["State"]["Status"] == "restarting"
    assert shown["State"]["Running"] is True
    assert shown["RestartCount"] == 3
    await world.engine.stop(container)
    assert world.state(container)["Status"] == "exited"
    await world.engine.remove(container)


async def test_on_failure_gives_up_after_n(world: World) -> None:
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    world.engine._supervisor._sleep = sleep
    policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
    container = await world.run("fail", "5", host=HostConfig(restart_policy=policy))
    await world.until(lambda: world.state(container)["Status"] == "exited")
    assert world.engine.inspect(container)["RestartCount"] == 2
    assert world.events.actions(container).count("die") == 3


async def test_a_removal_wins_over_a_rename_that_waits(world: World) -> None:
    container = await world.make(name="old")
    live = world.engine._book.get(container)
    async with live.lock:
        removal = spawn(world.engine.remove("old"), name="remove")
        await asyncio.sleep(0)
        rename = spawn(world.engine.rename("old", "new"), name="rename", awaited=True)
        await asyncio.sleep(0)
    await removal
    with pytest.raises(NotFound, match="No such container"):
        await rename
    await world.make(name="new")


async def test_a_rename_that_cannot_be_written_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = await world.make(name="old")
    told: list[str] = []

    async def renamed(container_id: str, name: str) -> None:
        told.append(name)

    monkeypatch.setattr(world.engine._networking, "renamed", renamed)
    monkeypatch.setattr(world.engine._book._table, "update", full)
    with pytest.raises(Exhausted):
        await world.engine.rename("old", "new")
    assert told == ["new", "old"]
    assert world.engine.inspect("old")["Id"] == container
    await world.make(name="new")


async def test_a_full_disk_does_not_hide_a_pause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = await world.run("sleep")
    monkeypatch.setattr(world.engine._book._table, "update", full)
    await world.engine.pause(container)
    assert world.state(container)["Status"] == "paused"
    await world.engine.unpause(container)
    assert world.state(container)["Status"] == "running"
    assert not world.runtime.boxes[container].frozen


async def test_waits_that_are_given_up_are_forgotten(world: World) -> None:
    container = await world.run("sleep")
    live = world.engine._book.get(container)
    for condition in ("not-running", "next-exit", "removed"):
        waiting = spawn(world.engine.wait(container, condition), name="wait")
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await asyncio.sleep(0)
    assert [*live.next_stop, *live.next_exit, *live.removal] == []


async def test_a_restart_that_fails_for_any_reason_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RestartPolicy(name="always")
    container = await world.run("sleep", host=HostConfig(restart_policy=policy))

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.engine._starter._specs, "build", broken)
    world.runtime.boxes[container].finish(1)
    await world.until(lambda: world.state(container)["Status"] == "restarting")
    await world.engine.wait(container)
    assert world.state(container)["Status"] == "exited"
