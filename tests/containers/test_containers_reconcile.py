"""A new daemon on the state that an old one left, at every kind of break."""

from __future__ import annotations

import pytest
from tests.containers.container_fakes import World

from wherry.containers.record import State, decode, encode
from wherry.containers.transitions import Status
from wherry.errors import Exhausted, NotFound
from wherry.runtime.port import Exit
from wherry.wire.container import HostConfig, RestartPolicy


async def test_running_and_paused_are_adopted(world: World) -> None:
    one = await world.run("sleep")
    two = await world.run("sleep")
    await world.engine.pause(two)
    pids = [world.state(each)["Pid"] for each in (one, two)]
    await world.again()
    assert [world.state(each)["Pid"] for each in (one, two)] == pids
    assert world.state(two)["Status"] == "paused"
    await world.engine.stop(one)
    assert world.state(one)["ExitCode"] == 143


async def test_a_pause_that_was_not_recorded(world: World) -> None:
    one = await world.run("sleep")
    two = await world.run("sleep")
    await world.engine.pause(two)
    world.runtime.boxes[one].frozen, world.runtime.boxes[two].frozen = True, False
    await world.again()
    # Nobody was told of the one, and the other's end was under way.
    assert [world.state(each)["Status"] for each in (one, two)] == ["running", "running"]
    assert not world.runtime.boxes[one].frozen


async def test_an_exit_while_away_keeps_its_code_and_time(world: World) -> None:
    container = await world.run("sleep")
    await world.engine.shutdown()
    ended = world.engine._book.get(container).record.state.started_ns / 1e9 + 5
    world.runtime.boxes[container].end.set_result(Exit(42, ended))
    await world.again()
    record = world.engine._book.get(container).record
    assert (record.status, record.state.exit_code) == (Status.EXITED, 42)
    assert abs(record.state.finished_ns / 1e9 - ended) < 0.001
    assert world.events.attributes("die")["exitCode"] == "42"


async def test_an_end_with_the_machine_is_no_users_wish(world: World) -> None:
    """Each ends in its own way; what had been stopped stays so, and policies start the rest."""

    def policy(name: str) -> HostConfig:
        return HostConfig(restart_policy=RestartPolicy(name=name))

    once = await world.run("sleep", host=policy("no"))
    ever = await world.run("stubborn", stop_timeout=0, host=policy("always"))
    going = await world.run("sleep", stop_signal="SIGKILL", host=policy("unless-stopped"))
    paused = await world.run("sleep", host=policy("unless-stopped"))
    await world.engine.pause(paused)
    stopped = await world.run("sleep", host=policy("unless-stopped"))
    await world.engine.stop(stopped)
    passing = await world.run("sleep", host=HostConfig(auto_remove=True))
    told: list[float] = []
    stubborn = world.runtime.boxes[ever]
    await world.engine.end_all(told.append)
    assert told == [20.0]
    everyone = (once, ever, going, paused, stopped)
    states = [world.state(each) for each in everyone]
    assert [state["Status"] for state in states] == ["exited"] * 5
    assert [state["ExitCode"] for state in states] == [143, 137, 137, 143, 143]
    assert stubborn.signals == [15, 9]
    await world.again()
    await world.until(lambda: all(world.state(each)["Running"] for each in (ever, going, paused)))
    assert [world.state(each)["Running"] for each in (once, stopped)] == [False, False]
    with pytest.raises(NotFound):
        world.engine.inspect(passing)


async def test_a_vanished_container_is_255(world: World) -> None:
    container = await world.run("sleep")
    await world.engine.shutdown()
    del world.runtime.boxes[container]
    await world.again()
    assert world.state(container)["ExitCode"] == 255
    assert "not seen" in world.state(container)["Error"]


async def test_half_started_is_undone(world: World) -> None:
    container = await world.run("sleep")
    await world.engine.shutdown()
    live = world.engine._book.get(container)
    world.engine._book.commit(live, state=State())
    world.paths.container(container).run.mkdir(parents=True)
    await world.again()
    assert world.state(container)["Status"] == "created"
    assert container not in world.runtime.boxes


async def test_half_made_and_half_removed_are_gone(world: World) -> None:
    ghost = "cd" * 32
    world.paths.container(ghost).upper.mkdir(parents=True)
    other = world.paths.containers / "keep-me"
    other.mkdir()
    going = await world.make("sleep")
    live = world.engine._book.get(going)
    from wherry.containers.transitions import Event

    world.engine._book.step(live, Event.REMOVE)
    await world.again()
    assert not world.paths.container(ghost).root.exists()
    assert not world.paths.container(going).root.exists()
    assert other.exists()
    assert ghost in world.runtime.deleted
    with pytest.raises(NotFound):
        world.engine.inspect(going)


@pytest.mark.parametrize(
    ("policy", "cmd", "stop", "status"),
    [
        ("no", "sleep", False, "exited"),
        ("always", "sleep", False, "running"),
        ("always", "sleep", True, "running"),
        ("unless-stopped", "sleep", False, "running"),
        ("unless-stopped", "sleep", True, "exited"),
        ("on-failure", "sleep", False, "running"),
        ("on-failure", "sleep", True, "exited"),
    ],
)
async def test_policies_at_boot(
    world: World, policy: str, cmd: str, stop: bool, status: str
) -> None:
    host = HostConfig(restart_policy=RestartPolicy(name=policy))
    container = await world.run(cmd, host=host)
    never = await world.make("sleep", host=host)
    if stop:
        await world.engine.stop(container)
    await world.engine.shutdown()
    world.runtime.boxes.pop(container, None)
    await world.again()
    await world.until(lambda: world.state(container)["Status"] == status)
    assert world.state(never)["Status"] == "created"


async def test_auto_remove_after_an_exit_while_away(world: World) -> None:
    container = await world.run("sleep", host=HostConfig(auto_remove=True))
    await world.engine.shutdown()
    world.runtime.boxes[container].end.set_result(Exit(0, 0.0))
    await world.again()
    await world.until(lambda: container not in world.engine._book)
    assert not world.paths.container(container).root.exists()


async def test_a_full_disk_does_not_hide_an_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = await world.run("sleep")
    other = await world.make("sleep")

    def full(*_: object) -> None:
        raise Exhausted("no space left for the database")

    monkeypatch.setattr(world.engine._book._table, "update", full)
    world.runtime.boxes[container].finish(3)
    assert (await world.engine.wait(container))[0] == 3
    assert world.state(container)["Status"] == "exited"
    with pytest.raises(Exhausted):
        await world.engine.start(other)
    assert other not in world.runtime.boxes
    assert world.state(other)["Status"] == "created"


async def test_records_survive_the_database(world: World) -> None:
    container = await world.run("sleep", labels={"a": "b"}, env=["X=ü"])
    record = world.engine._book.get(container).record
    assert decode(encode(record)) == record
