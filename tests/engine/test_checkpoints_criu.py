"""Checkpoints by a real criu: a process goes on from where it was."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.clients import Cli
from tests.support.engine import Engine, eventually

COUNT = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done"


def _lack() -> str:
    for each in ("criu", "runc"):
        if shutil.which(each) is None:
            return f"this machine has no {each}"
    if subprocess.run(["criu", "check"], check=False, capture_output=True, timeout=60).returncode:
        return "this kernel lacks what criu needs"
    return ""


pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(_lack()), reason=_lack())]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(options=["--experimental"]) as running:
        running.start()
        yield running


def counter(engine: Engine, name: str, **host: Any) -> Callable[[], list[int]]:
    """A container that counts into its log; what it has written."""
    made = engine.run("sh", "-c", COUNT, name=name, Runtime="runc", **host)

    def written() -> list[int]:
        return [int(line) for line in engine.logs(made).split()]

    grows(written)
    return written


def grows(written: Callable[[], list[int]]) -> None:
    before = len(written())
    eventually(lambda: len(written()) > before + 3)


def test_it_goes_on_from_where_it_was(engine: Engine) -> None:
    written = counter(engine, "way")
    path = "/containers/way/checkpoints"
    assert engine.post(path, {"CheckpointID": "one", "Exit": True}).status == 201
    state = engine.inspect("way")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    last = written()[-1]
    for _ in range(2):  # a checkpoint is not used up
        assert engine.post("/containers/way/start?checkpoint=one").status == 204
        grows(written)
        assert engine.post("/containers/way/kill").status == 204
        eventually(lambda: engine.inspect("way")["State"]["Status"] == "exited")
        numbers = written()
        assert numbers[:last] == list(range(1, last + 1))
        # criu may have stopped it between a line and the memory of it: never anew from one.
        assert 1 not in numbers[last:]
        assert min(numbers[last:]) >= last
    assert engine.post("/containers/way/start").status == 204
    eventually(lambda: written()[-1] < last)
    assert engine.delete("/containers/way?force=1").status == 204


def test_it_runs_on_and_outlives_the_daemon(engine: Engine, tmp_path: Path) -> None:
    written = counter(engine, "on")
    path = "/containers/on/checkpoints"
    body = {"CheckpointID": "kept", "CheckpointDir": str(tmp_path), "Exit": False}
    assert engine.post(path, body).status == 201
    assert engine.inspect("on")["State"]["Running"]
    before = written()[-1]
    eventually(lambda: written()[-1] > before)
    assert written() == list(range(1, len(written()) + 1))
    assert engine.post("/containers/on/kill").status == 204
    query = f"checkpoint=kept&checkpoint-dir={tmp_path}"
    assert engine.post(f"/containers/on/start?{query}").status == 204
    pid = engine.inspect("on")["State"]["Pid"]
    engine.crash_and_start()
    assert engine.inspect("on")["State"]["Pid"] == pid
    seen = len(written())
    eventually(lambda: len(written()) > seen)
    assert engine.delete("/containers/on?force=1").status == 204


def test_by_the_command_line(cli: Cli) -> None:
    written = counter(cli.engine, "web")
    assert cli("checkpoint", "create", "web", "one").ok() == "one"
    last = written()[-1]
    assert cli("start", "--checkpoint", "one", "web").ok() == ""
    eventually(lambda: written()[-1] > last)
    assert cli("checkpoint", "rm", "web", "one").ok() == ""
    assert cli("rm", "-f", "web").ok() == "web"
