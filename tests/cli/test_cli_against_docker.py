"""What ``wherry create`` sends is what Docker's own client sends for the same flags."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.cli.fake_daemon import FakeDaemon
from tests.support.clients import LIKE_DOCKER, like_docker

from wherry.cli.main import main

pytestmark = like_docker

CASES: list[list[str]] = [
    [],
    ["-it"],
    ["-i"],
    ["-t", "--name", "x"],
    ["-a", "stdin", "-a", "STDOUT"],
    ["-i", "-a", "stderr"],
    ["--rm", "--init"],
    ["--init=false", "--rm=false"],
    ["-e", "A=1", "-e", "B=2", "-e", "HOME", "-e", "SURELY_NOT_SET_X"],
    ["-l", "a=1", "-l", "b", "--label", "c=x=y"],
    ["-p", "8080:80", "-p", "127.0.0.1:53:53/udp", "-p", "7000-7002:8000-8002", "-p", "9"],
    ["-p", "9000-9005:80", "-p", "[::1]:1:2", "-p", ":3", "-p", "127.0.0.1::99"],
    ["-p", "published=8080,target=80,protocol=udp", "-P"],
    ["--expose", "80", "--expose", "90-92/udp"],
    ["-v", "/a:/b", "-v", "vol:/c:ro", "-v", "/anon", "-v", "./rel:/d"],
    ["--mount", "type=bind,source=/a,target=/b,readonly", "--mount", "src=v,dst=/c"],
    ["--mount", "type=tmpfs,dst=/t,tmpfs-size=10m,tmpfs-mode=1770"],
    ["--mount", "type=bind,src=/a,dst=/b,bind-propagation=rslave,bind-recursive=disabled"],
    ["--mount", 'type=volume,src=v,dst=/b,volume-nocopy,"volume-opt=o=a,b",volume-label=x=y'],
    ["--mount", "type=volume,src=v,dst=/b,volume-driver=local,volume-subpath=s,ro=true"],
    ["--mount", "type=image,src=busybox,dst=/b,image-subpath=bin"],
    ["--tmpfs", "/run:size=1m", "--tmpfs", "/x"],
    ["--ulimit", "nofile=1024:2048", "--ulimit", "core=0", "--ulimit", "nproc=-1"],
    ["--device", "/dev/null", "--device", "/dev/zero:/dev/z:r", "--device", "/dev/zero:rw"],
    ["--device-cgroup-rule", "c 1:3 rwm", "--device", "vendor.com/gpu=0"],
    ["--device-read-bps", "/dev/sda:1mb", "--device-write-iops", "/dev/sda:100"],
    ["--blkio-weight", "100", "--blkio-weight-device", "/dev/sda:200"],
    ["--cpus", "1.5", "-c", "512", "--cpuset-cpus", "0-1", "--cpuset-mems", "0"],
    ["--cpu-period", "50000", "--cpu-quota", "25000"],
    ["-m", "512m", "--memory-swap", "-1", "--memory-reservation", "1g", "--kernel-memory", "4m"],
    ["-m", "1.5gib", "--memory-swap", "2G", "--memory-swappiness", "10"],
    ["--pids-limit", "100", "--oom-kill-disable", "--oom-score-adj", "-500"],
    ["--restart", "always"],
    ["--restart", "on-failure:3"],
    ["--restart", "unless-stopped"],
    ["--health-cmd", "true || false", "--health-interval", "1m30s", "--health-retries", "3"],
    ["--health-timeout", "1s", "--health-start-period", "2s", "--health-start-interval", "500ms"],
    ["--no-healthcheck"],
    ["--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "tag={{.Name}}"],
    ["--log-driver", "none"],
    ["--network", "none"],
    ["--network", "host", "--add-host", "a:1.2.3.4", "--add-host", "b=::1"],
    ["--add-host", "c:host-gateway", "--add-host", "d:[::1]"],
    ["--network", "mynet", "--ip", "10.0.0.5", "--network-alias", "x", "--network-alias", "y"],
    ["--network", "name=mynet,alias=x,ip=10.0.0.5,driver-opt=k=v,mac-address=02:42:ac:11:00:02"],
    ["--network", "mynet", "--network", "name=other,alias=o,gw-priority=5"],
    ["--network", "mynet", "--ip6", "fd00::5", "--link-local-ip", "169.254.1.1"],
    ["--network", "container:abc"],
    ["--mac-address", "92:d0:c6:0a:29:33"],
    ["--network", "mynet", "--mac-address", "92:d0:c6:0a:29:33", "--link", "other:alias"],
    ["--link", "other", "--link", "more:m"],
    ["--ip", "10.0.0.9"],
    ["--dns", "1.1.1.1", "--dns-search", "example.com", "--dns-option", "ndots:2"],
    ["--dns-search", "."],
    ["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"],
    ["--security-opt", "systempaths=unconfined", "--security-opt", "label:disable"],
    ["--security-opt", "apparmor=unconfined"],
    ["--cap-add", "NET_ADMIN", "--cap-drop", "ALL", "--privileged", "--read-only"],
    ["--entrypoint", "/bin/sh"],
    ["--entrypoint", ""],
    ["--stop-signal", "SIGINT", "--stop-timeout", "5"],
    ["--annotation", "a=b", "--annotation", "c=d", "--annotation", "e"],
    ["-v", "a::b", "-v", "a:b:c:d"],
    ["--runtime", "runc", "--sysctl", "net.core.somaxconn=1024", "--cgroupns", "host"],
    ["--gpus", "all"],
    ["--gpus", "2"],
    ["--gpus", '"device=0,1",capabilities=utility'],
    ["--pid", "host", "--ipc", "host", "--uts", "host", "--userns", "host"],
    ["--pid", "container:x", "--ipc", "container:x"],
    ["--hostname", "h", "--domainname", "d", "-u", "1000:1000", "-w", "/w"],
    ["--group-add", "audio", "--group-add", "1001", "--cgroup-parent", "/x"],
    ["--shm-size", "128m", "--storage-opt", "size=10G", "--volume-driver", "x"],
    ["--volumes-from", "a:ro", "--volumes-from", "b", "--isolation", "default"],
    ["--platform", "linux/arm64"],
    ["-h", "short", "--publish-all", "--quiet"],
    ["-itu", "root", "-w=/x", "--name=n", "-eX=1"],
]


def normal(value: Any) -> Any:
    """Without what says nothing: empty, zero, null, the client's defaults."""
    if isinstance(value, dict):
        kept = {key: normal(one) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one not in (None, "", 0, False, [], {})}
    if isinstance(value, list):
        return [normal(one) for one in value]
    return value


def comparable(body: dict[str, Any]) -> dict[str, Any]:
    """The body with the order of what Docker's client keeps in maps taken out."""
    host = body["HostConfig"]
    if host.get("MemorySwappiness") == -1:
        del host["MemorySwappiness"]
    host.pop("ConsoleSize", None)
    for part, key in (
        (body["HostConfig"], "Binds"),
        (body, "Env"),
        (body["HostConfig"], "Ulimits"),
    ):
        if part.get(key):
            part[key] = sorted(part[key], key=str)
    # The zero policy and "no" are the same.
    if body["HostConfig"].get("RestartPolicy", {}).get("Name") == "no":
        del body["HostConfig"]["RestartPolicy"]
    masked = body["HostConfig"].get("MaskedPaths", "unset")
    found = normal(body)
    assert isinstance(found, dict)
    found["masked"] = masked if masked is not None else "unset"
    return found


def bodies(daemon: FakeDaemon, argv: list[str], folder: Path) -> list[tuple[Any, Any]]:
    """(query, body) that Docker's client and ours sent."""
    daemon.on("POST", "/containers/create", {"Id": "c" * 64, "Warnings": []})
    result = subprocess.run(
        [LIKE_DOCKER, *argv], cwd=folder, capture_output=True, env=os.environ | {"TERM": "dumb"}
    )
    assert result.returncode == 0, result.stderr
    old = os.getcwd()
    os.chdir(folder)
    try:
        assert main(argv) == 0
    finally:
        os.chdir(old)
    sent = daemon.sent("POST", "/containers/create")
    assert len(sent) == 2
    return [(one.query, one.json) for one in sent]


@pytest.mark.parametrize("flags", CASES, ids=" ".join)
def test_create_body(daemon: FakeDaemon, flags: list[str], tmp_path: Path) -> None:
    argv = ["create", *flags, "busybox", "sh", "-c", "echo -x --rm"]
    (query, docker), (own_query, own) = bodies(daemon, argv, tmp_path)
    assert comparable(own) == comparable(docker)
    assert own_query == query


REFUSED: list[list[str]] = [
    ["--network-alias", "lonely"],
    ["--rm", "--restart", "always"],
    ["-p", "x"],
    ["-p", "1:2:3:4:5"],
    ["-p", "99999:80"],
    ["-p", "80/foo"],
    ["-p", "1-3:5-6"],
    ["-p", "1.2.3:80:80"],
    ["--expose", "80:80"],
    ["-v", ""],
    ["--mount", "foo"],
    ["--mount", "type=bind,foo=bar,target=/x"],
    ["--mount", "type=bind,source=/x"],
    ["--mount", "type=bind,src=/x,dst=/y,readonly=maybe"],
    ["--mount", "type=tmpfs,dst=/y,volume-nocopy=1"],
    ["-l", "=x"],
    ["-e", "=x"],
    ["-a", "foo"],
    ["--cpus", "x"],
    ["--cpus", "0.0000000001"],
    ["-m", "x"],
    ["-m", "1zb"],
    ["--memory-swappiness", "200"],
    ["--ulimit", "foo"],
    ["--ulimit", "foo=1"],
    ["--ulimit", "nofile=5:2"],
    ["--restart", "on-failure:x"],
    ["--health-interval", "5"],
    ["--health-interval", "-5s"],
    ["--no-healthcheck", "--health-cmd", "x"],
    ["--health-retries", "-1"],
    ["--log-driver", "none", "--log-opt", "a=b"],
    ["--security-opt", "foo"],
    ["--security-opt", "seccomp=/does/not/exist"],
    ["--storage-opt", "x"],
    ["--pid", "foo"],
    ["--uts", "foo"],
    ["--userns", "foo"],
    ["--cgroupns", "foo"],
    ["--add-host", "foo"],
    ["--add-host", "foo:bar"],
    ["--dns", "foo"],
    ["--dns-search", "-"],
    ["--device", "/a:/b:xyz"],
    ["--device-cgroup-rule", "foo"],
    ["--device-read-bps", "sda:1mb"],
    ["--device-read-iops", "/dev/sda:x"],
    ["--blkio-weight-device", "/dev/sda:1"],
    ["--gpus", "count=x"],
    ["--gpus", "foo=x"],
    ["--pull", "foo"],
    ["--env-file", "/does/not/exist"],
    ["--blkio-weight", "-1"],
    ["--stop-timeout", "x"],
    ["--network", "name=a,foo=b"],
    ["--network", "mynet", "--network", "host"],
    ["--network", "name=a,ip=1.2.3.4", "--ip", "1.2.3.5"],
    ["--no-such-flag"],
    ["-yz"],
    ["--init=maybe"],
    ["--memory"],
]


@pytest.mark.parametrize("flags", REFUSED, ids=" ".join)
def test_refused(
    daemon: FakeDaemon, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same text and exit code, and nothing sent."""
    words = [] if flags == ["--memory"] else ["busybox"]
    argv = ["create", *flags, *words]
    docker = subprocess.run([LIKE_DOCKER, *argv], cwd=tmp_path, capture_output=True, text=True)
    code = main(argv)
    own = capsys.readouterr()
    assert not daemon.sent("POST", "/containers/create")
    assert code == docker.returncode
    assert own.err == docker.stderr.replace("docker", "wherry")


ENV_FILES = [b"A B=1\n", b"# c\nC=1\n=x\n", b"A \n"]


@pytest.mark.parametrize("content", ENV_FILES)
@pytest.mark.parametrize("argv", [["create", "img"], ["exec", "web", "true"]])
def test_an_env_file_that_is_refused_is_named(
    daemon: FakeDaemon,
    content: bytes,
    argv: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "env"
    file.write_bytes(content)
    words = [argv[0], "--env-file", str(file), *argv[1:]]
    docker = subprocess.run([LIKE_DOCKER, *words], capture_output=True, text=True)
    assert main(words) == docker.returncode
    assert capsys.readouterr().err == docker.stderr.replace("docker", "wherry")


def test_files_that_cannot_be_read_are_named(
    daemon: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"A=1\nB=\xff\n")
    labels = tmp_path / "labels"
    labels.write_text("=x")
    for flag, file, problem in (
        ("--env-file", binary, f"invalid env file ({binary}): invalid utf8 bytes at line 2"),
        ("--label-file", labels, f"invalid label file ({labels}): no variable name on line '=x'"),
        ("--env-file", tmp_path, f"open {tmp_path}: is a directory"),
    ):
        assert main(["create", flag, str(file), "img"]) == 125
        assert problem in capsys.readouterr().err


def test_files(daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# c\nA=1\n\nB=two words\nHOME\nSURELY_NOT_SET_X\n  C=3\n")
    (tmp_path / "labels").write_text("x=1\ny\n")
    (tmp_path / "seccomp.json").write_text('{ "defaultAction": "SCMP_ACT_ALLOW" }\n')
    argv = [
        "create", "--env-file", "env", "-e", "A=2", "--label-file", "labels", "-l", "x=3",
        "--security-opt", "seccomp=seccomp.json", "--cidfile", "cid", "busybox",
    ]  # fmt: skip
    daemon.on("POST", "/containers/create", {"Id": "c" * 64, "Warnings": []})
    subprocess.run([LIKE_DOCKER, *argv], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "cid").read_text() == "c" * 64
    (tmp_path / "cid").unlink()
    old = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert main(argv) == 0
    finally:
        os.chdir(old)
    assert (tmp_path / "cid").read_text() == "c" * 64
    docker, own = (one.json for one in daemon.sent("POST", "/containers/create"))
    assert comparable(own) == comparable(docker)
