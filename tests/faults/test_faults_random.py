"""The daemon is killed in the middle of mixed work; afterwards everything agrees."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from bench.http import EngineError
from bench.processes import of_root
from tests.support.engine import Engine, cgroups_of, eventually
from tests.support.images import BASE

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
ROUNDS = 8
WORKERS = 4


def worker(engine: Engine, source: random.Random, stop: threading.Event, ids: set[str]) -> None:
    """Random operations on random containers until told to stop or the daemon is gone."""
    mine: list[str] = []
    with suppress(OSError, EngineError, ValueError), engine.client() as client:
        while not stop.is_set():
            verb = source.choice(
                ["create", "create", "start", "start", "stop", "kill", "pause", "unpause",
                 "restart", "delete", "exec", "rename"]
            )  # fmt: skip
            if verb == "create" or not mine:
                body = {
                    "Image": BASE,
                    "Cmd": ["sh", "-c", source.choice(["sleep 1000", "exit 3", "sleep 0.05"])],
                    "HostConfig": {"NetworkMode": "none", "AutoRemove": source.random() < 0.2},
                }
                made = client.json("POST", "/containers/create", body)["Id"]
                mine.append(made)
                ids.add(made)
                continue
            name = source.choice(mine)
            if verb == "delete":
                client.request("DELETE", f"/containers/{name}?force=1")
            elif verb == "exec":
                status, answer = client.request(
                    "POST", f"/containers/{name}/exec", b'{"Cmd":["true"]}'
                )
                if status == 201:
                    session = answer.split(b'"')[3].decode()
                    client.request("POST", f"/exec/{session}/start", b'{"Detach":true}')
            elif verb == "rename":
                client.request("POST", f"/containers/{name}/rename?name=n{source.random()}")
            else:
                client.request("POST", f"/containers/{name}/{verb}?t=0")


def disagreements(engine: Engine, ids: set[str]) -> list[str]:
    """What the database, processes, cgroups and folders say that does not fit together."""
    wrong = []
    listed = {row["Id"]: row for row in engine.containers()}
    assert engine.process is not None
    monitors: dict[str, int] = {}
    for pid in of_root(engine.root):
        if pid == engine.process.pid:
            continue
        try:
            text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        owners = [each for each in listed if each in text]
        if not owners and any(each in text for each in ids):
            wrong.append(f"a process of a container that is not there: {pid} {text[:120]}")
        monitors.update(dict.fromkeys(owners, pid))
    for identity, row in listed.items():
        state = engine.inspect(identity)["State"]
        if state["Running"] != (row["State"] in ("running", "paused", "restarting")):
            wrong.append(f"list and inspect differ: {row['State']} {state}")
        if state["Running"]:
            if not Path(f"/proc/{state['Pid']}").exists():
                wrong.append(f"said to run, but its process is gone: {identity} {state}")
            if identity not in monitors:
                wrong.append(f"runs without a monitor: {identity}")
        elif identity in monitors:
            wrong.append(f"does not run, but has a monitor: {identity} {state}")
        if state["Status"] in ("removing", "dead"):
            wrong.append(f"half removed: {identity}")
    gone = ids - set(listed)
    wrong += [f"cgroup of a removed container: {path}" for path in cgroups_of(gone)]
    stopped = {each for each, row in listed.items() if row["State"] in ("created", "exited")}
    wrong += [f"cgroup of a stopped container: {path}" for path in cgroups_of(stopped)]
    for folder in (engine.data / "containers", engine.root / "run" / "mnt"):
        if folder.exists():
            wrong += [
                f"folder without a container: {each}"
                for each in folder.iterdir()
                if len(each.name) == 64 and each.name not in listed
            ]
    return wrong


def test_kills_in_the_middle_of_mixed_work(own_engine: Engine) -> None:
    engine = own_engine
    source = random.Random(4)
    sentinel = engine.run("sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done")
    pid = engine.inspect(sentinel)["State"]["Pid"]
    ids: set[str] = set()
    for number in range(ROUNDS):
        stop = threading.Event()
        workers = [
            threading.Thread(
                target=worker, args=(engine, random.Random(number * 10 + each), stop, ids)
            )
            for each in range(WORKERS)
        ]
        for each in workers:
            each.start()
        time.sleep(source.uniform(0.05, 1.2))
        engine.kill()
        stop.set()
        for each in workers:
            each.join(30)
            assert not each.is_alive()
        engine.start()
        # What was under way is finished or undone soon after the start.
        with suppress(TimeoutError):
            eventually(lambda: not disagreements(engine, ids), seconds=10)
        assert disagreements(engine, ids) == [], f"round {number}"
        assert engine.inspect(sentinel)["State"]["Pid"] == pid
        for row in engine.containers():
            if row["Id"] != sentinel:
                answer = engine.delete(f"/containers/{row['Id']}?force=1")
                assert answer.status in (204, 404), answer.body
    engine.seen |= ids
    engine.post(f"/containers/{sentinel}/kill")
    assert engine.wait(sentinel) == 137
    numbers = [int(word) for word in engine.logs(sentinel).split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(ids) > ROUNDS


def rename_often(
    engine: Engine, name: str, number: int, done: list[str], wrote: threading.Event
) -> None:
    """A write loop; ``done`` gets every name that was answered for."""
    with suppress(OSError, EngineError), engine.client() as client:
        for count in range(100_000):
            new = f"name-{number}-{count}"
            client.json("POST", f"/containers/{name}/rename?name={new}")
            done.append(new)
            wrote.set()


def test_the_database_survives(own_engine: Engine) -> None:
    engine = own_engine
    name = engine.create("true", name="first")
    source = random.Random(7)
    for number in range(8):
        done: list[str] = []
        wrote = threading.Event()
        writer = threading.Thread(target=rename_often, args=(engine, name, number, done, wrote))
        writer.start()
        assert wrote.wait(20)
        time.sleep(source.uniform(0.0, 0.2))
        engine.kill()
        writer.join(20)
        with sqlite3.connect(f"file:{engine.data}/state.db?mode=ro", uri=True) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()
        engine.start()
        # The last answered write, or the one after it, whose answer never came.
        kept = engine.inspect(name)["Name"].removeprefix("/")
        following = f"name-{number}-{int(done[-1].split('-')[2]) + 1}"
        assert kept in (done[-1], following)
