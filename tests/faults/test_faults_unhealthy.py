"""What ``--on-unhealthy`` does with a real container whose check begins to fail."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.engine import Engine, eventually
from tests.support.images import BASE

pytestmark = pytest.mark.root


def sick(engine: Engine, action: str, policy: str = "no") -> str:
    """A running container whose check fails until ``/well`` exists."""
    name = f"sick-{action}"
    body = {
        "Image": BASE,
        "Cmd": ["sleep", "1000"],
        "StopSignal": "SIGKILL",
        "Healthcheck": {
            "Test": ["CMD", "test", "-e", "/well"],
            "Interval": 100_000_000,
            "Retries": 2,
            "OnUnhealthy": action,
        },
        "HostConfig": {"NetworkMode": "none", "RestartPolicy": {"Name": policy}},
    }
    assert engine.post(f"/containers/create?name={name}", body).status == 201
    assert engine.post(f"/containers/{name}/start").status == 204
    return name


def state(engine: Engine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.inspect(name)["State"]
    return found


def test_stop_and_kill_and_none(engine: Engine) -> None:
    stopped, killed, left = (sick(engine, each, "always") for each in ("stop", "kill", "none"))
    eventually(lambda: state(engine, stopped)["Status"] == "exited", what="the stop")
    # Killed, and started again by its policy.
    eventually(lambda: engine.inspect(killed)["RestartCount"] >= 1, what="the kill")
    eventually(lambda: state(engine, left)["Health"]["Status"] == "unhealthy", what="the verdict")
    assert engine.inspect(left)["RestartCount"] == 0
    assert state(engine, left)["Running"]
    assert state(engine, stopped)["Status"] == "exited"
    assert engine.inspect(left)["Config"]["Healthcheck"]["OnUnhealthy"] == "none"


def test_restart_also_when_the_daemon_was_killed(engine: Engine) -> None:
    name = sick(engine, "restart")
    first = state(engine, name)["StartedAt"]
    engine.crash_and_start()
    eventually(lambda: state(engine, name)["StartedAt"] > first, what="the restart")
    eventually(lambda: state(engine, name)["Running"], what="running again")


def test_an_unknown_action_is_refused(engine: Engine) -> None:
    body = {"Image": BASE, "Healthcheck": {"Test": ["CMD", "true"], "OnUnhealthy": "reboot"}}
    refused = engine.post("/containers/create?name=no", body)
    assert refused.status == 400
    assert "OnUnhealthy" in refused.message
    assert engine.get("/containers/no/json").status == 404


def test_a_check_that_the_daemon_s_death_interrupts_does_not_stay(engine: Engine) -> None:
    body = {
        "Image": BASE,
        "Cmd": ["sleep", "1000"],
        "StopSignal": "SIGKILL",
        "Healthcheck": {"Test": ["CMD", "sleep", "2345"], "Interval": 100_000_000},
        "HostConfig": {"NetworkMode": "none"},
    }
    assert engine.post("/containers/create?name=slow", body).status == 201
    assert engine.post("/containers/slow/start").status == 204

    def checks() -> set[str]:
        found = engine.get("/containers/slow/top?ps_args=-o%20pid,args").json
        return {row[0] for row in found["Processes"] if row[-1].endswith("sleep 2345")}

    eventually(checks, what="the check")
    (old,) = checks()
    engine.crash_and_start()
    eventually(lambda: old not in checks(), what="the end of the old check")
    eventually(checks, what="a new check")
    assert len(checks()) == 1
    assert engine.delete("/containers/slow?force=1").status == 204
