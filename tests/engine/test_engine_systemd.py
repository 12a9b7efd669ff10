"""The daemon as a unit of a real systemd, and the log driver of a real journal.

Both are skipped where the init is another one; ``scripts/vm`` has them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import Engine, eventually
from tests.support.host import needs_journald, needs_systemd

pytestmark = pytest.mark.root
ROOT = Path(__file__).resolve().parents[2]
UNITS = Path("/run/systemd/system")
SLOW = 600.0
"""Seconds for what takes a moment: the machine may be an emulated one."""


def ctl(*words: str, check: bool = True) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


class Unit(Engine):
    """A daemon that systemd keeps: our own units with other names and places."""

    @property
    def name(self) -> str:
        return f"wherryd-{self.root.name}"

    def install(self) -> None:
        words = [sys.executable, "-m", "wherry.daemon.main", *self.command()[3:]]
        service = (ROOT / "packaging/systemd/wherryd.service").read_text()
        service = service.replace("ExecStart=wherryd", f"ExecStart={shlex.join(words)}")
        service = service.replace("wherryd.socket", f"{self.name}.socket")
        service = service.replace("[Service]", f"[Service]\nEnvironment=PYTHONPATH={ROOT}/src")
        (UNITS / f"{self.name}.service").write_text(service)
        sock = (ROOT / "packaging/systemd/wherryd.socket").read_text()
        sock = sock.replace("/run/wherry/wherry.sock", str(self.socket))
        (UNITS / f"{self.name}.socket").write_text(sock)
        ctl("daemon-reload")

    @property
    def pid(self) -> int:
        return int(ctl("show", "-P", "MainPID", self.name))

    def log(self) -> str:
        return subprocess.run(
            ["journalctl", "-u", self.name, "-o", "cat"], capture_output=True, text=True, check=True
        ).stdout

    def close(self) -> list[str]:
        if self.answers():
            self.remove_containers()
        ctl("stop", f"{self.name}.socket", self.name, check=False)
        for kind in ("service", "socket"):
            (UNITS / f"{self.name}.{kind}").unlink(missing_ok=True)
        ctl("daemon-reload")
        ctl("reset-failed", self.name, check=False)
        return super().close()


@pytest.fixture
def unit() -> Iterator[Unit]:
    made = Unit()
    with made:
        made.install()
        yield made


def score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@needs_systemd
@pytest.mark.timeout(3000)
def test_containers_outlive_the_service(unit: Unit) -> None:
    ctl("start", f"{unit.name}.socket")
    assert ctl("is-active", unit.name, check=False) == "inactive"
    # The first call starts it; a start returns when it serves.
    assert unit.get("/_ping").status == 200
    ctl("start", unit.name)
    name = unit.run("sh", "-c", "while :; do date; sleep 1; done", Memory=64 << 20)
    pid, daemon = unit.inspect(name)["State"]["Pid"], unit.pid
    assert (score(daemon), score(pid)) == (-500, 0)

    def same(*, another: bool = True) -> None:
        found = unit.inspect(name)["State"]
        assert (found["Pid"], found["Running"]) == (pid, True)
        assert (unit.pid != daemon) is another

    ctl("reload", unit.name)
    same(another=False)
    ctl("restart", unit.name)
    same()
    ctl("kill", "-s", "KILL", "--kill-who=main", unit.name)
    eventually(
        lambda: ctl("show", "-P", "NRestarts", unit.name) == "1" and unit.answers(),
        seconds=SLOW,
        what="the restart after a crash",
    )
    same()
    ctl("daemon-reload")
    ctl("daemon-reexec")
    group = Path(f"/sys/fs/cgroup/wherry/{name}/memory.max")
    assert not group.exists() or int(group.read_text()) == 64 << 20
    ctl("stop", f"{unit.name}.socket", unit.name)
    assert Path(f"/proc/{pid}").exists()
    assert not unit.socket.exists()
    # Without the socket's unit it listens by itself.
    ctl("start", unit.name)
    same()
    before = unit.logs(name)
    eventually(lambda: len(unit.logs(name)) > len(before), seconds=SLOW)


@pytest.fixture
def journal(engine: Engine) -> Iterator[None]:
    yield
    engine.remove_containers()


def entries(name: str) -> list[dict[str, Any]]:
    subprocess.run(["journalctl", "--sync"], check=True)
    done = subprocess.run(
        ["journalctl", f"CONTAINER_NAME={name}", "-o", "json", "--all"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def messages(name: str) -> list[str]:
    return [str(each["MESSAGE"]) for each in entries(name)]


@needs_journald
@pytest.mark.timeout(3000)
def test_journald_has_what_docker_tells_it(engine: Engine, journal: None) -> None:
    """Fields, options, pieces of a long line; and ``logs`` reads it all the same."""
    name = f"fields-{engine.root.name}"
    script = "echo out; echo err >&2; head -c 50000 /dev/zero | tr '\\0' x; echo; echo last"
    body = {
        "Image": "wherry/busybox",
        "Cmd": ["sh", "-c", script],
        "Env": ["STAGE=test"],
        "Labels": {"com.example/team": "blue"},
        "HostConfig": {
            "NetworkMode": "none",
            "LogConfig": {
                "Type": "journald",
                "Config": {
                    "tag": "{{.Name}}/x", "labels": "com.example/team", "env": "STAGE",
                },
            },
        },
    }  # fmt: skip
    answer = engine.post(f"/containers/create?name={name}", body)
    assert answer.status == 201, answer.body
    made = answer.json["Id"]
    engine.seen.add(made)
    assert engine.post(f"/containers/{name}/start").status == 204
    assert engine.wait(name) == 0
    eventually(lambda: messages(name)[-1:] == ["last"], seconds=SLOW)
    found = entries(name)
    by_text = {str(each["MESSAGE"]): each for each in found}
    assert by_text["out"]["PRIORITY"] == "6"
    assert by_text["err"]["PRIORITY"] == "3"
    expected = {
        "CONTAINER_ID": made[:12],
        "CONTAINER_ID_FULL": made,
        "CONTAINER_NAME": name,
        "CONTAINER_TAG": f"{name}/x",
        "SYSLOG_IDENTIFIER": f"{name}/x",
        "IMAGE_NAME": "wherry/busybox",
        "COM_EXAMPLE_TEAM": "blue",
        "STAGE": "test",
    }
    for each in found:
        assert {key: each.get(key) for key in expected} == expected
    long = [each for each in found if "CONTAINER_PARTIAL_ID" in each]
    assert "".join(each["MESSAGE"] for each in long) == "x" * 50000
    assert [each["CONTAINER_PARTIAL_ORDINAL"] for each in long] == [
        str(number + 1) for number in range(len(long))
    ]
    assert [each["CONTAINER_PARTIAL_LAST"] for each in long][-1] == "true"
    assert len(long) == 1 + sum("CONTAINER_PARTIAL_MESSAGE" in each for each in long)
    assert engine.logs(name).endswith(b"x\nlast\n")


@needs_journald
@pytest.mark.timeout(3000)
def test_nothing_is_lost_between_restarts(own_engine: Engine) -> None:
    """Of the journal while the container writes, and of the daemon by SIGKILL."""
    engine, count = own_engine, 600
    name = f"numbers-{engine.root.name}"
    script = f"i=0; while [ $i -lt {count} ]; do echo $i; i=$((i+1)); usleep 5000; done; sleep 1000"
    engine.run("sh", "-c", script, name=name, LogConfig={"Type": "journald", "Config": {}})
    eventually(lambda: len(messages(name)) > 50, seconds=SLOW)
    if Path("/run/systemd/system").is_dir():
        ctl("restart", "systemd-journald")
    seen = len(messages(name))
    eventually(lambda: len(messages(name)) > seen, seconds=SLOW)
    engine.crash_and_start()
    eventually(lambda: str(count - 1) in messages(name), seconds=SLOW)
    numbers = [int(each) for each in messages(name)]
    assert sorted(set(numbers)) == list(range(count))
    # Only what was on its way when the daemon was killed may be there twice.
    assert len(numbers) - count < 100
    engine.remove_containers()
