"""What every runtime adapter must do. Each adapter's test module subclasses the suite."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.errors import Conflict, NotFound
from wherry.runtime.failures import CommandNotFound
from wherry.runtime.port import AttachStream, Check, ExecLaunch, Launch, Runtime

LIMIT = 20.0


class World(ABC):
    """An adapter under test, and how to ask it for a container."""

    runtime: Runtime
    base: Path

    @abstractmethod
    def launch(
        self,
        container_id: str,
        *arguments: str,
        stdin: bool = False,
        leave_stdin_open: bool = True,
        terminal: bool = False,
        runtime: str = "",
    ) -> Launch: ...

    @abstractmethod
    def exec_launch(
        self,
        exec_id: str,
        container_id: str,
        *arguments: str,
        stdin: bool = False,
        attach: bool = True,
        terminal: bool = False,
    ) -> ExecLaunch: ...


async def everything(stream: AttachStream) -> dict[int, bytes]:
    """All output until the end, by stream."""
    found = {1: b"", 2: b""}
    async with asyncio.timeout(LIMIT):
        while (chunk := await stream.read()) is not None:
            found[chunk[0]] += chunk[1]
    return found


async def start_refused(world: World, launch: Launch) -> None:
    """Create and start, and delete whatever came of it."""
    try:
        await world.runtime.create(launch)
        await world.runtime.start(launch.container_id)
    finally:
        await world.runtime.delete(launch.container_id, launch.bundle)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nobody announces. Fails after ``LIMIT`` seconds."""
    for _ in range(int(LIMIT * 200)):
        if condition():
            return
        await asyncio.sleep(0.005)
    assert condition()


class RuntimeConformance:
    """Tests that need a fixture ``world``."""

    async def test_create_start_wait_delete(self, world: World) -> None:
        launch = world.launch("one", "sh", "-c", "exit 3")
        running = await world.runtime.create(launch)
        assert running.container_id == "one"
        assert running.pid > 0
        await world.runtime.start("one")
        ended = await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
        assert (ended.code, ended.oom, ended.error) == (3, False, "")
        record = await world.runtime.exit_record("one", launch.exit_dir)
        assert record is not None
        assert record.code == 3
        assert abs(record.at - ended.at) < 0.01
        await world.runtime.delete("one", launch.bundle)
        await world.runtime.delete("one", launch.bundle)
        assert await world.runtime.adopt("one", launch.bundle) is None

    async def test_the_process_waits_for_start(self, world: World) -> None:
        launch = world.launch("held", "sh", "-c", "echo ran")
        running = await world.runtime.create(launch)
        await asyncio.sleep(0.05)
        assert await world.runtime.exit_record("held", launch.exit_dir) is None
        await world.runtime.start("held")
        await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
        assert launch.log_path is not None
        assert launch.log_path.read_bytes().endswith(b" stdout F ran\n")
        await world.runtime.delete("held", launch.bundle)

    async def test_attach_sees_both_streams_and_the_end(self, world: World) -> None:
        launch = world.launch("io", "sh", "-c", "echo out;echo err >&2;exit 5")
        running = await world.runtime.create(launch)
        first = await world.runtime.attach("io", launch.bundle)
        second = await world.runtime.attach("io", launch.bundle, stdin=False)
        await world.runtime.start("io")
        assert await everything(first) == {1: b"out\n", 2: b"err\n"}
        assert await everything(second) == {1: b"out\n", 2: b"err\n"}
        await first.close()
        await second.close()
        assert (await world.runtime.wait(running, launch.exit_dir)).code == 5
        await world.runtime.delete("io", launch.bundle)

    async def test_check(self, world: World) -> None:
        launch = world.launch("checked", "sleep", "100")
        running = await world.runtime.create(launch)
        await world.runtime.start("checked")

        def check(*arguments: str, timeout: float = LIMIT, most: int = 4096) -> Check:
            asked = world.exec_launch("e", "checked", *arguments)
            return Check("checked", launch.bundle, asked.process, timeout, most)

        done = await world.runtime.check(check("sh", "-c", "echo out;echo err >&2;exit 5"))
        assert (done.code, done.timed_out) == (5, False)
        assert sorted(done.output.split()) == [b"err", b"out"]
        done = await world.runtime.check(check("echo", "long text", most=4))
        assert (done.code, done.output) == (0, b"long")
        done = await world.runtime.check(check("sleep", "100", timeout=0.2))
        assert (done.code, done.timed_out) == (-1, True)
        with pytest.raises(CommandNotFound):
            await world.runtime.check(check("no-such-command"))
        await world.runtime.kill(running, 9)
        await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
        await world.runtime.delete("checked", launch.bundle)

    async def test_end_of_input_ends_stdin_once(self, world: World) -> None:
        launch = world.launch("in", "cat", stdin=True, leave_stdin_open=False)
        running = await world.runtime.create(launch)
        stream = await world.runtime.attach("in", launch.bundle)
        await world.runtime.start("in")
        await stream.write(b"one ")
        await stream.write(b"two")
        await stream.close_stdin()
        assert (await everything(stream))[1] == b"one two"
        await stream.close()
        ended = await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
        assert ended.code == 0
        await world.runtime.delete("in", launch.bundle)

    async def test_stdin_left_open_survives_a_client(self, world: World) -> None:
        launch = world.launch("open", "cat", stdin=True, leave_stdin_open=True)
        running = await world.runtime.create(launch)
        await world.runtime.start("open")
        for text in (b"first\n", b"second\n"):
            stream = await world.runtime.attach("open", launch.bundle)
            await stream.write(text)
            assert await asyncio.wait_for(stream.read(), LIMIT) == (1, text)
            await stream.close_stdin()
            await stream.close()
        await world.runtime.kill(running, 9)
        ended = await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
        assert ended.code == 137
        await world.runtime.delete("open", launch.bundle)

    async def test_a_listener_that_leaves_does_not_end_stdin(self, world: World) -> None:
        launch = world.launch("listen", "cat", stdin=True, leave_stdin_open=False)
        running = await world.runtime.create(launch)
        writer = await world.runtime.attach("listen", launch.bundle)
        listener = await world.runtime.attach("listen", launch.bundle, stdin=False)
        await world.runtime.start("listen")
        await writer.write(b"a\n")
        assert await asyncio.wait_for(listener.read(), LIMIT) == (1, b"a\n")
        await listener.close()
        await writer.write(b"b\n")
        await writer.close_stdin()
        assert (await everything(writer))[1] == b"a\nb\n"
        await writer.close()
        await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
        await world.runtime.delete("listen", launch.bundle)

    async def test_kill(self, world: World) -> None:
        launch = world.launch("kill", "sleep", "100")
        running = await world.runtime.create(launch)
        await world.runtime.start("kill")
        waiting = asyncio.gather(
            world.runtime.wait(running, launch.exit_dir),
            world.runtime.wait(running, launch.exit_dir),
        )
        await asyncio.sleep(0)
        await world.runtime.kill(running, 9)
        both = await asyncio.wait_for(waiting, LIMIT)
        assert [each.code for each in both] == [137, 137]
        await world.runtime.kill(running, 15)
        await world.runtime.delete("kill", launch.bundle)

    async def test_delete_ends_what_runs(self, world: World) -> None:
        launch = world.launch("gone", "sleep", "100")
        running = await world.runtime.create(launch)
        await world.runtime.start("gone")
        await asyncio.wait_for(world.runtime.delete("gone", launch.bundle), LIMIT)
        ended = await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
        assert ended.code == 137
        with pytest.raises(Conflict):
            await world.runtime.attach("gone", launch.bundle)

    async def test_a_created_container_can_be_deleted(self, world: World) -> None:
        launch = world.launch("never", "sleep", "100")
        await world.runtime.create(launch)
        await asyncio.wait_for(world.runtime.delete("never", launch.bundle), LIMIT)
        assert await world.runtime.adopt("never", launch.bundle) is None

    async def test_an_id_can_be_launched_again(self, world: World) -> None:
        for code in (4, 6):
            launch = world.launch("again", "sh", "-c", f"exit {code}")
            running = await world.runtime.create(launch)
            await world.runtime.start("again")
            ended = await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
            assert ended.code == code
            await world.runtime.delete("again", launch.bundle)

    async def test_an_unknown_command(self, world: World) -> None:
        launch = world.launch("nope", "no-such-command")
        with pytest.raises(CommandNotFound) as caught:
            await start_refused(world, launch)
        assert caught.value.exit_code == 127
        assert 'exec: "no-such-command": executable file not found in $PATH' in str(caught.value)
        assert await world.runtime.adopt("nope", launch.bundle) is None

    async def test_an_unknown_runtime(self, world: World) -> None:
        with pytest.raises(NotFound, match="unknown or invalid runtime name: odd"):
            await world.runtime.create(world.launch("odd", "true", runtime="odd"))

    async def test_adopt(self, world: World) -> None:
        launch = world.launch("adopted", "sleep", "100")
        running = await world.runtime.create(launch)
        await world.runtime.start("adopted")
        assert await world.runtime.adopt("adopted", launch.bundle) == running
        await world.runtime.delete("adopted", launch.bundle)
        assert await world.runtime.adopt("adopted", launch.bundle) is None

    async def test_exec(self, world: World) -> None:
        launch = world.launch("host", "sleep", "100")
        await world.runtime.create(launch)
        await world.runtime.start("host")
        try:
            session = world.exec_launch("e1", "host", "sh", "-c", "echo hi;echo no >&2;exit 7")
            running, stream = await world.runtime.exec(session)
            assert stream is not None
            assert await everything(stream) == {1: b"hi\n", 2: b"no\n"}
            await stream.close()
            ended = await asyncio.wait_for(
                world.runtime.exec_wait("e1", session.run_dir, running), LIMIT
            )
            assert ended.code == 7
        finally:
            await world.runtime.delete("host", launch.bundle)

    async def test_exec_with_input(self, world: World) -> None:
        launch = world.launch("host", "sleep", "100")
        await world.runtime.create(launch)
        await world.runtime.start("host")
        try:
            session = world.exec_launch("e2", "host", "cat", stdin=True)
            running, stream = await world.runtime.exec(session)
            assert stream is not None
            await stream.write(b"x" * 100_000)
            await stream.close_stdin()
            assert len((await everything(stream))[1]) == 100_000
            await stream.close()
            assert (await world.runtime.exec_wait("e2", session.run_dir, running)).code == 0
        finally:
            await world.runtime.delete("host", launch.bundle)

    async def test_exec_detached(self, world: World) -> None:
        launch = world.launch("host", "sleep", "100")
        await world.runtime.create(launch)
        await world.runtime.start("host")
        try:
            session = world.exec_launch("e3", "host", "false", attach=False)
            running, stream = await world.runtime.exec(session)
            assert stream is None
            ended = await asyncio.wait_for(
                world.runtime.exec_wait("e3", session.run_dir, running), LIMIT
            )
            assert ended.code == 1
        finally:
            await world.runtime.delete("host", launch.bundle)

    async def test_exec_of_an_unknown_command(self, world: World) -> None:
        launch = world.launch("host", "sleep", "100")
        running = await world.runtime.create(launch)
        await world.runtime.start("host")
        try:
            with pytest.raises(CommandNotFound, match="exec failed"):
                await world.runtime.exec(world.exec_launch("e4", "host", "no-such-command"))
            assert await world.runtime.adopt("host", launch.bundle) == running
        finally:
            await world.runtime.delete("host", launch.bundle)

    async def test_exec_in_what_has_ended(self, world: World) -> None:
        launch = world.launch("ended", "true")
        running = await world.runtime.create(launch)
        await world.runtime.start("ended")
        await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
        with pytest.raises(Conflict):
            await world.runtime.exec(world.exec_launch("e5", "ended", "true"))
        await world.runtime.delete("ended", launch.bundle)

    async def test_processes(self, world: World) -> None:
        launch = world.launch("procs", "sleep", "100")
        running = await world.runtime.create(launch)
        await world.runtime.start("procs")
        assert running.pid in await world.runtime.processes("procs", running)
        await world.runtime.delete("procs", launch.bundle)
        with pytest.raises((Conflict, NotFound)):
            await world.runtime.processes("procs", running)

    async def test_runtimes_have_a_default(self, world: World) -> None:
        found = world.runtime.runtimes()
        assert found[""] in [path for name, path in found.items() if name]
