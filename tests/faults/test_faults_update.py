"""The daemon is killed in the middle of an update: it has happened wholly, or not at all."""

from __future__ import annotations

import json
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bench.http import EngineError
from tests.support.engine import Engine
from tests.support.limits import memory_limit

from wherry.linux.failpoint import VARIABLE

pytestmark = pytest.mark.root

BEFORE = ("intent", "planned", "mounted", "resources", "ports")
AFTER = ("committed", "unmounted", "settled")
LIMIT = 64 << 20


def asked(engine: Engine) -> dict[str, Any]:
    """Something of every kind."""
    return {
        "Memory": LIMIT,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "EnvAdd": ["NEW=1"],
        "LabelsAdd": {"new": "1"},
        "PublishAdd": {"81/tcp": None},
        "PublishRemove": {"80/tcp": None},
        "MountsAdd": [
            {"Type": "bind", "Source": str(engine.root), "Target": "/new"},
            {"Type": "volume", "Source": "made", "Target": "/made"},
            {"Type": "volume", "Target": "/nameless"},
        ],
        "MountsRemove": ["/old"],
        "Healthcheck": {"Test": ["CMD", "true"]},
    }


def facts(engine: Engine, name: str) -> dict[str, Any]:
    """What the API says of the container, and what the kernel does."""
    found = engine.inspect(name)
    pid = found["State"]["Pid"]
    targets = [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    published = {key for key, rows in found["NetworkSettings"]["Ports"].items() if rows}
    return {
        "memory": (found["HostConfig"]["Memory"] == LIMIT, memory_limit(pid) == LIMIT),
        "policy": found["HostConfig"]["RestartPolicy"]["Name"] == "on-failure",
        "env": "NEW=1" in found["Config"]["Env"],
        "label": "new" in found["Config"]["Labels"],
        "ports": (published, set(found["HostConfig"]["PortBindings"])),
        "mounts": {each["Destination"] for each in found["Mounts"]},
        "mounted": {each for each in ("/old", "/new", "/made", "/nameless") if each in targets},
        "health": "Healthcheck" in found["Config"],
        "volumes": len(engine.get("/volumes").json["Volumes"] or []),
    }


OLD = {
    "memory": (False, False),
    "policy": False,
    "env": False,
    "label": False,
    "ports": ({"80/tcp"}, {"80/tcp"}),
    "mounts": {"/old"},
    "mounted": {"/old"},
    "health": False,
    "volumes": 1,
}
NEW = {
    "memory": (True, True),
    "policy": True,
    "env": True,
    "label": True,
    "ports": ({"81/tcp"}, {"81/tcp"}),
    "mounts": {"/new", "/made", "/nameless"},
    "mounted": {"/new", "/made", "/nameless"},
    "health": True,
    "volumes": 3,
}


def test_killed_at_every_step(own_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = own_engine
    for place in (*BEFORE, *AFTER):
        engine.stop()
        monkeypatch.setenv(VARIABLE, f"update.{place}")
        engine.start()
        monkeypatch.delenv(VARIABLE)
        name = engine.run(
            "sleep",
            "1000",
            NetworkMode="bridge",
            PortBindings={"80/tcp": [{"HostPort": ""}]},
            Mounts=[{"Type": "volume", "Source": "kept", "Target": "/old"}],
        )
        assert facts(engine, name) == OLD
        pid = engine.inspect(name)["State"]["Pid"]
        with suppress(OSError, EngineError):
            engine.post(f"/containers/{name}/update", asked(engine))
        assert engine.process is not None
        assert engine.process.wait(30) == -9, place
        engine.start()
        assert facts(engine, name) == (NEW if place in AFTER else OLD), place
        assert engine.inspect(name)["State"]["Pid"] == pid
        if place in BEFORE:
            answer = engine.post(f"/containers/{name}/update", asked(engine))
            assert answer.status == 200, answer.body
            assert facts(engine, name) == NEW, place
        assert engine.delete(f"/containers/{name}?force=1&v=1").status == 204
        for volume in ("kept", "made"):
            assert engine.delete(f"/volumes/{volume}").status == 204
        assert engine.get("/volumes").json["Volumes"] in (None, [])


def test_killed_while_the_container_rests(
    own_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = own_engine
    for place, whole in (("intent", False), ("planned", False), ("committed", True)):
        engine.stop()
        monkeypatch.setenv(VARIABLE, f"update.{place}")
        engine.start()
        monkeypatch.delenv(VARIABLE)
        name = engine.create("sleep", "1000", NetworkMode="bridge")
        with suppress(OSError, EngineError):
            engine.post(f"/containers/{name}/update", asked(engine))
        assert engine.process is not None
        assert engine.process.wait(30) == -9, place
        engine.start()
        found = engine.inspect(name)
        assert ("new" in found["Config"]["Labels"]) is whole
        assert len(found["Mounts"]) == (3 if whole else 0)
        assert len(engine.get("/volumes").json["Volumes"] or []) == (2 if whole else 0), place
        assert engine.post(f"/containers/{name}/start").status == 204
        assert engine.delete(f"/containers/{name}?force=1&v=1").status == 204
        engine.delete("/volumes/made")
        assert engine.get("/volumes").json["Volumes"] in (None, [])


def meddle(engine: Engine, source: random.Random, name: str, wrong: list[str]) -> None:
    """Random updates of one container, and whatever else ends or changes it."""
    with engine.client() as client:
        for number in range(25):
            verbs = ("update", "update", "update", "kill", "start", "restart", "pause")
            verb = source.choice(verbs)
            body: dict[str, Any] = {}
            if verb == "update":
                target = f"/m{source.randrange(3)}"
                volume = {"Type": "volume", "Source": f"v{source.randrange(3)}", "Target": target}
                body = source.choice(
                    [
                        {"MountsAdd": [volume]},
                        {"MountsRemove": [target]},
                        {"PublishAdd": {f"8{source.randrange(3)}/tcp": None}},
                        {"PublishRemove": {f"8{source.randrange(3)}/tcp": None}},
                        {"Memory": (64 + number) << 20, "MemorySwap": -1},
                        {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 10_000_000}},
                        {"Healthcheck": {"Test": ["NONE"]}},
                    ]
                )
            status, answer = client.request(
                "POST", f"/containers/{name}/{verb}?t=0", json.dumps(body).encode()
            )
            if verb == "pause":
                client.request("POST", f"/containers/{name}/unpause")
            if status >= 500 or (status == 400 and b"Duplicate mount" not in answer):
                wrong.append(f"{verb} {body}: {status} {answer[:300]!r}")


def test_updates_beside_everything_else(own_engine: Engine) -> None:
    engine = own_engine
    names = [engine.run("sleep", "1000", NetworkMode="bridge") for _ in range(2)]
    wrong: list[str] = []
    workers = [
        threading.Thread(
            target=meddle, args=(engine, random.Random(number), names[number % 2], wrong)
        )
        for number in range(4)
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join(100)
        assert not each.is_alive()
    assert wrong == []
    for name in names:
        engine.post(f"/containers/{name}/start")
        found = engine.inspect(name)
        pid = found["State"]["Pid"]
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        present = {line.split()[4] for line in lines if line.split()[4].startswith("/m")}
        assert present == {each["Destination"] for each in found["Mounts"]}
        published = {key for key, rows in found["NetworkSettings"]["Ports"].items() if rows}
        assert published == set(found["HostConfig"]["PortBindings"] or {})
        assert engine.delete(f"/containers/{name}?force=1").status == 204
    for volume in engine.get("/volumes").json["Volumes"] or []:
        assert engine.delete(f"/volumes/{volume['Name']}").status == 204
    assert "Traceback" not in engine.log()
