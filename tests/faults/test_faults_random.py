"""The daemon is killed in the middle of mixed work; afterwards everything agrees."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import suppress

import pytest
from bench.http import EngineError
from tests.support.agreement import Seen, Stored, settled
from tests.support.engine import Engine
from tests.support.mixed import Worker, check_promises, run_until_killed

pytestmark = [pytest.mark.root]
WORKERS = 4
COUNT = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"


def one_life(engine: Engine, seed: int, rounds: int, operations: int) -> None:
    """``rounds`` times: mixed work, a kill in the middle of it, a start, and all agrees."""
    source = random.Random(seed)
    seen = Seen()
    sentinels = [
        engine.run("sh", "-c", COUNT),
        engine.run(
            "sh",
            "-c",
            COUNT,
            NetworkMode="bridge",
            PortBindings={"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        ),
    ]
    settled(engine, seen)
    pids = [engine.inspect(each)["State"]["Pid"] for each in sentinels]
    images = Stored.read(engine).blobs
    for number in range(rounds):
        workers = [
            Worker(engine, each, random.Random(source.randrange(1 << 32)))
            for each in range(WORKERS)
        ]
        moment = source.randrange(operations // 4, operations)
        run_until_killed(engine, workers, moment, source.uniform(0.0, 0.03))
        seen.note(engine)
        engine.start()
        try:
            settled(engine, seen)
            check_promises(engine, workers)
            settled(engine, seen)
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"seed {seed}, round {number}: {error}") from error
        assert [engine.inspect(each)["State"]["Pid"] for each in sentinels] == pids
        _clear(engine, set(sentinels))
        settled(engine, seen)
        assert Stored.read(engine).blobs == images
    engine.seen |= seen.containers
    for each in sentinels:
        engine.post(f"/containers/{each}/kill")
        assert engine.wait(each) == 137
        numbers = [int(word) for word in engine.logs(each).split()]
        assert numbers == list(range(1, len(numbers) + 1))


def _clear(engine: Engine, keep: set[str]) -> None:
    """Remove all that the workers made; nothing may refuse."""
    for row in engine.containers():
        if row["Id"] not in keep:
            answer = engine.delete(f"/containers/{row['Id']}?force=1&v=1")
            assert answer.status in (204, 404), answer.body
    for network in engine.get("/networks").json:
        if network["Name"].startswith("w"):
            answer = engine.delete(f"/networks/{network['Id']}")
            assert answer.status == 204, answer.body
    for volume in engine.get("/volumes").json["Volumes"] or ():
        answer = engine.delete(f"/volumes/{volume['Name']}")
        assert answer.status == 204, answer.body
    for image in engine.get("/images/json").json:
        if not any("busybox" in tag for tag in image["RepoTags"] or ()):
            answer = engine.delete(f"/images/{image['Id']}?force=1")
            assert answer.status in (200, 404), answer.body


def test_kills_in_the_middle_of_mixed_work(own_engine: Engine, pytestconfig: pytest.Config) -> None:
    """Short and always the same here; ``scripts/soak`` does the whole of it with any seeds."""
    seeds = pytestconfig.getoption("--soak-seed") or [4]
    rounds = pytestconfig.getoption("--soak-rounds")
    operations = pytestconfig.getoption("--soak-operations")
    for seed in seeds:
        one_life(own_engine, seed, rounds, operations)
        own_engine.remove_containers()


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
