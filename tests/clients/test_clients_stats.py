"""``stats``: one shot, a stream, and the live table on a terminal, against the real kernel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from bench.http import Client
from tests.support.clients import Cli, Terminal, programs
from tests.support.engine import Engine, eventually
from tests.support.images import BASE

pytestmark = pytest.mark.root
SECONDS = 60.0
CLEAR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def wherry(engine: Engine) -> Iterator[Cli]:
    yield Cli(programs()[0], engine)
    engine.remove_containers()


def sleeping(engine: Engine, name: str) -> str:
    return engine.run("sleep", "600", name=name)


def names(screen: str) -> list[str]:
    """The names in the newest whole table of a terminal's output."""
    tables = CLEAR.sub("", screen).split("CONTAINER ID")
    rows = [line.split() for line in tables[-2].splitlines()[1:]] if len(tables) > 2 else []
    return [row[1] for row in rows if len(row) > 1]


def shows(terminal: Terminal, *wanted: str) -> None:
    """Wait until the table shows these containers and no others."""

    def now() -> bool:
        terminal.expect("PIDS", SECONDS)
        return sorted(names(terminal.text.decode())) == sorted(wanted)

    eventually(now, seconds=SECONDS, what=f"a table of {wanted}")


def test_the_live_table(wherry: Cli, engine: Engine) -> None:
    """Containers appear in it and go from it, and an interrupt ends it."""
    sleeping(engine, "first")
    with wherry.terminal("stats", columns=120) as terminal:
        shows(terminal, "first")
        sleeping(engine, "second")
        shows(terminal, "first", "second")
        engine.post("/containers/first/kill")
        shows(terminal, "second")
        engine.post("/containers/first/start")
        shows(terminal, "first", "second")
        engine.delete("/containers/second?force=1")
        shows(terminal, "first")
        terminal.expect(r"\d+\.\d\d%", SECONDS)
        terminal.send("\x03")
        assert terminal.wait(SECONDS) == 130
    text = terminal.text.decode()
    # Drawn over itself: the screen is cleared once, at the beginning.
    assert text.count("\x1b[2J") == 1
    assert text.count("\x1b[H") > 5


def test_the_live_table_fits_the_terminal(wherry: Cli, engine: Engine) -> None:
    for number in range(6):
        engine.create("true", name=f"idle{number}")
    with wherry.terminal("stats", "-a", rows=6, columns=40) as terminal:
        terminal.expect("and 3 more", SECONDS)
        terminal.expect("and 3 more", SECONDS)
        terminal.send("\x03")
        terminal.wait(SECONDS)
    for line in CLEAR.sub("", terminal.text.decode()).splitlines():
        assert len(line) <= 40


def test_named_containers_to_their_end(wherry: Cli, engine: Engine) -> None:
    sleeping(engine, "watched")
    sleeping(engine, "other")
    with wherry.terminal("stats", "watched", columns=120) as terminal:
        shows(terminal, "watched")
        engine.delete("/containers/watched?force=1")
        assert terminal.wait(SECONDS) == 0


def test_one_shot(cli: Cli, engine: Engine) -> None:
    """Every client: the numbers of this machine's control groups, whichever version they are."""
    counting = "i=0; while :; do i=$((i+1)); done"
    engine.run("sh", "-c", counting, name="busy", Memory=256 << 20, PidsLimit=50)
    engine.create("true", name="idle")
    shown = cli(
        "stats", "--no-stream", "--format", "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}"
    )
    (line,) = shown.ok().splitlines()
    name, cpu, memory, pids = line.split("|")
    assert name == "busy"
    assert float(cpu.rstrip("%")) > 0
    assert memory.endswith("/ 256MiB")
    assert not memory.startswith("0B")
    assert pids == "1"
    both = cli("stats", "-a", "--no-stream", "--format", "{{.Name}}").ok().split()
    assert sorted(both) == ["busy", "idle"]
    table = cli("stats", "--no-stream", "busy").ok().splitlines()
    assert table[0].split() == [
        "CONTAINER",
        "ID",
        "NAME",
        "CPU",
        "%",
        "MEM",
        "USAGE",
        "/",
        "LIMIT",
        "MEM",
        "%",
        "NET",
        "I/O",
        "BLOCK",
        "I/O",
        "PIDS",
    ]
    assert cli("stats", "--no-stream", "nobody").code == 1


def test_a_stream_of_samples(engine: Engine) -> None:
    """Rates come from two samples: the second one knows the first."""
    engine.run("sh", "-c", "i=0; while :; do i=$((i+1)); done", name="busy")
    one: dict[str, Any] = {}

    def worked() -> bool:
        """On a busy host it may have had no turn between the two."""
        one.update(engine.get("/containers/busy/stats?stream=0").json)
        assert one["precpu_stats"]["system_cpu_usage"] > 0
        before, after = (one[each]["cpu_usage"] for each in ("precpu_stats", "cpu_stats"))
        assert after["total_usage"] >= before["total_usage"] > 0
        return bool(after["total_usage"] > before["total_usage"])

    eventually(worked, seconds=SECONDS, what="work between two samples")
    assert one["pids_stats"]["current"] == 1
    assert one["memory_stats"]["usage"] > 0
    shot: dict[str, Any] = engine.get("/containers/busy/stats?stream=0&one-shot=1").json
    assert "system_cpu_usage" not in shot["precpu_stats"]
    refused = engine.get("/containers/busy/stats?stream=1&one-shot=1")
    assert refused.status == 400
    assert "one-shot" in refused.message


def test_the_network_s_numbers(wherry: Cli, engine: Engine) -> None:
    engine.run("sh", "-c", "ping -c 3 127.0.0.1; sleep 600", name="netty", NetworkMode="bridge")

    def received() -> bool:
        answer = engine.get("/containers/netty/stats?stream=0&one-shot=1").json
        return "eth0" in answer["networks"]

    eventually(received, seconds=SECONDS, what="an interface")
    shown = wherry("stats", "--no-stream", "--format", "json", "netty").ok()
    assert re.fullmatch(r"[\d.]+k?B / [\d.]+k?B", json.loads(shown)["NetIO"])


def test_disk_usage_by_version(wherry: Cli, engine: Engine) -> None:
    """Docker's answers: only rows up to 1.51, sums beside them after."""
    sleeping(engine, "big")
    rows = {"Images", "Containers", "Volumes", "BuildCache", "LayersSize"}
    sums = {"ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"}

    def keys(path: str) -> dict[str, Any]:
        with Client(engine.socket, timeout=60, api="") as client:
            status, body = client.request("GET", path)
            assert status == 200, body
            found: dict[str, Any] = json.loads(body)
            return found

    assert set(keys("/v1.24/system/df")) == rows
    assert set(keys("/v1.51/system/df")) == rows
    assert set(keys("/v1.52/system/df")) == rows | sums
    assert "VirtualSize" in keys("/v1.43/system/df")["Images"][0]
    assert "VirtualSize" not in keys("/v1.44/system/df")["Images"][0]
    some = keys("/v1.45/system/df?type=container")
    assert some["Containers"]
    assert some["Images"] is None
    assert "Items" not in keys("/v1.52/system/df")["ImageUsage"]
    assert keys("/v1.52/system/df?verbose=1")["ImageUsage"]["Items"]


def test_sizes(cli: Cli, engine: Engine) -> None:
    filled = engine.run("sh", "-c", "head -c 3000000 /dev/zero >/file; echo x", name="big")
    assert engine.wait(filled) == 0
    (whole,) = json.loads(cli("inspect", "--size", "big").ok())
    assert whole["SizeRw"] >= 3_000_000
    assert whole["SizeRootFs"] > whole["SizeRw"]
    (plain,) = json.loads(cli("inspect", "big").ok())
    assert "SizeRw" not in plain
    assert "3MB (virtual" in cli("ps", "-as", "--format", "{{.Size}}").ok()
    table = cli("system", "df").ok().splitlines()
    assert table[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert table[2].split()[:3] == ["Containers", "1", "0"]
    assert "3MB (100%)" in table[2]
    verbose = cli("system", "df", "-v").ok()
    assert "Containers space usage:" in verbose
    assert re.search(r"3MB .* big", verbose)


def test_processes(cli: Cli, engine: Engine) -> None:
    engine.run("sh", "-c", "sleep 600 & sleep 600 & wait", name="three")
    eventually(
        lambda: len(engine.get("/containers/three/top").json["Processes"]) == 3, seconds=SECONDS
    )
    lines = cli("top", "three").ok().splitlines()
    assert lines[0].split()[:3] == ["UID", "PID", "PPID"]
    assert len(lines) == 4
    lines = cli("top", "three", "-o", "pid,args").ok().splitlines()
    assert lines[0].split() == ["PID", "COMMAND"]
    wrong = cli("top", "three", "-Q")
    assert wrong.code == 1
    assert len(wrong.err.strip().splitlines()) == 1
    engine.create("true", name="idle")
    stopped = cli("top", "idle")
    assert stopped.code == 1
    assert "is not running" in stopped.err


def test_ports(cli: Cli) -> None:
    cli("run", "-d", "--name", "open", "-p", "127.0.0.1::80", "-p", "127.0.0.1::53/udp", BASE,
        "sleep", "600").ok()  # fmt: skip
    lines = cli("port", "open").ok().splitlines()
    assert sorted(line.split(" -> ")[0] for line in lines) == ["53/udp", "80/tcp"]
    address = next(line.split(" -> ")[1] for line in lines if line.startswith("80/tcp"))
    assert cli("port", "open", "80").ok() == address
    assert cli("port", "open", "80/tcp").ok() == address
    missing = cli("port", "open", "81")
    assert missing.code == 1
    assert "No public port '81" in missing.err
