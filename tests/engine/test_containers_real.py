"""The life cycle with a real runtime, monitor and kernel."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.engine.container_host import BOTH, ContainerHost, container_host, drain, read_until

from wherry.containers.service import AttachOptions, ExecRequest
from wherry.errors import Conflict, Invalid
from wherry.linux.tasks import spawn
from wherry.runtime.failures import CommandNotExecutable, CommandNotFound
from wherry.wire.container import (
    HealthConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
    Ulimit,
    UpdateRequest,
)

pytestmark = pytest.mark.root


@pytest.fixture
async def host() -> AsyncIterator[ContainerHost]:
    async with container_host() as each:
        yield each


async def test_output_exit_code_and_nothing_left(host: ContainerHost) -> None:
    code, text = await host.output("sh", "-c", "echo out; echo err >&2; exit 7")
    assert code == 7
    assert sorted(text.split()) == ["err", "out"]
    assert list(host.paths.containers.iterdir()) == []
    assert list(host.paths.mounts.iterdir()) == []


async def test_who_and_where_a_process_is(host: ContainerHost) -> None:
    _, text = await host.output(
        "sh", "-c", "id -u; id -g; pwd; hostname; cat /etc/hostname; echo $FOO$HOME; tty",
        user="nobody", working_dir="/made/here", hostname="box", env=["FOO=bar"],
    )  # fmt: skip
    lines = text.split("\n")
    assert lines[0] == "65534"
    assert lines[2:5] == ["/made/here", "box", "box"]
    assert lines[5].startswith("bar")
    assert lines[6] == "not a tty"


async def test_unknown_user_is_told(host: ContainerHost) -> None:
    container = await host.make("true", user="ghost")
    with pytest.raises(Invalid, match="unable to find user ghost: no matching entries"):
        await host.engine.start(container)
    assert host.state(container)["Status"] == "created"


async def test_commands_that_cannot_run(host: ContainerHost) -> None:
    missing = await host.make("nothing-there")
    with pytest.raises(CommandNotFound, match=r"executable file not found in \$PATH"):
        await host.engine.start(missing)
    assert host.state(missing)["ExitCode"] == 127
    folder = await host.make("/etc")
    with pytest.raises(CommandNotExecutable):
        await host.engine.start(folder)
    assert host.state(folder)["ExitCode"] == 126
    assert list(host.paths.mounts.iterdir()) == []


async def test_terminal_echo_resize_and_detach(host: ContainerHost) -> None:
    container = await host.make("sh", tty=True, open_stdin=True)
    session = await host.engine.attach(container, BOTH)
    await host.engine.start(container)
    await host.engine.resize(container, 33, 77)
    await session.write(b"stty size; echo e''nd\n")
    assert "33 77" in await read_until(session, "end")
    await session.write(b"\x10\x11")
    assert await session.read() is None
    assert host.state(container)["Running"] is True
    again = await host.engine.attach(container, BOTH)
    await again.write(b"exit 3\n")
    await drain(again)
    assert await host.engine.wait(container) == (3, "")


async def test_stdin_ends_with_its_only_client(host: ContainerHost) -> None:
    container = await host.make("cat", open_stdin=True, stdin_once=True)
    session = await host.engine.attach(container, BOTH)
    await host.engine.start(container)
    await session.write(b"one\ntwo\n")
    await session.close_stdin()
    assert await drain(session) == "one\ntwo\n"
    assert await host.engine.wait(container) == (0, "")


async def test_stdin_stays_open_for_the_next_client(host: ContainerHost) -> None:
    container = await host.run("cat", open_stdin=True)
    for word in ("first", "second"):
        session = await host.engine.attach(container, BOTH)
        await session.write(word.encode() + b"\n")
        await read_until(session, word)
        await session.close_stdin()
        await session.close()
    assert host.state(container)["Running"] is True
    assert await host.log(container) == "first\nsecond\n"


async def test_stop_uses_the_signal_and_then_kills(host: ContainerHost) -> None:
    polite = await host.run(
        "sh", "-c", "trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done",
        stop_signal="SIGUSR1",
    )  # fmt: skip
    session = await host.engine.attach(polite, AttachOptions(logs=True, stream=True, stdout=True))
    await read_until(session, "ready")
    await host.engine.stop(polite, timeout=20)
    assert host.state(polite)["ExitCode"] == 5
    deaf = await host.run("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    await host.engine.stop(deaf, timeout=0)
    assert host.state(deaf)["ExitCode"] == 137


async def test_pause_freezes_and_a_stop_thaws(host: ContainerHost) -> None:
    container = await host.run("sleep", "100")
    await host.engine.pause(container)
    pid = host.state(container)["Pid"]
    status = Path(f"/proc/{pid}/wchan").read_text()
    assert status
    with pytest.raises(Conflict):
        await host.engine.exec_create(container, ExecRequest(["true"]))
    await host.engine.stop(container, timeout=0)
    assert host.state(container)["Status"] == "exited"


async def test_exec_codes_input_user_and_directory(host: ContainerHost) -> None:
    container = await host.run("sleep", "100", env=["BASE=1"])
    assert await host.exec(container, "sh", "-c", "echo $BASE$MORE; exit 4", env=["MORE=2"]) == (
        4,
        "12\n",
    )
    assert await host.exec(container, "pwd", working_dir="/tmp") == (0, "/tmp\n")
    assert await host.exec(container, "id", "-u", user="nobody") == (0, "65534\n")
    code, text = await host.exec(container, "nothing-there")
    assert code == 127
    assert "executable file not found in $PATH" in text
    request = ExecRequest(["cat"], attach_stdin=True, attach_stdout=True)
    session = await host.engine.exec_start(await host.engine.exec_create(container, request))
    assert session is not None
    await session.write(b"through")
    await session.close_stdin()
    assert await drain(session) == "through"
    assert len(host.engine.inspect(container)["ExecIDs"] or []) == 0


async def test_fifty_at_once(host: ContainerHost) -> None:
    containers = [await host.make("true") for _ in range(50)]
    waits = [spawn(host.engine.wait(each, "next-exit"), name="wait") for each in containers]
    await asyncio.sleep(0)
    await asyncio.gather(*(host.engine.start(each) for each in containers))
    assert await asyncio.gather(*waits) == [(0, "")] * 50


async def test_running_containers_are_adopted(host: ContainerHost) -> None:
    container = await host.run("sh", "-c", "while :; do echo tick; sleep 0.05; done")
    before = host.state(container)
    await host.reopen()
    after = host.state(container)
    assert (after["Pid"], after["StartedAt"], after["Status"]) == (
        before["Pid"],
        before["StartedAt"],
        "running",
    )
    session = await host.engine.attach(container, BOTH)
    await read_until(session, "tick")
    await session.close()
    assert await host.exec(container, "echo", "hi") == (0, "hi\n")
    await host.engine.kill(container)
    assert host.state(container)["ExitCode"] == 137


async def test_an_end_nobody_saw_is_known_afterwards(host: ContainerHost) -> None:
    container = await host.run("sh", "-c", "sleep 0.3; echo bye; exit 9")
    pid = host.state(container)["Pid"]
    monitor = host.engine._book.get(container).record.state.monitor_pid
    await host.crash()
    await host.until(lambda: _ended(pid))
    await host.until(lambda: _ended(monitor))
    await host.open()
    state = host.state(container)
    assert (state["Status"], state["ExitCode"]) == ("exited", 9)
    assert await host.log(container) == "bye\n"
    await host.engine.remove(container)


def _ended(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


async def test_half_made_directories_are_removed(host: ContainerHost) -> None:
    ghost = "ab" * 32
    place = host.paths.container(ghost)
    place.upper.mkdir(parents=True)
    await host.reopen()
    assert not place.root.exists()


async def test_restart_policies_after_a_crash(host: ContainerHost) -> None:
    always = HostConfig(network_mode="none", restart_policy=RestartPolicy(name="always"))
    stopped = HostConfig(network_mode="none", restart_policy=RestartPolicy(name="unless-stopped"))
    one = await host.run("sleep", "100", host=always)
    two = await host.run("sleep", "100", host=stopped)
    pid = host.state(one)["Pid"]
    await host.engine.stop(two, timeout=0)
    await host.crash()
    os.kill(pid, signal.SIGKILL)
    await host.until(lambda: _ended(host.engine._book.get(one).record.state.monitor_pid))
    await host.open()
    await host.until(lambda: host.state(one)["Status"] == "running")
    assert host.state(one)["Pid"] != pid
    assert host.state(two)["Status"] == "exited"


async def test_a_memory_hog_is_killed_and_seen(host: ContainerHost) -> None:
    limit = HostConfig(network_mode="none", memory=8 << 20, memory_swap=8 << 20)
    container = await host.run("sh", "-c", "x=a; while :; do x=$x$x; done", host=limit)
    code, _ = await host.engine.wait(container)
    assert code in (137, 2)
    assert host.state(container)["OOMKilled"] is True
    assert "oom" in [action for action, *_ in host.recorder.events]


async def test_limits_are_applied_and_updated(host: ContainerHost) -> None:
    limits = HostConfig(
        network_mode="none",
        memory=64 << 20,
        pids_limit=50,
        ulimits=[Ulimit(name="nofile", soft=100, hard=200)],
        shm_size=1 << 20,
        tmpfs={"/scratch": "size=1m"},
        readonly_rootfs=True,
    )
    container = await host.run("sleep", "100", host=limits)
    _, text = await host.exec(
        container, "sh", "-c",
        "ulimit -n; df -k /dev/shm /scratch | awk 'NR>1{print $2}'; touch /x; "
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max",
    )  # fmt: skip
    assert "100" in text.split()
    assert text.split().count("1024") == 2
    assert "Read-only file system" in text
    assert str(64 << 20) in text
    await host.engine.update(container, UpdateRequest(memory=32 << 20, memory_swap=64 << 20))
    _, text = await host.exec(
        container, "sh", "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max",
    )  # fmt: skip
    assert str(32 << 20) in text
    assert host.engine.inspect(container)["HostConfig"]["Memory"] == 32 << 20


async def test_joined_namespaces(host: ContainerHost) -> None:
    donor = await host.run("sh", "-c", "echo shared > /dev/shm/x; sleep 100",
                           host=HostConfig(network_mode="none", ipc_mode="shareable"))  # fmt: skip
    join = HostConfig(
        network_mode=f"container:{donor}", pid_mode=f"container:{donor}",
        ipc_mode=f"container:{donor}",
    )  # fmt: skip
    _, text = await host.output("sh", "-c", "cat /dev/shm/x; hostname; cat /proc/1/comm", host=join)
    assert text.split() == ["shared", donor[:12], "sleep"]


async def test_init_reaps_and_hosts_are_written(host: ContainerHost) -> None:
    asked = HostConfig(
        network_mode="none", init=True, extra_hosts=["db:10.0.0.5"], dns=["9.9.9.9"],
        dns_search=["example.org"],
    )  # fmt: skip
    _, text = await host.output(
        "sh", "-c", "echo $$; cat /etc/hosts /etc/resolv.conf; cat /proc/1/cmdline", host=asked
    )
    assert text.split()[0] != "1"
    assert "10.0.0.5\tdb" in text
    assert "nameserver 9.9.9.9\nsearch example.org" in text


async def test_host_network_sees_the_hosts_devices(host: ContainerHost) -> None:
    before = set(os.listdir("/sys/class/net"))
    _, text = await host.output(
        "sh", "-c", "ls /sys/class/net; hostname", host=HostConfig(network_mode="host")
    )
    # Others on the host make and remove devices meanwhile.
    assert before & set(os.listdir("/sys/class/net")) <= set(text.split())
    assert os.uname().nodename in text.split()


async def test_top_lists_the_containers_processes(host: ContainerHost) -> None:
    container = await host.make("sh", "-c", "sleep 101 & sleep 102 & echo up; wait")
    session = await host.engine.attach(container, BOTH)
    await host.engine.start(container)
    await read_until(session, "up")
    await session.close()
    titles, rows = await host.engine.top(container)
    assert "PID" in titles
    assert len([row for row in rows if "sleep" in row[-1]]) >= 2
    names: set[str] = set()
    async with asyncio.timeout(30):
        while names != {"sh", "sleep"}:
            # The shell forks before it executes: what it began has other names for a moment.
            _, rows = await host.engine.top(container, "-o pid,comm")
            names = {row[1] for row in rows}


async def test_logs_follow_until_the_end(host: ContainerHost) -> None:
    container = await host.run("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.05; done")
    assert await host.log(container, follow=True) == "1\n2\n3\n"
    assert await host.log(container, tail=1) == "3\n"


async def test_auto_remove(host: ContainerHost) -> None:
    container = await host.make("true", host=HostConfig(network_mode="none", auto_remove=True))
    waiting = spawn(host.engine.wait(container, "removed"), name="wait")
    await asyncio.sleep(0)
    await host.engine.start(container)
    assert await waiting == (0, "")
    assert not host.paths.container(container).root.exists()


async def test_health_is_seen(host: ContainerHost) -> None:
    check = HealthConfig(
        test=["CMD-SHELL", "echo checked; test -e /tmp/ok"], interval=50_000_000, retries=2
    )
    container = await host.run("sleep", "100", healthcheck=check)
    await _health(host, container, "unhealthy")
    await host.exec(container, "touch", "/tmp/ok")
    await _health(host, container, "healthy")
    probes = host.state(container)["Health"]["Log"]
    assert probes[-1]["Output"] == "checked\n"
    assert len(probes) <= 5


async def _health(host: ContainerHost, container: str, word: str) -> None:
    await host.until(lambda: host.state(container)["Health"]["Status"] == word)


async def test_a_big_log_is_cut_and_read_whole(host: ContainerHost) -> None:
    options = LogConfig(type="json-file", config={"max-size": "20k", "max-file": "3"})
    asked = HostConfig(network_mode="none", log_config=options)
    script = "i=0; while :; do i=$((i+1)); echo line $i; [ $i != 600 ] || sleep 100; done"
    container = await host.run("sh", "-c", script, host=asked)
    root = host.paths.container(container).root
    # The first cut may come before the last line: what is written from here on comes behind it.
    await host.logged(container, "line 600\n")
    await host.until(lambda: bool(list(root.glob("log.1*"))) and (root / "log").exists())
    await host.exec(container, "sh", "-c", "for i in 1 2 3; do echo more >/proc/1/fd/1; done")
    await host.logged(container, "more\n" * 3)
    lines = (await host.log(container)).split("\n")
    assert lines[:600] == [f"line {number}" for number in range(1, 601)]
    assert lines[600:] == ["more", "more", "more", ""]
    await host.until(lambda: (root / "log").stat().st_size < 20_000)
