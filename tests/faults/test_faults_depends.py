"""``--depends-on`` with real containers, by every client, and after a reboot."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.support.clients import Cli
from tests.support.engine import Engine, eventually
from tests.support.images import BASE

pytestmark = pytest.mark.root
CHECK = {"Test": ["CMD", "test", "-e", "/well"], "Interval": 100_000_000, "Retries": 1000}


def make(engine: Engine, name: str, *command: str, **parts: Any) -> str:
    host = {"NetworkMode": "none", **parts.pop("HostConfig", {})}
    body = {"Image": BASE, "Cmd": list(command), "HostConfig": host, **parts}
    answer = engine.post(f"/containers/create?name={name}", body)
    assert answer.status == 201, answer.body
    engine.seen.add(answer.json["Id"])
    return str(answer.json["Id"])


def happened(engine: Engine, since: float) -> list[str]:
    """``name action`` of starts, ends and verdicts, in order."""
    until = time.time() + 1
    body = engine.get(f"/events?since={since:.6f}&until={until:.6f}").body
    rows = [json.loads(line) for line in body.splitlines() if line.strip()]
    return [
        f"{row['Actor']['Attributes']['name']} {row['Action']}"
        for row in rows
        if row["Type"] == "container"
        and row["Action"].split(":")[0] in ("start", "die", "health_status")
    ]


def test_order_after_a_reboot(own_engine: Engine) -> None:
    engine = own_engine
    always = {"RestartPolicy": {"Name": "always"}}
    make(engine, "job", "sh", "-c", "test -e /first || { touch /first; exit 0; }; exit 4")
    make(
        engine,
        "db",
        "sh",
        "-c",
        "touch /well; sleep 1000",
        HostConfig={**always, "DependsOn": ["job:completed"]},
        Healthcheck=CHECK,
    )
    make(engine, "web", "sleep", "1000", HostConfig={**always, "DependsOn": ["db:healthy"]})
    begun = time.time()
    assert engine.post("/containers/web/start").status == 204
    assert happened(engine, begun) == [
        "job start",
        "job die",
        "db start",
        "db health_status: healthy",
        "web start",
    ]
    engine.reboot()
    begun = time.time()
    engine.start()

    def running() -> bool:
        return bool(engine.inspect("web")["State"]["Running"])

    eventually(running, seconds=60, what="the start after the reboot")
    # The work was done before: it need not be done again.
    order = [each for each in happened(engine, begun) if not each.endswith(" die")]
    assert order == ["db start", "db health_status: healthy", "web start"]


def test_by_every_client(cli: Cli) -> None:
    def wish(text: str) -> tuple[str, ...]:
        if cli.program.is_wherry:
            return ("--depends-on", text)
        return ("--label", f"wherry.depends-on={text}")

    common = ("--network", "none")
    cli("create", *common, "--name", "db", BASE, "sleep", "1000").ok()
    cli("create", *common, "--name", "bad", BASE, "sh", "-c", "exit 3").ok()
    cli("run", "-d", *common, "--name", "web", *wish("db"), BASE, "sleep", "1000").ok()
    running = cli("ps", "--format", "{{.Names}}").ok().split("\n")
    assert sorted(running) == ["db", "web"]
    failed = cli("run", "-d", *common, "--name", "late", *wish("bad:completed"), BASE, "true")
    assert failed.code != 0
    assert "late depends on bad being completed: it has exited with code 3" in failed.err
    for text, words in (
        ("nobody", "nobody, which does not exist"),
        ("db:soon", "invalid condition"),
        ("self", "a circle: self -> self"),
    ):
        failed = cli("create", *common, "--name", "self", *wish(text), BASE, "true")
        assert failed.code != 0
        assert words in failed.err, failed
    assert "self" not in cli("ps", "-a", "--format", "{{.Names}}").ok().split("\n")
