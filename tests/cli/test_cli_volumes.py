"""``wherry volume``: Docker's commands give Docker's output; the others send what is asked."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.cli.fake_daemon import FakeDaemon
from tests.support.clients import LIKE_DOCKER, like_docker

from wherry.cli.format import natural
from wherry.cli.main import main

VOLUMES: dict[str, Any] = {
    "Volumes": [
        {
            "CreatedAt": "2026-01-01T00:00:00Z",
            "Driver": "local",
            "Labels": labels,
            "Mountpoint": f"/v/{name}/_data",
            "Name": name,
            "Options": None,
            "Scope": "local",
        }
        for name, labels in (("v10", {"a": "1"}), ("v2", None), ("v1", {}))
    ],
    "Warnings": None,
}


@pytest.fixture
def filled(daemon: FakeDaemon) -> FakeDaemon:
    daemon.on("GET", "/volumes", VOLUMES)
    daemon.on("GET", "/volumes/v1", VOLUMES["Volumes"][2])
    daemon.on("POST", "/volumes/create", {"Name": "made"})
    daemon.on("DELETE", "/volumes/v1", lambda exchange: exchange.raw(204, b""))
    for method in ("GET", "DELETE"):
        daemon.on(
            method,
            "/volumes/gone",
            lambda exchange: exchange.reply(404, {"message": "get gone: no such volume"}),
        )
    pruned = {"VolumesDeleted": ["v1", "v2"], "SpaceReclaimed": 12345}
    daemon.on("POST", "/volumes/prune", pruned)
    usage = [{**VOLUMES["Volumes"][0], "UsageData": {"Size": 12, "RefCount": 2}}]
    daemon.on("GET", "/system/df", {"Volumes": usage})
    return daemon


@like_docker
@pytest.mark.parametrize(
    "argv",
    [
        "ls",
        "ls -q",
        "ls --filter dangling=true",
        "ls --format json",
        "ls --format {{.Name}}:{{.Labels}}:{{.Scope}}:{{.Mountpoint}}",
        'ls --format table\t{{.Name}}\t{{.Label "a"}}',
        "inspect v1",
        "inspect v1 gone",
        "inspect -f {{.Mountpoint}} v1",
        "create",
        "create name",
        "create -d other -o type=nfs -o o=addr=x --label k=v --label w name",
        "rm v1",
        "rm v1 gone",
        "rm -f v1",
        "rm",
        "prune -f",
        "prune -af --filter label=x",
    ],
)
def test_like_docker(
    filled: FakeDaemon, argv: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["volume", *argv.split(" ")]
    words = [each.replace("\t", " ", 1) if each.startswith("table") else each for each in words]
    docker = subprocess.run(
        [LIKE_DOCKER, *words],
        cwd=tmp_path,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "dumb", "TZ": "UTC"},
    )
    asked = _asked(filled)
    filled.requests.clear()
    code = main(words)
    own = capfdbinary.readouterr()
    assert code == docker.returncode, (own, docker)
    assert own.out.strip() == docker.stdout.strip()
    ours, theirs = own.err.decode(), docker.stderr.decode()
    assert bool(ours) is bool(theirs)
    if "Usage:" not in theirs:
        assert ours.strip() == theirs.strip()
    assert _asked(filled) == asked


def _asked(daemon: FakeDaemon) -> list[Any]:
    """What was sent, keys without a value left out."""
    found: list[Any] = []
    for one in daemon.requests:
        if one.path == "/_ping":
            continue
        body = {k: v for k, v in (one.json if one.body else {}).items() if v}
        query = {k: _decoded(v[0]) for k, v in one.query.items() if v not in ([""], ["{}"])}
        found.append((one.method, one.path, query, body))
    return found


def _decoded(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


def test_sizes(filled: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["volume", "ls", "--size"]) == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["local", "v1", "N/A", "N/A"],
        ["local", "v2", "N/A", "N/A"],
        ["local", "v10", "2", "12B"],
    ]


@pytest.mark.parametrize(
    ("argv", "method", "path", "query", "body"),
    [
        (["rename", "v1", "v2"], "POST", "v1/rename", {"name": ["v2"]}, None),
        (
            ["update", "v1", "--size", "1g", "--label-add", "a=b", "--label-rm", "c"],
            "POST",
            "v1/update",
            {},
            {"Size": 1 << 30, "Labels": {"a": "b"}, "RemoveLabels": ["c"]},
        ),
        (
            ["clone", "-o", "size=1g", "v1", "v2"],
            "POST",
            "v1/clone",
            {},
            {"Name": "v2", "DriverOpts": {"size": "1g"}, "Labels": None},
        ),
        (["snapshot", "v1", "s1"], "POST", "v1/snapshots", {"name": ["s1"]}, None),
        (["snapshot", "--remove", "v1", "s1"], "DELETE", "v1/snapshots/s1", {}, None),
        (["restore", "v1", "s1"], "POST", "v1/snapshots/s1/restore", {}, None),
    ],
)
def test_beyond_docker(
    daemon: FakeDaemon,
    argv: list[str],
    method: str,
    path: str,
    query: dict[str, list[str]],
    body: Any,
) -> None:
    daemon.on(method, f"/wherry/volumes/{path}", {"Name": "x"})
    assert main(["volume", *argv]) == 0
    (sent,) = daemon.sent(method, f"/wherry/volumes/{path}")
    assert sent.query == query
    assert (sent.json if sent.body else None) == body


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["export", "a/b"], "get a/b: no such volume"),
        (["import", "a/b"], "get a/b: no such volume"),
        (["clone", "a/b", "c"], "get a/b: no such volume"),
        (["rename", "a/b", "c"], "get a/b: no such volume"),
        (["update", "--size", "1g", "a/b"], "get a/b: no such volume"),
        (["snapshot", "a/b"], "get a/b: no such volume"),
        (["restore", "a/b", "s1"], "get a/b: no such volume"),
        (["restore", "v1", "a/b"], "volume v1 has no snapshot a/b"),
        (["snapshot", "--remove", "v1", "a/b"], "volume v1 has no snapshot a/b"),
        (["snapshot", "--remove", "v1", ""], "--remove needs the name of a snapshot"),
        (["snapshot", "v1", ""], "the name of the snapshot is empty"),
        (["restore", "v1", ""], "the name of the snapshot is empty"),
    ],
)
def test_a_name_that_is_part_of_a_path(
    daemon: FakeDaemon, argv: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is told as such, and no other path is asked for."""
    assert main(["volume", *argv]) == 1
    assert capfd.readouterr().err.strip() == says
    assert not [one for one in daemon.requests if one.path != "/_ping"]


def test_warnings_and_refusals_of_an_update_name_the_flags(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = {"Name": "v1", "Warnings": ["RemoveLabels: the volume has no label RemoveLabels"]}
    daemon.on("POST", "/wherry/volumes/v1/update", answer)
    assert main(["volume", "update", "--label-rm", "RemoveLabels", "v1"]) == 0
    assert capfd.readouterr() == ("v1\n", "--label-rm: the volume has no label RemoveLabels\n")
    refusal = {"message": "Labels and RemoveLabels both name a"}
    daemon.on("POST", "/wherry/volumes/v1/update", lambda exchange: exchange.reply(400, refusal))
    assert main(["volume", "update", "--label-add", "a", "--label-rm", "a", "v1"]) == 1
    assert "--label-add and --label-rm both name a" in capfd.readouterr().err


def test_update_without_a_change_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["volume", "update", "v1"]) == 1
    assert "nothing to update" in capfd.readouterr().err


def test_export_and_import(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.on("GET", "/wherry/volumes/v1/export", lambda exchange: exchange.raw(200, b"tar"))
    daemon.on("POST", "/wherry/volumes/v1/import", lambda exchange: exchange.raw(204, b""))
    target = tmp_path / "out.tar"
    assert main(["volume", "export", "-o", str(target), "v1"]) == 0
    assert target.read_bytes() == b"tar"
    assert main(["volume", "import", "--overwrite", "v1", str(target)]) == 0
    (sent,) = daemon.sent("POST", "/wherry/volumes/v1/import")
    assert sent.body == b"tar"
    assert "overwrite" in sent.query


def test_names_count() -> None:
    assert sorted(["v10", "v2", "a", "9z", "10a"], key=natural) == ["9z", "10a", "a", "v2", "v10"]
