"""The real runtime adapter: the suite of all runtimes, and what only real processes can show."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from tests.engine.runtime_host import RealWorld, real_world
from tests.runtime.runtime_conformance import (
    LIMIT,
    RuntimeConformance,
    World,
    everything,
    start_refused,
    until,
)

from wherry.errors import Conflict
from wherry.linux.cgroups import is_frozen, processes
from wherry.linux.pidfd import is_alive
from wherry.linux.seccompfilter import FilterCache, Unsupported, compile_filter
from wherry.runtime.failures import CommandNotExecutable, CommandNotFound
from wherry.runtime.port import Exit, Launch
from wherry.runtime.probe import open_runtime
from wherry.runtime.users import ResolvedUser

pytestmark = pytest.mark.root


@pytest.fixture(params=["crun", "runc"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with real_world() as made:
        assert request.param in made.runtime_facts.versions
        made.default_runtime = request.param
        yield made


@pytest.fixture
async def real() -> AsyncIterator[RealWorld]:
    async with real_world() as made:
        yield made


class TestConmonRuntime(RuntimeConformance):
    pass


async def run(world: RealWorld, launch: Launch) -> tuple[Exit, dict[int, bytes]]:
    """A whole life."""
    running = await world.runtime.create(launch)
    stream = await world.runtime.attach(launch.container_id, launch.bundle)
    await world.runtime.start(launch.container_id)
    output = await everything(stream)
    await stream.close()
    ended = await asyncio.wait_for(world.runtime.wait(running, launch.exit_dir), LIMIT)
    await world.runtime.delete(launch.container_id, launch.bundle)
    return ended, output


async def test_the_hosts_mount_table_does_not_grow(real: RealWorld) -> None:
    before = real.mounts()
    launch = real.launch("quiet", "sleep", "100")
    running = await real.runtime.create(launch)
    await real.runtime.start("quiet")
    assert real.mounts() == before
    inside = Path(f"/proc/{running.pid}/root/bin/busybox")
    assert inside.stat().st_size > 0
    await real.runtime.delete("quiet", launch.bundle)


async def test_the_upper_layer_takes_the_writes(real: RealWorld) -> None:
    launch = real.launch("writes", "sh", "-c", "echo kept > /made")
    ended, _ = await run(real, launch)
    assert ended.code == 0
    assert (launch.root.upper / "made").read_text() == "kept\n"
    assert not (real.layer / "made").exists()


async def test_bind_targets_are_made_inside_the_root(real: RealWorld, tmp_path: Path) -> None:
    """Links in the image, dangling or pointing out, cannot move a target to the host."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (real.layer / "etc" / "escape").symlink_to(outside)
    (real.layer / "etc" / "up").symlink_to("../../../../../.." + str(outside))
    (real.layer / "etc" / "resolv.conf").symlink_to("../run/systemd/resolve/stub")
    source = tmp_path / "hosts"
    source.write_text("127.0.0.1 here\n")
    targets = ("/etc/hosts", "/etc/resolv.conf", "/etc/escape/hosts", "/etc/up/more")
    binds = [
        {
            "destination": target,
            "type": "bind",
            "source": str(source),
            "options": ["rbind", "rprivate"],
        }
        for target in targets
    ]
    launch = real.launch("binds", "cat", *targets, request={"mounts": binds})
    ended, output = await run(real, launch)
    assert ended.code == 0
    assert output[1] == b"127.0.0.1 here\n" * 4
    assert list(outside.iterdir()) == []
    assert (launch.root.upper / "etc" / "hosts").exists()
    assert (launch.root.upper / "run/systemd/resolve/stub").is_file()


async def test_not_executable(real: RealWorld) -> None:
    for command in ("/bin/plain", "/etc"):
        launch = real.launch("plain", command)
        with pytest.raises(CommandNotExecutable) as caught:
            await start_refused(real, launch)
        assert caught.value.exit_code == 126
        assert f'exec: "{command}": permission denied' in str(caught.value)


async def test_a_failed_create_leaves_nothing(real: RealWorld) -> None:
    launch = real.launch("broken", "/no/such")
    with pytest.raises(CommandNotFound):
        await start_refused(real, launch)
    assert real.leftovers() == []


async def test_a_cancelled_create_leaves_nothing(real: RealWorld) -> None:
    for delay in (0.0, 0.002, 0.008, 0.02):
        launch = real.launch("cancelled", "sleep", "100")
        task = asyncio.get_running_loop().create_task(real.runtime.create(launch))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            await real.runtime.delete("cancelled", launch.bundle)
        await real.clean()


async def test_a_daemon_killed_at_any_moment_leaves_what_delete_removes(real: RealWorld) -> None:
    repository = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{repository}/src:{repository}"}
    for turn, delay in enumerate((0, 1, 3, 5, 7, 9, 11, 13, 16, 20, 25)):
        name = f"victim{turn}"
        victim = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.engine.runtime_victim",
            str(real.base),
            name,
            real.parent,
            cwd=repository,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        assert victim.stdout is not None
        assert await asyncio.wait_for(victim.stdout.readline(), LIMIT) == b"create\n"
        await asyncio.sleep(delay / 1000)
        victim.kill()
        await victim.wait()
        await real.runtime.delete(name, real.base / "mnt" / name)
        await real.clean()


async def test_the_monitor_is_killed(real: RealWorld) -> None:
    launch = real.launch("orphan", "sh", "-c", "sleep 100 & sleep 100")
    running = await real.runtime.create(launch)
    await real.runtime.start("orphan")
    os.kill(running.monitor_pid, signal.SIGKILL)
    ended = await asyncio.wait_for(real.runtime.wait(running, launch.exit_dir), LIMIT)
    assert ended.code == 255
    assert "monitor was killed" in ended.error
    assert not is_alive(running.pid, running.pid_start)
    again = await real.runtime.exit_record("orphan", launch.exit_dir)
    assert again is not None
    assert again.error == ended.error
    await real.runtime.delete("orphan", launch.bundle)


async def test_another_daemon_adopts(real: RealWorld) -> None:
    launch = real.launch("kept", "sh", "-c", "cat; echo end", stdin=True, leave_stdin_open=False)
    running = await real.runtime.create(launch)
    await real.runtime.start("kept")
    other, _ = await open_runtime(real.base)
    assert await other.adopt("kept", launch.bundle) == running
    stream = await other.attach("kept", launch.bundle)
    await stream.write(b"hello\n")
    await stream.close_stdin()
    assert (await everything(stream))[1] == b"hello\nend\n"
    await stream.close()
    ended = await asyncio.wait_for(other.wait(running, launch.exit_dir), LIMIT)
    assert ended.code == 0
    assert abs(ended.at - time.time()) < LIMIT
    await real.runtime.wait(running, launch.exit_dir)
    await other.delete("kept", launch.bundle)


async def test_out_of_memory_is_seen(real: RealWorld) -> None:
    launch = real.launch(
        "hungry",
        "sh",
        "-c",
        "x=a; while true; do x=$x$x; done",
        host_config={"memory": 16 << 20, "memory_swap": 16 << 20},
    )
    ended, _ = await run(real, launch)
    assert ended.code == 137
    assert ended.oom


async def test_terminal_and_resize(real: RealWorld) -> None:
    launch = real.launch(
        "term", "sh", "-c", "stty size; while read x; do stty size; done", terminal=True, stdin=True
    )
    launch = Launch(**{**vars(launch), "console_size": (33, 99)})
    running = await real.runtime.create(launch)
    stream = await real.runtime.attach("term", launch.bundle)
    await real.runtime.start("term")
    chunk = await asyncio.wait_for(stream.read(), LIMIT)
    assert chunk == (1, b"33 99\r\n")
    await real.runtime.resize(launch.bundle, 44, 77)
    text = b""
    async with asyncio.timeout(LIMIT):
        while b"44 77" not in text:  # the monitor resizes in its own time
            await stream.write(b"\n")
            more = await stream.read()
            assert more is not None
            text += more[1]
    await stream.write(b"\x04")
    await asyncio.wait_for(everything(stream), LIMIT)
    await stream.close()
    await real.runtime.wait(running, launch.exit_dir)
    await real.runtime.delete("term", launch.bundle)
    with pytest.raises(Conflict):
        await real.runtime.resize(launch.bundle, 1, 1)


async def test_the_log_is_reopened_after_a_rotation(real: RealWorld) -> None:
    launch = real.launch("rotated", "cat", stdin=True)
    running = await real.runtime.create(launch)
    await real.runtime.start("rotated")
    stream = await real.runtime.attach("rotated", launch.bundle)
    assert launch.log_path is not None
    await stream.write(b"before\n")
    await asyncio.wait_for(stream.read(), LIMIT)
    launch.log_path.rename(launch.log_path.with_name("log.1"))
    await real.runtime.reopen_log(launch.bundle)
    await until(launch.log_path.exists)
    await stream.write(b"after\n")
    await asyncio.wait_for(stream.read(), LIMIT)
    await real.runtime.kill(running, 9)
    await real.runtime.wait(running, launch.exit_dir)
    await stream.close()
    assert launch.log_path.with_name("log.1").read_bytes().endswith(b"stdout F before\n")
    assert launch.log_path.read_bytes().endswith(b"stdout F after\n")
    await real.runtime.delete("rotated", launch.bundle)


async def test_pause_and_update(real: RealWorld) -> None:
    launch = real.launch("paused", "sleep", "100", host_config={"memory": 64 << 20})
    await real.runtime.create(launch)
    await real.runtime.start("paused")
    await real.runtime.pause("paused")
    assert is_frozen(f"{real.parent}/paused")
    await real.runtime.resume("paused")
    assert not is_frozen(f"{real.parent}/paused")
    await real.runtime.update("paused", {"memory": {"limit": 48 << 20, "swap": 96 << 20}})
    limit = Path("/sys/fs/cgroup/memory" + f"{real.parent}/paused/memory.limit_in_bytes")
    if limit.exists():
        assert int(limit.read_text()) == 48 << 20
    await real.runtime.pause("paused")
    await real.runtime.delete("paused", launch.bundle)


async def test_fifty_at_once(real: RealWorld) -> None:
    launches = [real.launch(f"many{n}", "true") for n in range(50)]

    async def life(launch: Launch) -> int:
        running = await real.runtime.create(launch)
        await real.runtime.start(launch.container_id)
        ended = await real.runtime.wait(running, launch.exit_dir)
        await real.runtime.delete(launch.container_id, launch.bundle)
        return ended.code

    async with asyncio.timeout(60):
        codes = await asyncio.gather(*(life(launch) for launch in launches))
    assert codes == [0] * 50


async def test_the_filter_is_the_one_that_crun_makes(real: RealWorld) -> None:
    launch = real.launch("theirs", "sleep", "100", runtime="crun")
    real.runtime._launching._filters = FilterCache(_refuse)
    await real.runtime.create(launch)
    theirs = (real.base / "runtime" / "theirs" / "seccomp.bpf").read_bytes()
    await real.runtime.delete("theirs", launch.bundle)
    assert compile_filter(launch.spec["linux"]["seccomp"]) == theirs
    assert len(theirs) > 1000


async def test_a_given_filter_holds(real: RealWorld) -> None:
    for runtime in real.runtime_facts.versions:
        launch = real.launch("held", "busybox", "unshare", "-U", "true", runtime=runtime)
        ended, output = await run(real, launch)
        assert ended.code == 1
        assert b"Operation not permitted" in output[2]


def _refuse(_: Mapping[str, object]) -> bytes:
    raise Unsupported("for the test")


async def test_short_exec_sessions_lose_no_output(real: RealWorld) -> None:
    launch = real.launch("host", "sleep", "100")
    await real.runtime.create(launch)
    await real.runtime.start("host")
    for number in range(20):
        for terminal, expected in ((False, b"hi\n"), (True, b"hi\r\n")):
            session = real.exec_launch(
                f"e{number}{terminal}", "host", "sh", "-c", "echo hi; exit 4", terminal=terminal
            )
            running, stream = await real.runtime.exec(session)
            assert stream is not None
            assert (await everything(stream))[1] == expected
            await stream.close()
            ended = await asyncio.wait_for(
                real.runtime.exec_wait(session.exec_id, session.run_dir, running), LIMIT
            )
            assert ended.code == 4
    await real.runtime.delete("host", launch.bundle)


async def test_exec_sessions_end_with_their_container(real: RealWorld) -> None:
    launch = real.launch("host", "sleep", "100")
    container = await real.runtime.create(launch)
    await real.runtime.start("host")
    session = real.exec_launch("long", "host", "sleep", "100", terminal=True)
    running, stream = await real.runtime.exec(session)
    assert stream is not None
    await real.runtime.resize(session.run_dir, 20, 30)
    assert running.pid in await real.runtime.processes("host", container)
    await real.runtime.kill(container, 9)
    assert (await real.runtime.wait(container, launch.exit_dir)).code == 137
    ended = await asyncio.wait_for(real.runtime.exec_wait("long", session.run_dir, running), LIMIT)
    assert ended.code == 137
    await everything(stream)
    await stream.close()
    await real.runtime.delete("host", launch.bundle)


async def test_an_exec_session_whose_client_went_leaves_nothing(real: RealWorld) -> None:
    launch = real.launch("host", "sleep", "100")
    container = await real.runtime.create(launch)
    await real.runtime.start("host")
    before = set(os.listdir("/proc/self/fd"))
    for number, delay in enumerate((0.0, 0.005, 0.02)):
        session = real.exec_launch(f"gone{number}", "host", "sleep", "100")
        task = asyncio.get_running_loop().create_task(real.runtime.exec(session))
        await asyncio.sleep(delay)
        task.cancel()
        with suppress(asyncio.CancelledError):
            running, stream = await task
            await real.runtime.kill(running, 9)
            await real.runtime.exec_wait(session.exec_id, session.run_dir, running)
            assert stream is not None
            await stream.close()
    await until(lambda: processes(f"{real.parent}/host") == [container.pid])
    await until(lambda: set(os.listdir("/proc/self/fd")) <= before)
    await until(lambda: not os.listdir(real.base / "exec"))
    await real.runtime.delete("host", launch.bundle)


async def test_our_umask_is_not_the_containers(real: RealWorld, tmp_path: Path) -> None:
    (real.layer / "etc" / "dangling").symlink_to("/made/here/file")
    source = tmp_path / "source"
    source.write_text("text\n")
    source.chmod(0o644)
    bind = {"destination": "/etc/dangling", "type": "bind", "source": str(source),
            "options": ["rbind"]}  # fmt: skip
    before = os.umask(0o077)
    try:
        launch = real.launch(
            "umask",
            "sh",
            "-c",
            "cat /made/here/file; umask",
            request={"user": ResolvedUser(1000, 1000, (1000,)), "mounts": [bind]},
        )
        for folder in (real.base, real.layer, real.layer / "bin"):
            folder.chmod(0o755)
        ended, output = await run(real, launch)
    finally:
        os.umask(before)
    assert (ended.code, output) == (0, {1: b"text\n0022\n", 2: b""})
