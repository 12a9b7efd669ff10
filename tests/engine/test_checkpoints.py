"""Checkpoints through conmon, with an OCI runtime that pretends to know criu.

It writes a log as criu does, ends the container, and begins it anew at a restore: everything but
criu itself is real.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.clients import Cli
from tests.support.engine import Engine, eventually

pytestmark = pytest.mark.root

RUNTIME = """\
#!/bin/sh
case "$2" in
checkpoint)
    root=$1 leave= image=
    while [ $# -gt 1 ]; do
        [ "$1" = --image-path ] && image=$2
        [ "$1" = --leave-running ] && leave=1
        shift
    done
    if [ -e {root}/refuse ]; then
        echo '(00.01) Error (criu/x.c:1): a socket is in the way' >"$image/dump.log"
        exit 1
    fi
    echo '(00.01) Dumping finished successfully' >"$image/dump.log"
    [ -n "$leave" ] || exec {runtime} "$root" kill "$1" KILL
    ;;
restore)
    root=$1 bundle= pidfile=
    while [ $# -gt 1 ]; do
        case "$1" in --bundle) bundle=$2 ;; --pid-file) pidfile=$2 ;; --image-path) image=$2 ;; esac
        shift
    done
    grep -q finished "$image/dump.log" || exit 1
    exec {runtime} "$root" run --detach --bundle "$bundle" --pid-file "$pidfile" "$1"
    ;;
*) exec {runtime} "$@" ;;
esac
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A daemon with that runtime, and a criu that finds nothing wrong."""
    with Engine() as running, pytest.MonkeyPatch.context() as patch:
        tools = running.root / "tools"
        tools.mkdir()
        (tools / "criu").write_text("#!/bin/sh\nexit 0\n")
        real = shutil.which("crun") or shutil.which("runc") or ""
        (tools / "pretender").write_text(
            RUNTIME.replace("{runtime}", real).replace("{root}", str(running.root))
        )
        for tool in tools.iterdir():
            tool.chmod(0o755)
        config = running.root / "daemon.json"
        config.write_text(
            json.dumps({"runtimes": {"pretender": {"path": str(tools / "pretender")}}})
        )
        running.options += ["--config-file", str(config), "--experimental"]
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        running.start()
        yield running


def run(engine: Engine, name: str) -> str:
    command = ("sh", "-c", "echo begun; sleep 1000")
    made = engine.run(*command, name=name, Runtime="pretender", RestartPolicy={"Name": "always"})
    eventually(lambda: engine.logs(made) == b"begun\n")
    return made


def test_the_way_through(engine: Engine) -> None:
    name = run(engine, "way")
    path = f"/containers/{name}/checkpoints"
    assert engine.post(path, {"CheckpointID": "kept", "Exit": False}).status == 201
    assert engine.inspect(name)["State"]["Running"]
    assert engine.post(path, {"CheckpointID": "last", "Exit": True}).status == 201
    state = engine.inspect(name)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    assert engine.get(path).json == [{"Name": "kept"}, {"Name": "last"}]
    assert engine.post(f"/containers/{name}/start?checkpoint=last").status == 204
    eventually(lambda: engine.logs(name) == b"begun\nbegun\n")
    pid = engine.inspect(name)["State"]["Pid"]
    # It is a container like any other: found again, stopped, started afresh.
    engine.crash_and_start()
    assert engine.inspect(name)["State"]["Pid"] == pid
    assert engine.post(f"/containers/{name}/kill").status == 204
    assert engine.post(f"/containers/{name}/start").status == 204
    assert engine.delete(f"{path}/last").status == 204
    assert engine.delete(f"{path}/last").status == 404
    assert engine.get(path).json == [{"Name": "kept"}]
    assert engine.delete(f"/containers/{name}?force=1").status == 204


def test_refusals(engine: Engine, tmp_path: Path) -> None:
    name = run(engine, "no")
    path = f"/containers/{name}/checkpoints"
    (engine.root / "refuse").touch()
    failed = engine.post(path, {"CheckpointID": "one", "Exit": True})
    (engine.root / "refuse").unlink()
    assert failed.status == 500
    assert "a socket is in the way" in failed.message
    assert engine.inspect(name)["State"]["Running"]
    assert engine.get(path).json == []
    for body, status, words in (
        ({}, 400, "Invalid checkpoint ID"),
        ({"CheckpointID": "../x"}, 400, "Invalid checkpoint ID"),
        ({"CheckpointID": 5}, 400, "CheckpointID"),
        ({"CheckpointID": "a1", "Exit": "yes"}, 400, "Exit"),
        ({"CheckpointID": "a1", "CheckpointDir": "x"}, 400, "CheckpointDir"),
    ):
        refused = engine.post(path, body)
        assert refused.status == status, refused.body
        assert words in refused.message
    assert engine.post("/containers/nobody/checkpoints", {"CheckpointID": "x1"}).status == 404
    assert engine.get("/containers/nobody/checkpoints").status == 404
    (tmp_path / "broken").mkdir()
    engine.post(f"/containers/{name}/kill")
    query = f"checkpoint=broken&checkpoint-dir={tmp_path}"
    broken = engine.post(f"/containers/{name}/start?{query}")
    assert broken.status == 500
    assert "cannot restore container" in broken.message
    assert engine.inspect(name)["State"]["Status"] == "exited"
    assert engine.delete(f"/containers/{name}").status == 204


def test_a_runtime_that_cannot(engine: Engine) -> None:
    name = engine.run("sleep", "1000")
    answer = engine.post(f"/containers/{name}/checkpoints", {"CheckpointID": "one"})
    # crun without criu says so; one with it, and runc, meet a criu that does nothing.
    assert answer.status in (500, 501), answer.body
    assert "checkpoint" in answer.message
    assert engine.inspect(name)["State"]["Running"]
    assert engine.delete(f"/containers/{name}?force=1").status == 204


def test_by_the_command_line(cli: Cli) -> None:
    run(cli.engine, "web")
    assert cli("checkpoint", "create", "--leave-running", "web", "one").ok() == "one"
    assert cli("checkpoint", "create", "web", "two").ok() == "two"
    assert cli("checkpoint", "ls", "web").ok() == "CHECKPOINT NAME\none\ntwo"
    assert cli("start", "--checkpoint", "two", "web").ok() == ""
    assert cli("checkpoint", "rm", "web", "one").ok() == ""
    assert cli("checkpoint", "ls", "web").ok() == "CHECKPOINT NAME\ntwo"
    failed = cli("checkpoint", "rm", "web", "one")
    assert failed.code == 1
    assert "checkpoint one does not exist for container web" in failed.err
