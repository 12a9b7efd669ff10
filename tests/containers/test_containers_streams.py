"""Attach, exec and logs on the fake runtime."""

from __future__ import annotations

import pytest
from tests.containers.container_fakes import World

from wherry.containers.service import AttachOptions, ExecRequest, LogOptions
from wherry.errors import Conflict, Invalid, NotFound

ALL = AttachOptions(stream=True, stdin=True, stdout=True, stderr=True)


async def test_attach_before_start_loses_nothing(world: World) -> None:
    container = await world.make("say", "hello")
    session = await world.engine.attach(container, ALL)
    await world.engine.start(container)
    assert await session.read() == (1, b"hello\n")
    assert await session.read() is None
    await session.close()


async def test_failed_start_ends_a_waiting_session(world: World) -> None:
    container = await world.make("missing")
    session = await world.engine.attach(container, ALL)
    with pytest.raises(Invalid):
        await world.engine.start(container)
    assert await session.read() is None


async def test_detach_keys_end_the_session_and_nothing_else(world: World) -> None:
    container = await world.run("cat", open_stdin=True, tty=True)
    session = await world.engine.attach(container, ALL)
    assert session.tty
    await session.write(b"hi\n\x10\x11ignored")
    assert await session.read() is None
    assert world.runtime.boxes[container].stdin == [b"hi\n"]
    assert "detach" in world.events.actions(container)
    assert world.state(container)["Running"]
    assert world.runtime.boxes[container].streams == []


async def test_input_is_dropped_without_open_stdin(world: World) -> None:
    container = await world.run("cat")
    session = await world.engine.attach(container, ALL)
    await session.write(b"lost")
    assert world.runtime.boxes[container].stdin == []
    await session.close()


async def test_attach_replays_the_log(world: World) -> None:
    container = await world.run("sleep")
    box = world.runtime.boxes[container]
    box.output(1, b"early\n")
    box.output(2, b"bad\n")
    options = AttachOptions(logs=True, stream=True, stdout=True)
    session = await world.engine.attach(container, options)
    assert await session.read() == (1, b"early\n")
    box.output(2, b"unwanted\n")
    box.output(1, b"late\n")
    assert await session.read() == (1, b"late\n")
    await session.close()


async def test_several_clients_see_the_same(world: World) -> None:
    container = await world.run("sleep")
    sessions = [await world.engine.attach(container, ALL) for _ in range(3)]
    world.runtime.boxes[container].output(1, b"x\n")
    assert [await each.read() for each in sessions] == [(1, b"x\n")] * 3
    for each in sessions:
        await each.close()


async def test_paused_container_cannot_be_attached(world: World) -> None:
    container = await world.run("sleep")
    await world.engine.pause(container)
    with pytest.raises(Conflict, match="unpause the container before attach"):
        await world.engine.attach(container, ALL)


async def collect(world: World, ref: str, options: LogOptions) -> list[bytes]:
    return [line.data async for lines in world.engine.logs(ref, options) for line in lines]


async def test_logs_tail_and_streams(world: World) -> None:
    container = await world.run("sleep")
    box = world.runtime.boxes[container]
    for number in range(20000):
        if number > 19990 or number % 100 == 0:
            box.output(1, f"line {number}\n".encode())
    box.output(2, b"err\n")
    assert await collect(world, container, LogOptions(tail=2)) == [b"line 19999\n", b"err\n"]
    assert await collect(world, container, LogOptions(tail=0)) == []
    assert len(await collect(world, container, LogOptions())) == 210
    assert await collect(world, container, LogOptions(stdout=False)) == [b"err\n"]
    assert await collect(world, container, LogOptions(since=9e10)) == []
    assert len(await collect(world, container, LogOptions(tail=10**6))) == 210
    with pytest.raises(NotFound):
        world.engine.logs("nobody", LogOptions())


async def test_pieces_of_a_line_are_joined(world: World) -> None:
    container = await world.run("sleep")
    box = world.runtime.boxes[container]
    for stream, data in ((1, b"one "), (2, b"other\n"), (1, b"line\n"), (1, b"open")):
        box.output(stream, data)
    assert await collect(world, container, LogOptions()) == [b"other\n", b"one line\n", b"open"]
    box.output(1, b"x" * 20000)
    box.output(1, b"y")
    lines = await collect(world, container, LogOptions(tail=1))
    assert [len(line) for line in lines] == [20004, 1]


async def test_logs_follow_to_the_end(world: World) -> None:
    container = await world.run("sleep")
    box = world.runtime.boxes[container]
    box.output(1, b"first\n")
    lines = world.engine.logs(container, LogOptions(follow=True))
    assert [line.data for line in await anext(lines)] == [b"first\n"]
    box.output(1, b"second\n")
    assert [line.data for line in await anext(lines)] == [b"second\n"]
    box.output(1, b"last\n")
    box.finish(0)
    assert [line.data async for batch in lines for line in batch] == [b"last\n"]


async def test_exec_runs_and_reports(world: World) -> None:
    container = await world.run("sleep")
    request = ExecRequest(["date", "-u"], attach_stdout=True, attach_stderr=True)
    exec_id = await world.engine.exec_create(container, request)
    before = world.engine.exec_inspect(exec_id)
    assert (before["Running"], before["ExitCode"]) == (False, None)
    session = await world.engine.exec_start(exec_id)
    assert session is not None
    await world.until(lambda: world.engine.exec_inspect(exec_id)["Running"] is True)
    assert world.engine.inspect(container)["ExecIDs"] == [exec_id]
    with pytest.raises(Conflict, match="is already running"):
        await world.engine.exec_start(exec_id)
    from wherry.runtime.port import Exit

    world.runtime.exec_ends[exec_id].set_result(Exit(4, 0.0))
    await world.until(lambda: not world.engine.exec_inspect(exec_id)["Running"])
    assert world.engine.exec_inspect(exec_id)["ExitCode"] == 4
    assert world.engine.inspect(container)["ExecIDs"] is None
    assert world.events.attributes("exec_die")["exitCode"] == "4"
    assert world.events.attributes("exec_die")["execID"] == exec_id
    with pytest.raises(Conflict, match="has already run"):
        await world.engine.exec_start(exec_id)


async def test_exec_of_a_missing_command_tells_the_stream(world: World) -> None:
    container = await world.run("sleep")
    exec_id = await world.engine.exec_create(
        container, ExecRequest(["missing"], attach_stdout=True)
    )
    session = await world.engine.exec_start(exec_id)
    assert session is not None
    chunk = await session.read()
    assert chunk is not None
    assert b"not found in $PATH" in chunk[1]
    assert await session.read() is None
    assert world.engine.exec_inspect(exec_id)["ExitCode"] == 127


async def test_exec_needs_a_running_container(world: World) -> None:
    container = await world.make("sleep")
    with pytest.raises(Conflict, match=f"container {container} is not running"):
        await world.engine.exec_create(container, ExecRequest(["x"]))
    await world.engine.start(container)
    with pytest.raises(Invalid, match="No exec command specified"):
        await world.engine.exec_create(container, ExecRequest([]))
    await world.engine.pause(container)
    with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
        await world.engine.exec_create(container, ExecRequest(["x"]))
    with pytest.raises(NotFound, match="No such exec instance: nope"):
        world.engine.exec_inspect("nope")
