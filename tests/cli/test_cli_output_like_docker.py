"""What ``wherry`` prints is what Docker's client prints for the same answers of a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.fake_daemon import Exchange, FakeDaemon
from tests.support.clients import LIKE_DOCKER, like_docker

from wherry.cli.main import main

pytestmark = like_docker

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
NOW = int(time.time())


def container(**more: Any) -> dict[str, Any]:
    return {
        "Id": ID,
        "Names": ["/web", "/other/alias"],
        "Image": "busybox:latest",
        "ImageID": "sha256:" + OTHER,
        "Command": 'sh -c "echo a very long command"',
        "Created": NOW - 7300,
        "Ports": [],
        "Labels": {"b": "2", "a": "1", "com.example.x": "y"},
        "State": "running",
        "Status": "Up 2 hours",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {}}},
        "Mounts": [
            {"Type": "volume", "Name": "a-volume-with-a-long-name", "Driver": "local"},
            {"Type": "bind", "Source": "/a/folder/somewhere", "Destination": "/x"},
        ],
        "SizeRw": 12345,
        "SizeRootFs": 4261551,
        **more,
    }


CONTAINERS = [
    container(
        Ports=[
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 91, "PublicPort": 91, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 90, "PublicPort": 90, "Type": "tcp"},
            {"PrivatePort": 53, "Type": "udp"},
            {"PrivatePort": 54, "Type": "udp"},
            {"PrivatePort": 56, "Type": "udp"},
        ]
    ),
    container(
        Id=OTHER,
        Names=["/x"],
        Image="sha256:" + OTHER,
        Command='\x1b[1m\a\0\x7f\u200b\u00a0\U000e0001é"',
        Labels={},
    ),
    container(
        Id="1" * 64,
        Names=["/by-digest"],
        Image="repo/name@sha256:" + ID,
        Mounts=[],
        NetworkSettings={"Networks": {}},
        SizeRw=0,
        SizeRootFs=0,
        State="exited",
        Status="Exited (0) 3 weeks ago",
        Created=NOW - 86400 * 100,
    ),
]

IMAGES: list[dict[str, Any]] = [
    {
        "Id": "sha256:" + "d" * 64,
        "RepoTags": ["never:made"],
        "RepoDigests": [],
        "Created": -62135596800,
        "Size": 1,
        "SharedSize": -1,
        "Containers": -1,
    },
    {
        "Id": "sha256:" + ID,
        "ParentId": "",
        "RepoTags": ["busybox:latest", "registry.example:5000/team/app:v1"],
        "RepoDigests": ["busybox@sha256:" + OTHER],
        "Created": NOW - 400,
        "Size": 4261551,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": None,
    },
    {
        "Id": "sha256:" + OTHER,
        "RepoTags": ["<none>:<none>"],
        "RepoDigests": ["<none>@<none>"],
        "Created": NOW - 86400 * 400,
        "Size": 999,
        "SharedSize": 12,
        "Containers": 2,
    },
    {
        "Id": "sha256:" + "a" * 64,
        "RepoTags": [],
        "RepoDigests": ["only/digest@sha256:" + OTHER],
        "Created": 0,
        "Size": 1234567890,
        "SharedSize": -1,
        "Containers": -1,
    },
]

NETWORKS = [
    {
        "Id": digit * 64,
        "Name": name,
        "Driver": "bridge",
        "Scope": "local",
        "EnableIPv4": True,
        "Labels": {"a": "1"},
        "Created": "2026-01-02T03:04:05.678Z",
    }
    for digit, name in (("1", "net10"), ("2", "net2"), ("3", "bridge"), ("4", "Zed"))
]

HISTORY = [
    {
        "Id": "sha256:" + ID,
        "Created": NOW - 100,
        "CreatedBy": '/bin/sh -c #(nop)  CMD ["sh"] and\tmore text that is long',
        "Size": 0,
        "Comment": "made here",
        "Tags": ["busybox:latest"],
    },
    {"Id": "<missing>", "Created": NOW - 10**7, "CreatedBy": "x", "Size": 4261551, "Comment": ""},
    {"Id": "<missing>", "Created": 0, "CreatedBy": "of no time", "Size": 0, "Comment": ""},
    {"Id": "<missing>", "Created": -1, "CreatedBy": "before", "Size": 0, "Comment": ""},
]

INSPECTED = {
    "Id": ID,
    "Created": "2026-01-02T03:04:05.678Z",
    "Path": "sh",
    "Args": ["-c", "a < b && c"],
    "State": {"Status": "running", "Running": True, "Pid": 12, "ExitCode": 0},
    "Name": "/web",
    "Config": {"Env": ["A=1", "B=<x>"], "Labels": {"x.y": "z"}, "Tty": False, "Image": "busybox"},
    "HostConfig": {"Memory": 0, "Binds": None},
    "NetworkSettings": {
        "Ports": {
            "80/tcp": [
                {"HostIp": "0.0.0.0", "HostPort": "8080"},
                {"HostIp": "::", "HostPort": "8080"},
            ],
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}],
            "9/tcp": None,
        }
    },
}

EVENTS = [
    {
        "status": "start",
        "id": ID,
        "from": "busybox",
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": ID, "Attributes": {"name": "web", "image": "busybox"}},
        "scope": "local",
        "time": NOW,
        "timeNano": NOW * 10**9 + 1234,
    },
    {
        "Type": "network",
        "Action": "create",
        "Actor": {"ID": OTHER, "Attributes": {}},
        "scope": "local",
        "time": NOW,
        "timeNano": NOW * 10**9,
    },
]

DF = {
    "LayersSize": 5000000,
    "Images": [
        {**IMAGES[1], "Containers": 1, "SharedSize": 100},
        {**IMAGES[3], "Containers": 0, "SharedSize": 0},
    ],
    "Containers": [CONTAINERS[0], CONTAINERS[2]],
    "Volumes": [
        {"Name": "v1", "Driver": "local", "UsageData": {"Size": 1000, "RefCount": 1}},
        {"Name": "v2", "Driver": "local", "UsageData": {"Size": 3000, "RefCount": 0}},
    ],
    "BuildCache": [
        {
            "ID": "abcdefghijklmnop",
            "Type": "regular",
            "Description": "x",
            "InUse": False,
            "Shared": False,
            "Size": 12345,
            "CreatedAt": "2020-01-02T03:04:05Z",
            "LastUsedAt": None,
            "UsageCount": 3,
        }
    ],
}


def sample(memory: dict[str, Any], blkio: list[dict[str, Any]] | None) -> dict[str, Any]:
    """One answer of ``/stats``; ``memory`` and ``blkio`` differ by the version of cgroups."""

    def cpu(total: int, system: int) -> dict[str, Any]:
        return {
            "cpu_usage": {"total_usage": total, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
            "system_cpu_usage": system,
            "online_cpus": 4,
            "throttling_data": {},
        }

    return {
        "read": "2020-01-02T03:04:05.5Z",
        "preread": "2020-01-02T03:04:04.5Z",
        "id": ID,
        "name": "/web",
        "pids_stats": {"current": 7},
        "cpu_stats": cpu(2_500_000, 40_000_000),
        "precpu_stats": cpu(500_000, 20_000_000),
        "memory_stats": memory,
        "blkio_stats": {"io_service_bytes_recursive": blkio},
        "networks": {
            "eth0": {"rx_bytes": 1000, "tx_bytes": 1_500_000},
            "eth1": {"rx_bytes": 234, "tx_bytes": 0},
        },
    }


STATS = {
    # Version 1 of control groups, version 2, and a container that does not run.
    "web": sample(
        {"usage": 52_428_800, "limit": 1 << 30, "stats": {"total_inactive_file": 10_485_760}},
        [{"op": "Read", "value": 4096}, {"op": "Write", "value": 12_345}, {"op": "Total"}],
    ),
    "two": sample(
        {"usage": 52_428_800, "limit": 1 << 30, "stats": {"inactive_file": 99_999_999}},
        [{"op": "read", "value": 1}, {"op": "write", "value": 2}, {"op": "read", "value": 3}],
    ),
    "idle": {"read": "0001-01-01T00:00:00Z", "name": "/idle", "id": OTHER},
}


def not_there(message: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.reply(404, {"message": message})


def stream(events: list[dict[str, Any]]) -> Callable[[Exchange], None]:
    def answer(exchange: Exchange) -> None:
        exchange.start_chunks(Content_Type="application/json")
        for event in events:
            exchange.chunk(json.dumps(event).encode() + b"\n")
        exchange.chunk(b"")

    return answer


@pytest.fixture
def filled(daemon: FakeDaemon) -> FakeDaemon:
    daemon.on("GET", "/containers/json", CONTAINERS)
    daemon.on("GET", "/images/json", IMAGES)
    daemon.on("GET", "/networks", NETWORKS)
    daemon.on("GET", "/volumes", {"Volumes": [{"Name": "v10"}, {"Name": "v2"}]})
    daemon.on("GET", "/images/busybox/history", HISTORY)
    daemon.on("GET", "/containers/web/json", INSPECTED)
    daemon.on("GET", f"/containers/{ID}/json", INSPECTED)
    daemon.on("GET", "/events", stream(EVENTS))
    daemon.on("GET", "/system/df", DF)
    daemon.on("GET", "/info", {"ID": "x", "Swarm": {"LocalNodeState": "inactive"}})
    daemon.on(
        "GET", "/containers/web/changes", [{"Kind": 0, "Path": "/a"}, {"Kind": 1, "Path": "/b c"}]
    )
    daemon.on(
        "GET",
        "/containers/web/top",
        {
            "Titles": ["UID", "PID", "CMD"],
            "Processes": [["root", "1", "sh -c x"], ["u", "22", "y"]],
        },
    )
    daemon.on("GET", "/containers/idle/top", {"Titles": ["PID"], "Processes": None})
    for name, statistics in STATS.items():
        daemon.on("GET", f"/containers/{name}/stats", statistics)
    daemon.on("GET", "/containers/gone/stats", not_there("No such container: gone"))
    for kind in ("containers", "images"):
        daemon.on("GET", f"/{kind}/gone/json", not_there(f"No such {kind[:-1]}: gone"))
        daemon.on("GET", f"/{kind}/img/json", not_there(f"No such {kind[:-1]}: img"))
    daemon.on("GET", "/images/img/json", {"Id": "sha256:" + ID, "RepoTags": ["img:latest"]})
    for kind, name in (("networks", "network"), ("volumes", "volume")):
        daemon.on("GET", f"/{kind}/gone", not_there(f"no such {name}: gone"))
    for name in ("gone", "web"):
        for verb in ("start", "stop", "kill", "restart", "pause", "unpause", "rename", "update"):
            answer: Any = not_there("No such container: gone") if name == "gone" else {}
            daemon.on("POST", f"/containers/{name}/{verb}", answer)
    daemon.on("POST", "/containers/web/update", {"Warnings": ["careful"]})
    daemon.on("DELETE", "/containers/web", lambda exchange: exchange.raw(204, b""))
    daemon.on("DELETE", "/containers/gone", not_there("No such container: gone"))
    daemon.on("POST", "/containers/web/wait", {"StatusCode": 3})
    daemon.on("DELETE", "/images/img", [{"Untagged": "img:latest"}, {"Deleted": "sha256:" + ID}])
    daemon.on("DELETE", "/images/gone", not_there("No such image: gone"))
    daemon.on("POST", "/images/img/tag", lambda exchange: exchange.raw(201, b""))
    daemon.on("POST", "/commit", lambda exchange: exchange.reply(201, {"Id": "sha256:" + ID}))
    daemon.on(
        "POST", "/containers/prune", {"ContainersDeleted": [ID, OTHER], "SpaceReclaimed": 12345}
    )
    daemon.on(
        "POST",
        "/images/prune",
        {"ImagesDeleted": [{"Untagged": "x:y"}, {"Deleted": "sha256:z"}], "SpaceReclaimed": 0},
    )
    daemon.on("POST", "/networks/prune", {"NetworksDeleted": ["n1"]})
    daemon.on("POST", "/volumes/prune", {"VolumesDeleted": ["v1"], "SpaceReclaimed": 7})
    daemon.on("POST", "/build/prune", {"CachesDeleted": None, "SpaceReclaimed": 0})
    return daemon


COMMANDS: list[list[str]] = [
    ["ps"],
    ["ps", "-a", "--no-trunc"],
    ["ps", "-q"],
    ["ps", "-q", "--no-trunc"],
    ["ps", "-q", "--format", "{{.Names}}"],
    ["ps", "-q", "--format", "table"],
    ["ps", "-s"],
    ["ps", "-n", "3", "-f", "status=running", "-f", "label=a=b"],
    ["ps", "--format", '{{.ID}} {{.Names}} {{.Label "com.example.x"}}'],
    ["ps", "--format", "table {{.ID}}\\t{{.Names}}\\t{{.Ports}}\\t{{.Mounts}}"],
    ["ps", "--format", 'table {{.Names}}\\t{{.Label "a"}}\\t{{.RunningFor}}'],
    ["ps", "--format", "{{.CreatedAt}}|{{.Networks}}|{{.LocalVolumes}}|{{.Labels}}|{{.State}}"],
    ["ps", "--format", "{{.Image}}|{{.Command}}|{{.Status}}|{{.Size}}"],
    ["ps", "--no-trunc", "--format", "{{.Image}}|{{.Command}}|{{.Names}}|{{.Mounts}}"],
    ["ps", "--format", "{{upper .Names}} {{json .Ports}}"],
    ["container", "list", "-q"],
    ["ps", "--filter", "bogus"],
    ["images"],
    ["images", "--digests"],
    ["images", "--no-trunc"],
    ["images", "-q"],
    ["images", "-q", "--format", "table"],
    ["images", "-q", "--format", "{{.Tag}}"],
    ["images", "busybox"],
    ["images", "-f", "dangling=true", "-a"],
    ["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.CreatedAt}}"],
    ["images", "--format", "table {{.ID}}\\t{{.Digest}}\\t{{.SharedSize}}\\t{{.Containers}}"],
    ["image", "ls", "--format", "{{.CreatedSince}}|{{.VirtualSize}}|{{.UniqueSize}}"],
    ["history", "busybox"],
    ["history", "--no-trunc", "busybox"],
    ["history", "-H=false", "busybox"],
    ["history", "-q", "busybox"],
    ["history", "-q", "--format", "table", "busybox"],
    ["history", "--format", "{{.ID}}|{{.CreatedAt}}|{{.CreatedBy}}|{{.Comment}}", "busybox"],
    ["network", "ls"],
    ["network", "ls", "-q"],
    ["network", "ls", "-q", "--format", "table"],
    ["network", "ls", "-q", "--format", "{{.Name}}"],
    ["volume", "ls"],
    ["volume", "ls", "-q", "--format", "table"],
    ["volume", "ls", "-q", "--format", "{{.Name}}"],
    ["inspect", "web"],
    ["inspect", "web", "gone"],
    ["inspect", "gone"],
    ["inspect", "img"],
    ["inspect", "-f", "{{.Name}} {{.State.Pid}} {{json .Config.Env}}", "web"],
    ["inspect", "-f", '{{index .Config.Labels "x.y"}} {{len .Args}}', "web"],
    ["inspect", "-f", "{{range $p, $b := .NetworkSettings.Ports}}{{$p}} {{end}}", "web"],
    ["inspect", "-f", "{{.Nope}}", "web"],
    ["inspect", "-f", "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "web"],
    ["inspect", "-f", "{{.State.Health.Status}}", "web"],
    ["inspect", "-f", "{{range .HostConfig.Mounts}}x{{end}}{{len .HostConfig.Tmpfs}}", "web"],
    ["inspect", "-f", "{{json .Config.Healthcheck}}|{{.Config.StopSignal}}|{{.SizeRw}}", "web"],
    ["inspect", "-f", "{{range .Mounts}}{{.Name}}|{{.Driver}} {{end}}", "web"],
    ["inspect", "-f", "{{.HostConfig.Nope}}", "web"],
    ["inspect", "-f", "{{.Author}}|{{json .Config.Volumes}}|{{.Config.Healthcheck}}", "img"],
    ["inspect", "-f", "{{", "web"],
    ["inspect", "-f", "{{.Name}}", "gone"],
    ["inspect", "--type", "container", "gone"],
    ["inspect", "--type", "image", "img"],
    ["inspect", "--type", "nonsense", "img"],
    ["container", "inspect", "gone", "web"],
    ["image", "inspect", "gone"],
    ["inspect", "--format", "json", "web"],
    ["events"],
    ["events", "--format", "{{.Type}} {{.Action}} {{.Actor.ID}}"],
    ["events", "--since", "10m", "--until", "5m", "-f", "type=container"],
    ["system", "events", "--format", "{{json .}}"],
    ["logs", "--since", "foo", "web"],
    ["logs", "--until", "foo", "web"],
    ["logs", "--since", "2013-01-02T13:23:37.5", "web"],
    ["logs", "--since", "2013-01-02T13:23+02:00", "web"],
    ["logs", "--until", "2013-01-02T13-05:00", "web"],
    ["logs", "--since", "2013-01-02+01:00", "web"],
    ["logs", "--since", "2013-01-02T13", "--until", "2013-01-02Z", "web"],
    ["ps", "-a", "--format", "{{json .Names}}{{json .ID}}"],
    ["diff", "web"],
    ["top", "web"],
    ["top", "idle"],
    ["port", "web"],
    ["port", "web", "80"],
    ["port", "web", "80/tcp"],
    ["port", "web", "53/udp"],
    ["port", "web", "80/"],
    ["port", "web", "99"],
    ["port", "web", "99999"],
    ["port", "web", "x"],
    ["start", "web", "web"],
    ["start", "web", "gone"],
    ["stop", "web", "gone", "web"],
    ["stop", "-t", "3", "-s", "INT", "web"],
    ["restart", "-t", "0", "web"],
    ["restart", "-t", "x", "web"],
    ["restart", "-t", " 1", "web"],
    ["restart", "-t", "1_0", "web"],
    ["restart", "-t", "99999999999999999999", "web"],
    ["kill", "web", "gone"],
    ["kill", "-s", "HUP", "web"],
    ["pause", "web"],
    ["unpause", "gone", "web"],
    ["rm", "web", "gone"],
    ["rm", "-fv", "gone"],
    ["rm", "", "gone"],
    ["rm", "-f", "web", "gone"],
    ["rename", "web", "new"],
    ["rename", "gone", "new"],
    ["wait", "web", "web"],
    ["update", "--memory", "1g", "web"],
    ["update", "--restart", "always", "web", "gone"],
    ["update", "web"],
    ["rmi", "img"],
    ["rmi", "gone"],
    ["rmi", "-f", "gone"],
    ["rmi", "img", "gone"],
    ["tag", "img", "other:v1"],
    ["tag", "img", "other"],
    ["commit", "web"],
    ["commit", "-a", "me", "-m", "note", "-c", "CMD x", "-p=false", "web", "repo:tag"],
    ["system", "df"],
    ["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}"],
    ["system", "df", "-v"],
    ["stats", "--no-stream", "web"],
    ["stats", "--no-stream", "two"],
    ["stats", "--no-stream", "idle"],
    ["stats", "--no-stream", "--no-trunc", "web"],
    ["stats", "--no-stream", "--format", "json", "web"],
    ["stats", "--no-stream", "--format", "table {{.Container}}\\t{{.MemPerc}}\\t{{.PIDs}}", "web"],
    ["stats", "--no-stream", "gone"],
    ["container", "prune", "-f"],
    ["image", "prune", "-f"],
    ["image", "prune", "-af", "--filter", "until=24h"],
    ["ps", "extra"],
    ["rm"],
    ["rename", "x"],
    ["ps", "--nope"],
    ["no-such-command"],
    ["container", "no-such-command"],
]

UNLIKE = {
    ("update", "web"),
    ("container", "no-such-command"),
    ("inspect", "--type", "nonsense", "img"),
}
"""Where our text is our own; only the exit code is compared."""


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_output(
    filled: FakeDaemon, argv: list[str], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    docker = subprocess.run(
        [LIKE_DOCKER, *argv],
        cwd=tmp_path,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "dumb", "TZ": "UTC"},
    )
    asked = [(one.method, one.path) for one in filled.requests if one.path != "/_ping"]
    filled.requests.clear()
    code = main(argv)
    own = capfdbinary.readouterr()
    assert code == docker.returncode, (own, docker)
    if tuple(argv) in UNLIKE:
        return
    if "images" in argv or argv[:2] == ["image", "ls"]:
        # Docker's client keeps an image's names in a map: their order changes from run to run.
        assert sorted(own.out.splitlines()) == sorted(docker.stdout.splitlines())
    else:
        assert own.out.decode() == docker.stdout.decode()
    assert own.err.decode() == docker.stderr.decode().replace("docker", "wherry")
    changes = [one for one in asked if one[0] != "GET"]
    assert sorted(changes) == sorted(
        (one.method, one.path)
        for one in filled.requests
        if one.path != "/_ping" and one.method != "GET"
    )


MOMENTS = [
    "2013-01-02T13:23:37.5", "2013-01-02T13:23+02:00", "2013-01-02T13-05:00", "2013-01-02+01:00",
    "2013-01-02T13", "2013-01-02Z", "2013-01-02T13:23:37.123456789Z", "1357133017.5", "1",
]  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS)
def test_moments_are_sent_as_docker_sends_them(
    filled: FakeDaemon, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        for argv in (["logs", "--since", moment, "web"], ["logs", "--until", moment, "web"]):
            filled.requests.clear()
            subprocess.run([LIKE_DOCKER, *argv], cwd=tmp_path, capture_output=True)
            main(argv)
            docker, own = (one.query for one in filled.requests if one.path.endswith("/logs"))
            assert own == docker
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_whole_row_as_json_has_the_size(filled: FakeDaemon) -> None:
    assert main(["ps", "--format", "{{json .}}"]) == 0
    (listed,) = filled.sent("GET", "/containers/json")
    assert listed.query["size"] == ["1"]


def test_disk_usage_for_programs_is_not_cut(
    filled: FakeDaemon, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ["system", "df", "-v", "--format", "json"]
    docker = json.loads(subprocess.check_output([LIKE_DOCKER, *argv], cwd=tmp_path))
    assert main(argv) == 0
    own = json.loads(capfd.readouterr().out)
    for kind, keys in (("Images", ["ID"]), ("Containers", ["ID", "Image", "Command", "Mounts"])):
        for key in keys:
            assert [one[key] for one in own[kind]] == [one[key] for one in docker[kind]]


def test_ports_are_in_dockers_order(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """As Docker's client 26 prints this container."""

    def bound(*places: tuple[str, str]) -> list[dict[str, str]]:
        return [{"HostIp": host, "HostPort": port} for host, port in places]

    ports = {
        "443/tcp": bound(("::", "8443"), ("0.0.0.0", "8443")),
        "80/udp": bound(("127.0.0.1", "80")),
        "80/tcp": bound(("::", "900"), ("0.0.0.0", "9000"), ("0.0.0.0", "900"), ("10.0.0.1", "1")),
        "8/tcp": None,
        "7/tcp": bound(("0.0.0.0", "")),  # of a routed network
        "9/sctp": bound(("127.0.0.10", "1"), ("127.0.0.2", "1")),
    }
    daemon.on("GET", "/containers/web/json", {"Id": "1", "NetworkSettings": {"Ports": ports}})
    assert main(["port", "web"]) == 0
    assert main(["port", "web", "80"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "9/sctp -> 127.0.0.2:1",
        "9/sctp -> 127.0.0.10:1",
        "80/tcp -> 0.0.0.0:900",
        "80/tcp -> 0.0.0.0:9000",
        "80/tcp -> 10.0.0.1:1",
        "80/tcp -> [::]:900",
        "80/udp -> 127.0.0.1:80",
        "443/tcp -> 0.0.0.0:8443",
        "443/tcp -> [::]:8443",
        "0.0.0.0:900",
        "0.0.0.0:9000",
        "10.0.0.1:1",
        "[::]:900",
    ]
