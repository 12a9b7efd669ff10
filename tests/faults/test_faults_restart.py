"""The daemon is killed and started again: running containers never notice."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from tests.support.clients import Cli, Program, programs
from tests.support.engine import Engine, eventually
from tests.support.images import BASE

pytestmark = pytest.mark.root
COUNT = "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.01; done"
WRAPPED = "trap 'exit 23' TERM; while :; do sleep 0.02; done"


@pytest.fixture(autouse=True)
def _no_containers(engine: Engine) -> Iterator[None]:
    yield
    engine.remove_containers()


def pid_of(engine: Engine, name: str) -> int:
    return int(engine.inspect(name)["State"]["Pid"])


def end_while_away(engine: Engine, name: str, number: int) -> tuple[float, float]:
    """Kill the daemon, then the container; both gone. Returns the times around its end."""
    pid = pid_of(engine, name)
    wait_for_trap(pid, number)
    engine.kill()
    before = time.time()
    os.kill(pid, number)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    return before, time.time()


def wait_for_trap(pid: int, number: int) -> None:
    """Until the shell in the container has set its trap (SIGKILL needs none)."""
    if number == signal.SIGKILL:
        return

    def caught() -> bool:
        with open(f"/proc/{pid}/status") as status:
            line = next(each for each in status if each.startswith("SigCgt"))
        return bool(int(line.split()[1], 16) >> (number - 1) & 1)

    eventually(caught)


def seconds(text: str) -> float:
    """Unix time of Docker's time stamps (nine digits of fraction)."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", text)).timestamp()


def grown(engine: Engine, name: str, words: int) -> None:
    """Until the log has more than so many words."""
    eventually(lambda: len(engine.logs(name).split()) > words)


def test_running_containers_go_on_and_logs_have_no_hole(engine: Engine) -> None:
    name = engine.run("sh", "-c", COUNT)
    eventually(lambda: b"\n5\n" in engine.logs(name))
    before = engine.inspect(name)["State"]
    for _ in range(3):
        seen = len(engine.logs(name).split())
        engine.crash_and_start()
        grown(engine, name, seen + 20)
    state = engine.inspect(name)["State"]
    assert (state["Running"], state["Pid"]) == (True, before["Pid"])
    assert state["StartedAt"] == before["StartedAt"]
    engine.post(f"/containers/{name}/kill")
    assert engine.wait(name) == 137
    numbers = [int(word) for word in engine.logs(name).split()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_sigterm_leaves_containers_running(engine: Engine) -> None:
    name = engine.run("sh", "-c", WRAPPED)
    pid = pid_of(engine, name)
    assert engine.stop() == 0
    assert os.path.exists(f"/proc/{pid}")
    engine.start()
    assert pid_of(engine, name) == pid
    assert engine.post(f"/containers/{name}/stop").status == 204
    assert engine.inspect(name)["State"]["ExitCode"] == 23


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 23), (signal.SIGKILL, 137)])
def test_an_exit_while_away_is_recorded(engine: Engine, number: int, code: int) -> None:
    name = engine.run("sh", "-c", WRAPPED)
    begin, end = end_while_away(engine, name, number)
    # The time must be that of the exit, not of the next start.
    time.sleep(1.2)
    engine.start()
    state = engine.inspect(name)["State"]
    assert (state["Status"], state["Running"], state["Pid"]) == ("exited", False, 0)
    assert state["ExitCode"] == code
    assert begin - 0.1 <= seconds(state["FinishedAt"]) <= end + 0.9
    assert engine.wait(name) == code
    assert engine.post(f"/containers/{name}/start").status == 204
    assert engine.inspect(name)["State"]["Running"] is True


def test_auto_remove_while_away(engine: Engine) -> None:
    name = engine.run("sh", "-c", WRAPPED, AutoRemove=True)
    end_while_away(engine, name, signal.SIGTERM)
    engine.start()
    eventually(lambda: engine.get(f"/containers/{name}/json").status == 404)


def test_restart_policy_while_away(engine: Engine) -> None:
    name = engine.run("sh", "-c", WRAPPED, RestartPolicy={"Name": "always"})
    old = pid_of(engine, name)
    end_while_away(engine, name, signal.SIGTERM)
    engine.start()
    eventually(lambda: engine.inspect(name)["State"]["Running"] is True)
    assert pid_of(engine, name) not in (0, old)


def test_a_paused_container_stays_paused(engine: Engine) -> None:
    name = engine.run("sh", "-c", COUNT)
    assert engine.post(f"/containers/{name}/pause").status == 204
    engine.crash_and_start()
    assert engine.inspect(name)["State"]["Status"] == "paused"
    before = engine.logs(name)
    assert engine.post(f"/containers/{name}/unpause").status == 204
    eventually(lambda: engine.logs(name) != before)


def test_stopped_and_created_ones_are_kept(engine: Engine) -> None:
    made = engine.create("true", name="made")
    ended = engine.run("sh", "-c", "echo kept; exit 4", name="ended")
    assert engine.wait(ended) == 4
    engine.crash_and_start()
    assert engine.inspect(made)["State"]["Status"] == "created"
    assert engine.inspect(ended)["State"]["ExitCode"] == 4
    assert engine.logs("ended") == b"kept\n"
    assert engine.post("/containers/made/start").status == 204
    assert engine.wait("made") == 0


def test_exec_works_on_an_adopted_container(engine: Engine) -> None:
    name = engine.run("sh", "-c", WRAPPED)
    engine.crash_and_start()
    session = engine.post(
        f"/containers/{name}/exec", {"Cmd": ["sh", "-c", "echo in; exit 6"], "AttachStdout": True}
    ).json["Id"]
    with engine.client() as client:
        stream = client.hijack("POST", f"/exec/{session}/start", {})
    assert stream.endswith(b"in\n")
    assert engine.get(f"/exec/{session}/json").json["ExitCode"] == 6


def test_a_running_exec_survives(engine: Engine) -> None:
    name = engine.run("sh", "-c", WRAPPED)
    script = "while [ ! -e /tmp/go ]; do sleep 0.02; done; echo done >/tmp/done"
    session = engine.post(f"/containers/{name}/exec", {"Cmd": ["sh", "-c", script]}).json["Id"]
    assert engine.post(f"/exec/{session}/start", {"Detach": True}).status == 200
    engine.crash_and_start()
    cli = Cli(Program("docker", programs()[-1].command), engine)
    cli("exec", name, "touch", "/tmp/go").ok()
    eventually(lambda: cli("exec", name, "cat", "/tmp/done").out == "done\n")


@pytest.fixture(params=programs(), ids=lambda program: program.name)
def any_cli(request: pytest.FixtureRequest, engine: Engine) -> Cli:
    return Cli(request.param, engine)


def test_a_client_can_attach_again(engine: Engine, any_cli: Cli) -> None:
    arguments = ("--network", "none", "--name", "again", BASE, "sh")
    with any_cli.terminal("run", "-it", *arguments) as screen:
        screen.expect(r"[#$] ")
        screen.send("kept=yes; echo be''fore\n")
        screen.expect("before")
        engine.kill()
        screen.wait()
    engine.start()
    with any_cli.terminal("attach", "again") as screen:
        screen.send("echo kept=$kept\n")
        screen.expect("kept=yes")
        screen.send("exit 12\n")
        assert screen.wait() == 12
    assert engine.inspect("again")["State"]["ExitCode"] == 12


def test_a_pipe_can_be_attached_again(engine: Engine) -> None:
    engine.post(
        "/containers/create?name=pipe",
        {
            "Image": BASE,
            "Cmd": ["cat"],
            "OpenStdin": True,
            "HostConfig": {"NetworkMode": "none"},
        },
    )
    assert engine.post("/containers/pipe/start").status == 204
    engine.crash_and_start()
    cli = Cli(programs()[-1], engine)
    attached = cli.start("attach", "pipe")
    try:
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write(b"still here\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"still here\n"
    finally:
        engine.delete("/containers/pipe?force=1")
        attached.communicate(timeout=20)


def test_images_are_kept(engine: Engine) -> None:
    before = engine.get("/images/json").json
    engine.crash_and_start()
    assert engine.get("/images/json").json == before
