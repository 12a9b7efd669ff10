"""A container's whole life by every command line client."""

from __future__ import annotations

import json
import re
import time

import pytest
from tests.support.clients import Cli
from tests.support.engine import Engine, eventually
from tests.support.images import BASE

pytestmark = pytest.mark.root
SLEEP = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
TELLS = ("sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
"""The first process of a container ignores a signal until it has a handler for it."""


def status(cli: Cli, name: str) -> str:
    return cli("inspect", "--format", "{{.State.Status}}", name).ok()


def start(cli: Cli, name: str, *command: str) -> str:
    return cli("run", "-d", "--network", "none", "--name", name, BASE, *(command or SLEEP)).ok()


def test_the_whole_life(cli: Cli) -> None:
    name = "life"
    created = cli("create", "--network", "none", "--name", name, BASE, *TELLS).ok()
    assert re.fullmatch(r"[0-9a-f]{64}", created)
    assert status(cli, name) == "created"
    assert cli("start", name).ok() == name
    assert status(cli, name) == "running"
    assert cli("pause", name).ok() == name
    assert status(cli, name) == "paused"
    assert cli("exec", name, "true").code == 1
    assert cli("unpause", name).ok() == name
    assert cli("exec", name, "echo", "inside").ok() == "inside"
    assert cli("rename", name, "other").ok() == ""
    assert status(cli, "other") == "running"
    assert cli("restart", "-t", "5", "other").ok() == "other"
    eventually(lambda: cli("logs", "other").ok().count("ready") == 2)
    assert cli("stop", "other").ok() == "other"
    assert status(cli, "other") == "exited"
    assert cli("wait", "other").ok() == "0"
    assert cli("rm", "other").ok() == "other"
    gone = cli("inspect", "other")
    assert gone.code == 1
    assert "no such" in gone.err.lower()


def test_names_with_a_slash_in_front(cli: Cli) -> None:
    """As inspect shows them."""
    cli("create", "--network", "none", "--name", "slash", BASE, *TELLS).ok()
    shown = cli("inspect", "--format", "{{.Name}}", "slash").ok()
    assert shown == "/slash"
    assert cli("start", shown).ok() == shown
    assert cli("exec", shown, "echo", "inside").ok() == "inside"
    eventually(lambda: cli("logs", shown).ok() == "ready")
    assert "sleep" in cli("top", shown).ok()
    assert cli("rename", shown, "/other").ok() == ""
    assert cli("stop", "/other").ok() == "/other"
    assert cli("rm", "/other").ok()


@pytest.mark.parametrize(
    "words",
    [
        "start {}", "stop {}", "kill {}", "wait {}", "logs {}", "top {}", "port {}", "exec {} true",
        "rm {}", "rename {} x", "diff {}", "commit {}", "inspect {}", "container inspect {}",
        "network inspect {}", "volume inspect {}", "image inspect {}", "volume rm {}",
        "network rm {}", "rmi {}", "history {}", "pull {}", "push {}", "context inspect {}",
    ],
)  # fmt: skip
def test_an_empty_name_is_told(cli: Cli, words: str) -> None:
    refused = cli(*("" if word == "{}" else word for word in words.split()))
    assert refused.code == 1
    if cli.program.is_wherry:
        assert re.search("empty|is required", refused.err), refused.err
    assert "not allowed" not in refused.err
    assert "page not found" not in refused.err


def test_start_attached(cli: Cli) -> None:
    cli("create", "--network", "none", "--name", "att", BASE, "sh", "-c", "echo hi; exit 6").ok()
    done = cli("start", "-a", "att")
    assert (done.code, done.out) == (6, "hi\n")
    again = cli("start", "--attach", "att")
    assert (again.code, again.out) == (6, "hi\n")


def test_start_attached_with_stdin(cli: Cli) -> None:
    cli("create", "-i", "--network", "none", "--name", "ia", BASE, "cat").ok()
    done = cli("start", "-a", "-i", "ia", stdin="through\n")
    assert (done.code, done.out) == (0, "through\n")


def test_start_what_runs_is_fine(cli: Cli) -> None:
    start(cli, "twice")
    assert cli("start", "twice").ok() == "twice"


def test_stop_kills_in_the_end(cli: Cli) -> None:
    start(cli, "stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    begin = time.monotonic()
    cli("stop", "-t", "1", "stubborn").ok()
    assert time.monotonic() - begin > 0.9
    assert cli("inspect", "-f", "{{.State.ExitCode}}", "stubborn").ok() == "137"


def test_stop_signal_of_the_container(cli: Cli) -> None:
    script = "trap 'exit 33' USR2; while :; do sleep 0.05; done"
    arguments = ("--stop-signal", "USR2", "--name", "usr", BASE, "sh", "-c", script)
    cli("run", "-d", "--network", "none", *arguments).ok()
    # The shell needs a moment to set its trap; before that USR2 would end it with 140.
    eventually(lambda: caught(cli, "usr", 12))
    cli("stop", "usr").ok()
    assert cli("inspect", "-f", "{{.State.ExitCode}}", "usr").ok() == "33"


def caught(cli: Cli, name: str, number: int) -> bool:
    """Whether the container's first process has a handler for the signal."""
    line = cli("exec", name, "grep", "SigCgt", "/proc/1/status").ok()
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def test_kill(cli: Cli) -> None:
    start(cli, "victim")
    assert cli("kill", "-s", "KILL", "victim").ok() == "victim"
    assert cli("wait", "victim").ok() == "137"
    late = cli("kill", "victim")
    assert late.code == 1
    assert "is not running" in late.err


def test_wait_before_the_end(cli: Cli, engine: Engine) -> None:
    start(cli, "waited", "sh", "-c", "read x </tmp/fifo; exit 11")
    # The command fails at once (no fifo), which is what a wait must see too.
    assert cli("wait", "waited").ok() in ("1", "11", "2")
    engine.run(*SLEEP, name="later")
    eventually(lambda: caught(cli, "later", 15))
    waiting = cli.start("wait", "later")
    engine.post("/containers/later/stop?t=5")
    out, _ = waiting.communicate(timeout=20)
    assert out == b"0\n"


def test_exec(cli: Cli) -> None:
    start(cli, "host")
    done = cli("exec", "host", "sh", "-c", "echo out; echo err >&2; exit 4")
    assert (done.code, done.out, done.err) == (4, "out\n", "err\n")
    arguments = ("-e", "X=y", "-w", "/tmp", "-u", "65534", "host")
    assert cli("exec", *arguments, "sh", "-c", "echo $X; pwd; id -u").ok() == "y\n/tmp\n65534"
    assert cli("exec", "-i", "host", "cat", stdin="piped\n").ok() == "piped"
    assert cli("exec", "-d", "host", "touch", "/tmp/mark").ok() == ""
    eventually(lambda: cli("exec", "host", "test", "-e", "/tmp/mark").code == 0)


def test_exec_failures(cli: Cli) -> None:
    start(cli, "host2")
    # Docker's engine says 126 here up to some version, 127 later.
    codes = (127,) if cli.engine.is_wherry else (126, 127)
    assert cli("exec", "host2", "no-such-command").code in codes
    assert cli("exec", "host2", "/etc/passwd").code == 126
    unknown = cli("exec", "no-such-container", "true")
    assert unknown.code == 1
    assert "No such container: no-such-container" in unknown.err
    cli("kill", "host2").ok()
    stopped = cli("exec", "host2", "true")
    assert stopped.code == 1
    assert "is not running" in stopped.err


def test_exec_on_a_terminal(cli: Cli) -> None:
    start(cli, "host3")
    with cli.terminal("exec", "-it", "host3", "sh", rows=40, columns=100) as screen:
        screen.expect(r"[#$] ")
        screen.send('while [ "$(stty size)" != \'40 100\' ]; do :; done; echo si""zed\n')
        screen.expect("sized")
        screen.send("exit 8\n")
        assert screen.wait() == 8


def test_logs(cli: Cli, engine: Engine) -> None:
    start(cli, "talk", "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; echo bad >&2")
    assert engine.wait("talk") == 0
    done = cli("logs", "talk")
    assert done.ok() == "\n".join(f"line {number}" for number in range(1, 6))
    assert done.err == "bad\n"
    start(cli, "lines", "seq", "100")
    assert engine.wait("lines") == 0
    assert cli("logs", "--tail", "2", "lines").ok() == "99\n100"
    assert cli("logs", "-n", "0", "lines").ok() == ""
    stamped = cli("logs", "-t", "--tail", "1", "lines").ok()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z 100", stamped)
    assert cli("logs", "--since", "1h", "--until", "30m", "talk").ok() == ""


def test_logs_follow_to_the_end(cli: Cli, engine: Engine) -> None:
    start(cli, "count", "sh", "-c", "for i in $(seq 30); do echo $i; sleep 0.02; done")
    done = cli("logs", "-f", "count")
    assert done.ok().split() == [str(number) for number in range(1, 31)]


def test_top(cli: Cli) -> None:
    start(cli, "seen", "sleep", "12345")
    lines = cli("top", "seen").ok().splitlines()
    assert lines[0].split()[:2] == ["UID", "PID"]
    # A start is answered when the process goes on to its command, not when it is there.
    eventually(lambda: "sleep 12345" in cli("top", "seen").ok().splitlines()[1])


def test_diff(cli: Cli, engine: Engine) -> None:
    start(cli, "changed", "sh", "-c", "echo x >/new; rm /etc/group; mkdir /dir; touch /dir/f")
    engine.wait("changed")
    lines = set(cli("diff", "changed").ok().splitlines())
    assert {"A /new", "D /etc/group", "A /dir", "A /dir/f", "C /etc"} <= lines


def test_rm(cli: Cli) -> None:
    start(cli, "busy")
    refused = cli("rm", "busy")
    assert refused.code == 1
    assert "running" in refused.err
    assert cli("rm", "-f", "busy").ok() == "busy"
    assert cli("ps", "-aq").ok() == ""


def test_ps(cli: Cli, engine: Engine) -> None:
    one = engine.run("sleep", "1000", name="up-one", Annotations={})
    engine.create("true", name="made-two")
    three = engine.run("sh", "-c", "exit 3", name="end-three")
    engine.wait(three)
    table = cli("ps").ok().splitlines()
    assert table[0].split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS",
                                "PORTS", "NAMES"]  # fmt: skip
    assert len(table) == 2
    assert table[1].startswith(one[:12])
    assert table[1].endswith("up-one")
    names = "{{.Names}}"
    every = cli("ps", "-a", "--format", names).ok().split()
    assert every == ["end-three", "made-two", "up-one"]
    assert cli("ps", "-q", "--no-trunc").ok() == one
    assert cli("ps", "-a", "-f", "status=exited", "--format", names).ok() == "end-three"
    assert cli("ps", "-a", "-f", "exited=3", "--format", names).ok() == "end-three"
    assert cli("ps", "-a", "-f", "name=two", "--format", names).ok() == "made-two"
    assert cli("ps", "-a", "-n", "1", "--format", names).ok() == "end-three"
    assert cli("ps", "-l", "--format", names).ok() == "end-three"
    assert "Exited (3)" in cli("ps", "-a", "-f", "name=three", "--format", "{{.Status}}").ok()
    rows = [json.loads(line) for line in cli("ps", "-a", "--format", "{{json .}}").ok().split("\n")]
    assert [row["Names"] for row in rows] == every
    assert cli("ps", "--format", "table {{.ID}}\t{{.Names}}").ok().split() == [
        "CONTAINER", "ID", "NAMES", one[:12], "up-one",
    ]  # fmt: skip


def test_inspect(cli: Cli) -> None:
    start(cli, "looked")
    described = json.loads(cli("inspect", "looked").ok())
    assert described[0]["Name"] == "/looked"
    assert described[0]["State"]["Running"] is True
    assert described[0]["HostConfig"]["NetworkMode"] == "none"
    assert cli("inspect", "-f", "{{.Name}} {{len .Args}}", "looked").ok() == "/looked 2"
    assert cli("inspect", "-f", "{{json .Config.Cmd}}", "looked").ok() == json.dumps(
        list(SLEEP), separators=(",", ":")
    )


def test_prune(cli: Cli, engine: Engine) -> None:
    engine.create("true", name="old")
    start(cli, "young")
    assert "Total reclaimed space" in cli("container", "prune", "-f").ok()
    assert cli("ps", "-a", "--format", "{{.Names}}").ok() == "young"


def test_version_and_info(cli: Cli) -> None:
    shown = cli("version", "--format", "{{.Client.APIVersion}} {{.Server.APIVersion}}").ok()
    ours, theirs = (tuple(map(int, each.split("."))) for each in shown.split())
    assert (1, 24) <= ours <= theirs
    assert json.loads(cli("info", "--format", "{{json .}}").ok())["Containers"] == 0


def test_an_old_client_is_served(cli: Cli) -> None:
    old = {"DOCKER_API_VERSION": "1.24"}
    done = cli("run", "--rm", "--network", "none", BASE, "echo", "old", env=old)
    assert done.ok() == "old"


def test_events(cli: Cli, engine: Engine) -> None:
    begin = str(int(time.time()))
    name = engine.run("true", name="noted")
    engine.wait(name)
    engine.delete(f"/containers/{name}")
    end = str(int(time.time()) + 1)
    done = cli(
        "events", "--since", begin, "--until", end, "--filter", f"container={name}",
        "--format", "{{.Type}} {{.Action}}",
    )  # fmt: skip
    lines = [line for line in done.ok().splitlines() if "network" not in line]
    assert lines == [f"container {each}" for each in ("create", "start", "die", "destroy")]


def test_system_prune_to_its_end(cli: Cli, engine: Engine) -> None:
    """Docker's command asks for the build cache last; there is none, and that is no failure."""
    engine.run("true", name="over")
    engine.wait("over")
    said = cli("system", "prune", "-f", "--filter", "label!=keep").ok()
    assert "Total reclaimed space" in said
    assert engine.get("/containers/over/json").status == 404
