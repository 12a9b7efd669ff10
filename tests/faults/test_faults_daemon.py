"""Second daemons, stale files, monitors that die, containers that misbehave."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bench.processes import memory, of_root
from tests.support.agreement import Seen, settled
from tests.support.engine import Engine, eventually, unframe

pytestmark = pytest.mark.root


def monitor_of(engine: Engine, identity: str) -> int:
    """The conmon of a container."""
    for pid in of_root(engine.root):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if words[0].endswith(b"conmon") and identity.encode() in words:
            return pid
    raise AssertionError(f"no monitor of {identity}")


def test_a_second_daemon_on_the_same_root_is_refused(own_engine: Engine) -> None:
    name = own_engine.run("sleep", "1000")
    size = len(own_engine.log())
    second = own_engine.spawn()
    assert second.wait(20) not in (0, None)
    said = own_engine.log()[size:]
    assert str(own_engine.data) in said
    assert "Traceback" not in said
    assert own_engine.answers()
    assert own_engine.inspect(name)["State"]["Running"] is True


def test_stale_files_do_not_hinder(own_engine: Engine) -> None:
    own_engine.kill()
    assert own_engine.socket.exists()
    (own_engine.root / "pid").write_text("1\n")
    own_engine.start()
    assert own_engine.get("/info").status == 200


def test_wrong_options_are_said_in_one_line(own_engine: Engine) -> None:
    own_engine.kill()
    size = len(own_engine.log())
    own_engine.options.append("--no-such-option")
    assert own_engine.spawn().wait(20) != 0
    said = own_engine.log()[size:]
    assert "--no-such-option" in said
    assert "Traceback" not in said
    own_engine.options.pop()
    own_engine.start()


def test_a_killed_monitor(own_engine: Engine) -> None:
    engine = own_engine
    name = engine.run("sleep", "1000")
    pid = engine.inspect(name)["State"]["Pid"]
    os.kill(monitor_of(engine, name), signal.SIGKILL)
    eventually(lambda: not engine.inspect(name)["State"]["Running"])
    state = engine.inspect(name)["State"]
    assert state["ExitCode"] != 0
    assert "monitor" in state["Error"]
    # Nobody would see the process any more: it must not go on.
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    assert engine.post(f"/containers/{name}/start").status == 204
    assert engine.inspect(name)["State"]["Running"] is True
    assert engine.inspect(name)["State"]["Error"] == ""
    assert engine.delete(f"/containers/{name}?force=1").status == 204


def test_a_monitor_killed_while_away(own_engine: Engine) -> None:
    engine = own_engine
    name = engine.run("sleep", "1000")
    pid = engine.inspect(name)["State"]["Pid"]
    monitor = monitor_of(engine, name)
    engine.kill()
    os.kill(monitor, signal.SIGKILL)
    engine.start()
    eventually(lambda: not engine.inspect(name)["State"]["Running"])
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    assert engine.delete(f"/containers/{name}").status == 204


def test_a_flood_of_output_does_not_grow_the_daemon(own_engine: Engine) -> None:
    engine = own_engine
    assert engine.process is not None
    before = memory([engine.process.pid]).rss
    name = engine.run("sh", "-c", "head -c 99000000 /dev/zero | tr '\\0' x | fold -w 99")
    with engine.client() as client:
        for _ in range(40):
            assert client.request("GET", "/containers/json")[0] == 200
            time.sleep(0.02)
    assert engine.wait(name) == 0
    assert memory([engine.process.pid]).rss < before + 30
    tail = engine.get(f"/containers/{name}/logs?stdout=1&tail=3").body
    # A line may come in several frames; together they are three whole ones.
    assert unframe(tail).split() == [b"x" * 99] * 3


def test_containers_that_end_at_once(own_engine: Engine) -> None:
    engine = own_engine
    codes: list[int] = []

    def some() -> None:
        for _ in range(8):
            name = engine.run("sh", "-c", "exit 5")
            codes.append(engine.wait(name))
            assert engine.delete(f"/containers/{name}").status == 204

    threads = [threading.Thread(target=some) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert codes == [5] * 32
    assert engine.containers() == []


def test_a_fork_bomb_meets_its_limit(own_engine: Engine) -> None:
    engine = own_engine
    script = "f() { f | f & }; f; sleep 1000"
    name = engine.run("sh", "-c", script, PidsLimit=40)
    assert engine.get("/containers/json").status == 200
    assert engine.delete(f"/containers/{name}?force=1").status == 204
    assert engine.containers() == []


def test_a_removal_with_volumes_that_was_cut_short_takes_them_along(own_engine: Engine) -> None:
    engine = own_engine
    name = engine.create("true", Mounts=[{"Type": "volume", "Target": "/data"}])
    assert len(engine.get("/volumes").json["Volumes"]) == 1
    engine.kill()
    with closing(sqlite3.connect(engine.data / "state.db")) as database, database:
        (record,) = database.execute("SELECT record FROM containers").fetchone()
        known = json.loads(record)
        known["state"] |= {"status": "removing", "with_volumes": True}
        database.execute("UPDATE containers SET record = ?", (json.dumps(known).encode(),))
    engine.start()
    eventually(lambda: engine.get(f"/containers/{name}/json").status == 404)
    assert not engine.get("/volumes").json["Volumes"]


def test_a_killed_monitor_and_the_restart_policy(own_engine: Engine) -> None:
    engine = own_engine
    policy = {"Name": "on-failure", "MaximumRetryCount": 3}
    name = engine.run("sleep", "1000", RestartPolicy=policy)
    pid = engine.inspect(name)["State"]["Pid"]
    os.kill(monitor_of(engine, name), signal.SIGKILL)
    eventually(lambda: engine.inspect(name)["RestartCount"] == 1, seconds=60)
    eventually(lambda: engine.inspect(name)["State"]["Pid"] not in (0, pid), seconds=60)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), seconds=60)
    assert engine.inspect(name)["State"]["Status"] == "running"
    settled(engine, Seen())


def test_one_that_eats_memory_is_ended_and_named(own_engine: Engine) -> None:
    engine = own_engine
    limit = 32 << 20
    script = "exec tail /dev/zero"
    name = engine.run("sh", "-c", script, Memory=limit, MemorySwap=limit)
    assert engine.wait(name) == 137
    state = engine.inspect(name)["State"]
    assert state["OOMKilled"] is True
    assert engine.delete(f"/containers/{name}").status == 204
    settled(engine, Seen())


def test_one_that_ignores_its_end_is_killed(own_engine: Engine) -> None:
    engine = own_engine
    name = engine.run("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")
    eventually(lambda: engine.logs(name) == b"deaf\n", seconds=60)
    assert engine.post(f"/containers/{name}/stop?t=1").status == 204
    assert engine.inspect(name)["State"]["ExitCode"] == 137
    settled(engine, Seen())


def test_the_api_works_beside_all_of_them(own_engine: Engine) -> None:
    """Nothing is measured here (``bench`` does that): everything is answered, and nothing stays."""
    engine = own_engine
    assert engine.process is not None
    limits: dict[str, Any] = {"NanoCpus": 300_000_000, "Memory": 48 << 20, "PidsLimit": 60}
    for script in (
        "f() { f | f & }; while :; do f; sleep 0.1; done",
        "while :; do head -c 100000000 /dev/zero | tail -n 1 >/dev/null; done",
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
        "while :; do :; done",
    ):
        engine.run("sh", "-c", script, **limits)
    engine.run("true", RestartPolicy={"Name": "always"}, **limits)
    before = memory([engine.process.pid]).rss
    for _ in range(5):
        assert engine.wait(engine.run("true")) == 0
        for row in engine.containers():
            engine.inspect(row["Id"])
            path = f"/containers/{row['Id']}/logs?stdout=1&tail=100"
            assert engine.get(path).status == 200
    assert memory([engine.process.pid]).rss < before + 40
    engine.remove_containers()
    settled(engine, Seen())
