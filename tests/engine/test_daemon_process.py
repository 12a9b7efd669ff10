"""The daemon as a process: sockets, TLS, signals, readiness, memory, what an end leaves."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.certificates import certificates
from tests.support.clients import programs
from tests.support.engine import Engine, eventually

pytestmark = pytest.mark.root

IDLE_LIMIT = 34_000
"""KiB that are the daemon's alone. The budget (45 MB, shared pages by share) is the bench's."""


@pytest.fixture
def stopped() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def status_kib(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise AssertionError(key)


def test_socket_and_files(own_engine: Engine) -> None:
    assert own_engine.process is not None
    assert stat.S_IMODE(own_engine.socket.stat().st_mode) == 0o660
    assert stat.S_IMODE(own_engine.data.stat().st_mode) == 0o700
    assert (own_engine.root / "pid").read_text() == f"{own_engine.process.pid}\n"
    assert own_engine.stop() == 0
    assert not own_engine.socket.exists()
    assert not (own_engine.root / "pid").exists()


def test_an_end_without_containers_leaves_nothing_on_the_host(own_engine: Engine) -> None:
    own_engine.run("true")
    own_engine.remove_containers()
    assert own_engine.stop() == 0
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(own_engine.root) not in mounts


def test_idle_memory(own_engine: Engine) -> None:
    assert own_engine.process is not None
    pid = own_engine.process.pid
    for path in ("/info", "/version", "/containers/json", "/images/json"):
        assert own_engine.get(path).status == 200
    assert status_kib(pid, "RssAnon") <= IDLE_LIMIT


def test_identity_is_kept(own_engine: Engine) -> None:
    first = own_engine.get("/info").json["ID"]
    own_engine.crash_and_start()
    assert own_engine.get("/info").json["ID"] == first


def test_info_tells_what_is(own_engine: Engine) -> None:
    name = own_engine.run("sleep", "1000")
    own_engine.create("true")
    info = own_engine.get("/info").json
    assert (info["Containers"], info["ContainersRunning"], info["ContainersStopped"]) == (2, 1, 1)
    assert info["NCPU"] == os.cpu_count()
    assert info["KernelVersion"] == os.uname().release
    runtime = info["DefaultRuntime"]
    assert runtime in info["Runtimes"]
    parts = {
        each["Name"]: each["Version"] for each in own_engine.get("/version").json["Components"]
    }
    told = parts[runtime] if runtime == "runc" else f"{runtime} {parts[runtime]}"
    assert info["RuncCommit"]["ID"] == told
    assert info["Images"] == 1
    assert info["DockerRootDir"] == str(own_engine.data)
    own_engine.post(f"/containers/{name}/pause")
    assert own_engine.get("/info").json["ContainersPaused"] == 1
    own_engine.post(f"/containers/{name}/unpause")
    own_engine.remove_containers()
    plugins = own_engine.root / "run" / "plugins"
    plugins.mkdir()
    (plugins / "mine.sock").touch()
    assert own_engine.get("/info").json["Plugins"]["Volume"] == ["local", "mine"]
    (plugins / "mine.sock").unlink()
    plugins.rmdir()


def test_hangup_reloads_labels_and_level(stopped: Engine) -> None:
    path = stopped.root / "daemon.json"
    pools = [{"base": "10.99.0.0/16", "size": 24}]
    path.write_text(json.dumps({"labels": ["a=1"], "default-address-pools": pools}))
    stopped.options += ["--config", str(path)]
    stopped.start()
    assert stopped.process is not None
    info = stopped.get("/info").json
    assert (info["Labels"], info["Debug"]) == (["a=1"], False)
    assert info["DefaultAddressPools"] == [{"Base": "10.99.0.0/16", "Size": 24}]
    path.write_text(json.dumps({"labels": ["a=2"], "debug": True}))
    stopped.process.send_signal(signal.SIGHUP)
    eventually(lambda: stopped.get("/info").json["Labels"] == ["a=2"])
    assert stopped.get("/info").json["Debug"] is True
    path.write_text("{")
    stopped.process.send_signal(signal.SIGHUP)
    eventually(lambda: "configuration not reloaded" in stopped.log())
    assert stopped.get("/info").json["Labels"] == ["a=2"]


def test_readiness_is_told(stopped: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(stopped.root / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(300)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        stopped.start()
        assert sock.recv(100) == b"READY=1"
        stopped.stop()
        assert sock.recv(100) == b"STOPPING=1"


def test_containers_end_with_the_machine(stopped: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their own way, and policies stand; the end of the daemon alone is not their end."""
    goes = stopped.root / "goes"
    program = stopped.root / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n[ -e {goes} ] && echo stopping || echo running\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    stopped.start()
    ready = "trap 'echo saved; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    policy = {"Name": "unless-stopped"}
    name = stopped.run("sh", "-c", ready, RestartPolicy=policy)
    stopped.run("sleep", "1000", StopSignal="SIGKILL", AutoRemove=True)
    eventually(lambda: stopped.logs(name) == b"ready\n")
    pid = stopped.inspect(name)["State"]["Pid"]
    assert stopped.stop() == 0
    stopped.start()
    assert stopped.inspect(name)["State"]["Pid"] == pid
    goes.touch()
    assert stopped.stop() == 0
    assert not Path(f"/proc/{pid}").exists()
    assert "ending; containers too" in stopped.log()
    goes.unlink()
    stopped.start()
    eventually(lambda: stopped.logs(name) == b"ready\nsaved\nready\n")
    assert len(stopped.containers()) == 1
    assert stopped.inspect(name)["State"]["Running"]


class Passed(Engine):
    """As a socket unit does it: it listens before the daemon runs, and stays when it ends."""

    def command(self) -> list[str]:
        start = (
            "import os, socket, sys\n"
            "sock = socket.socket(socket.AF_UNIX)\n"
            "sock.bind(sys.argv[1]); sock.listen()\n"
            "os.dup2(sock.fileno(), 3) if sock.fileno() != 3 else os.set_inheritable(3, True)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            "os.execvp(sys.argv[2], sys.argv[2:])"
        )
        return [sys.executable, "-c", start, str(self.socket), *super().command()]


def test_a_passed_socket() -> None:
    with Passed() as engine:
        engine.start()
        assert engine.wait(engine.run("true")) == 0
        engine.remove_containers()
        assert engine.stop() == 0
        assert engine.socket.exists()


def test_containers_have_the_limits_from_before(own_engine: Engine) -> None:
    """The daemon opens as many files as it may; that is not handed on."""
    assert own_engine.process is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(own_engine.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    name = own_engine.run("sleep", "1000")
    pid = own_engine.inspect(name)["State"]["Pid"]
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (soft, hard)
    own_engine.remove_containers()


def test_two_daemons_side_by_side(own_engine: Engine) -> None:
    with Engine() as other:
        other.start()
        name = other.run("true", name="same")
        assert other.wait(name) == 0
        assert own_engine.wait(own_engine.run("true", name="same")) == 0
        other.remove_containers()
        assert len(own_engine.containers()) == 1
    own_engine.remove_containers()


@pytest.mark.parametrize(
    "options",
    [
        ["--host", "tcp://127.0.0.1:1"],
        ["--host", "tcp://0.0.0.0:0", "--insecure-loopback"],
        ["--no-such-flag"],
        ["--config", "/no/such/file"],
        ["--add-runtime", "x=/no/such/runtime"],
        ["--default-runtime", "nosuch"],
        ["--add-runtime", "crun=/bin/false", "--default-runtime", "crun"],
        ["--bip", "nonsense"],
    ],
)
def test_a_start_that_fails_says_why_in_one_line(stopped: Engine, options: list[str]) -> None:
    stopped.options += options
    assert stopped.spawn().wait(300) == 1
    lines = [line for line in stopped.log().splitlines() if line.startswith("wherryd: ")]
    assert len(lines) == 1
    assert "Traceback" not in stopped.log()
    assert not stopped.socket.exists()
    assert str(stopped.root) not in Path("/proc/self/mountinfo").read_text()


def test_a_start_that_fails_leaves_no_folders(stopped: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        stopped.options += ["--host", host, "--insecure-loopback"]
        stopped.options += ["--data-root", str(stopped.root / "fresh" / "root")]
        stopped.options += ["--run-dir", str(stopped.root / "fresh" / "run")]
        assert stopped.spawn().wait(60) == 1
    assert f"wherryd: cannot listen on {host}: Address already in use" in stopped.log()
    assert not (stopped.root / "fresh").exists()


def test_plain_loopback(stopped: Engine) -> None:
    port = free_port()
    stopped.options += ["--host", f"tcp://127.0.0.1:{port}", "--insecure-loopback"]
    stopped.start()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 200")
    warnings = stopped.get("/info").json["Warnings"]
    assert any("without encryption" in each for each in warnings)


def test_clients_over_mutual_tls(stopped: Engine) -> None:
    """Input, its end and output over TLS, with the real client."""
    folder = stopped.root / "tls"
    folder.mkdir()
    certificates(folder)
    port = free_port()
    stopped.options += ["--host", f"tcp://127.0.0.1:{port}", "--tlsverify"]
    for flag, name in (
        ("tlscacert", "ca.pem"),
        ("tlscert", "server.pem"),
        ("tlskey", "server.key"),
    ):
        stopped.options += [f"--{flag}", str(folder / name)]
    stopped.start()
    docker = next(each for each in programs() if not each.is_wherry)
    words = [*docker.command, "--host", f"tcp://127.0.0.1:{port}", "--tlsverify"]
    words += ["--tlscacert", str(folder / "ca.pem")]

    def run(name: str, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        keys = ["--tlscert", str(folder / f"{name}.pem"), "--tlskey", str(folder / f"{name}.key")]
        return subprocess.run(
            [*words, *keys, *arguments], input=given, capture_output=True, timeout=30, check=False
        )

    box = ["run", "--rm", "-i", "--network", "none", "wherry/busybox"]
    done = run("client", *box, "sh", "-c", "cat; echo end", given=b"hello\n")
    assert (done.returncode, done.stdout) == (0, b"hello\nend\n"), done.stderr
    big = os.urandom(3 << 20)
    done = run("client", *box, "cat", given=big)
    assert done.stdout == big
    name = stopped.create("true")
    (folder / "big").write_bytes(big)
    assert run("client", "cp", str(folder / "big"), f"{name}:/in").returncode == 0
    assert run("client", "cp", f"{name}:/in", str(folder / "out")).returncode == 0
    assert (folder / "out").read_bytes() == big
    assert run("rogue", "version").returncode != 0


def test_a_plugin_that_never_ends_its_answer_holds_up_no_end(stopped: Engine) -> None:
    """It sends a byte now and then: no time limit of a socket's ends the thread that listens."""
    stopped.start()
    assert stopped.process is not None
    folder = stopped.root / "run" / "plugins"
    folder.mkdir()
    over = threading.Event()
    begun = threading.Event()

    def plugin(listening: socket.socket) -> None:
        sock, _ = listening.accept()
        with sock, suppress(OSError):
            sock.recv(1000)
            begun.set()
            while not over.wait(1):
                sock.sendall(b"x")

    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as asking:
        listening.bind(str(folder / "mute.sock"))
        listening.listen()
        listening.settimeout(300)
        thread = threading.Thread(target=plugin, args=(listening,))
        thread.start()
        try:
            asking.connect(str(stopped.socket))
            body = b'{"Name": "v", "Driver": "mute"}'
            head = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
            asking.sendall(
                f"POST /volumes/create HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body
            )
            assert begun.wait(300)
            assert stopped.stop() == 0
        finally:
            over.set()
            thread.join()
