"""Whole conversations over a unix socket: run, attach, exec, start, signals, a real terminal.

Each is a child process, so that signals and terminals are the real ones. Where Docker's client is
as new as the texts the conversation is held with it as well: it proves the test.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from tests.cli.fake_daemon import Exchange, FakeDaemon
from tests.support.clients import LIKE_DOCKER, like_docker, programs

from wherry.wire.frames import frame

OWN = list(programs()[0].command)
ID = "c" * 64
SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(
    params=[
        pytest.param(OWN, id="wherry"),
        pytest.param([LIKE_DOCKER], id="docker", marks=like_docker),
    ]
)
def program(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    return found


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("TERM", "dumb")


class Container:
    """The fake's container: ``talk`` is what happens on the attached stream."""

    def __init__(self, daemon: FakeDaemon, *, tty: bool = False, code: int = 0) -> None:
        self.daemon = daemon
        self.tty = tty
        self.code = code
        self.started = threading.Event()
        self.ended = threading.Event()
        self.talk: Callable[[Exchange], None] = lambda exchange: None
        self.signals: list[str] = []
        self.sizes: list[tuple[str, str]] = []
        self.resized = threading.Condition()
        self.signalled = threading.Event()
        daemon.on("POST", "/containers/create", {"Id": ID, "Warnings": []})
        daemon.on("POST", f"/containers/{ID}/attach", self._attach)
        daemon.on("POST", f"/containers/{ID}/wait", self._wait)
        daemon.on("POST", f"/containers/{ID}/start", self._start)
        daemon.on("POST", f"/containers/{ID}/kill", self._kill)
        daemon.on("POST", f"/containers/{ID}/resize", self._resize)

    def _attach(self, exchange: Exchange) -> None:
        kind = "raw" if self.tty else "multiplexed"
        exchange.upgrade(f"application/vnd.docker.{kind}-stream")
        assert self.started.wait(10)
        self.talk(exchange)
        exchange.wfile.flush()
        self.ended.set()

    def _wait(self, exchange: Exchange) -> None:
        exchange.start_chunks(Content_Type="application/json")
        exchange.wfile.flush()
        assert self.ended.wait(20)
        exchange.chunk(b'{"StatusCode":%d}' % self.code)
        exchange.chunk(b"")

    def _start(self, exchange: Exchange) -> None:
        exchange.raw(204, b"")
        self.started.set()

    def _kill(self, exchange: Exchange) -> None:
        self.signals += exchange.request_record.query["signal"]
        exchange.raw(204, b"")
        self.signalled.set()

    def _resize(self, exchange: Exchange) -> None:
        query = exchange.request_record.query
        with self.resized:
            self.sizes.append((query["h"][0], query["w"][0]))
            self.resized.notify_all()
        exchange.reply(200)

    def wait_size(self, wanted: tuple[str, str], timeout: float = 10) -> bool:
        with self.resized:
            return self.resized.wait_for(lambda: wanted in self.sizes, timeout)


def call(program: list[str], *argv: str, stdin: bytes | None = None) -> Any:
    return subprocess.run(
        [*program, *argv],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=30,
    )


def order(daemon: FakeDaemon) -> list[str]:
    """The steps of a run in the order in which they were asked for."""
    steps = [one.path.rpartition("/")[2] for one in daemon.requests]
    return [step for step in steps if step in ("create", "attach", "wait", "start")]


def test_run_shows_both_streams_and_gives_the_code(daemon: FakeDaemon, program: list[str]) -> None:
    container = Container(daemon, code=7)
    container.talk = lambda exchange: exchange.wfile.writelines(
        [frame(1, b"out\n"), frame(2, b"err\n"), frame(1, b"more")]
    )
    result = call(program, "run", "busybox", "sh")
    assert (result.returncode, result.stdout, result.stderr) == (7, b"out\nmore", b"err\n")
    assert order(daemon)[0] == "create"
    assert order(daemon)[-1] == "start"
    assert sorted(order(daemon)[1:3]) == ["attach", "wait"]
    (attach,) = daemon.sent("POST", f"/containers/{ID}/attach")
    assert "stdin" not in attach.query
    (wait,) = daemon.sent("POST", f"/containers/{ID}/wait")
    assert wait.query["condition"] == ["next-exit"]


def test_run_rm_waits_for_the_removal(daemon: FakeDaemon, program: list[str]) -> None:
    Container(daemon)
    assert call(program, "run", "--rm", "busybox").returncode == 0
    (wait,) = daemon.sent("POST", f"/containers/{ID}/wait")
    assert wait.query["condition"] == ["removed"]


def test_run_detached_prints_the_id(daemon: FakeDaemon, program: list[str]) -> None:
    Container(daemon)
    result = call(program, "run", "-d", "busybox")
    assert (result.returncode, result.stdout) == (0, ID.encode() + b"\n")
    assert (order(daemon)[0], order(daemon)[-1]) == ("create", "start")
    assert "attach" not in order(daemon)


def test_much_input_comes_back(daemon: FakeDaemon, program: list[str]) -> None:
    """4 MB through an echo that stops reading while its output is not taken."""

    def echo(exchange: Exchange) -> None:
        while data := exchange.rfile.read1(65536):
            exchange.wfile.write(frame(1, data))

    container = Container(daemon)
    container.talk = echo
    sent = os.urandom(4 << 20)
    result = call(program, "run", "-i", "busybox", "cat", stdin=sent)
    assert result.returncode == 0
    assert result.stdout == sent


def test_end_of_input_is_a_half_close(daemon: FakeDaemon, program: list[str]) -> None:
    """What comes after our end of input is still shown."""

    def after_end(exchange: Exchange) -> None:
        text = exchange.rfile.read()
        exchange.wfile.write(frame(1, b"%d bytes" % len(text)))

    container = Container(daemon)
    container.talk = after_end
    result = call(program, "run", "-i", "busybox", stdin=b"hello")
    assert result.stdout == b"5 bytes"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "nope": executable file not found in $PATH: unknown', 127),
        ('exec: "/etc/passwd": permission denied: unknown', 126),
        ("driver failed programming external connectivity", 125),
    ],
)
def test_start_failures(daemon: FakeDaemon, program: list[str], message: str, code: int) -> None:
    Container(daemon)
    daemon.on(
        "POST",
        f"/containers/{ID}/start",
        lambda exchange: exchange.reply(400, {"message": message}),
    )
    result = call(program, "run", "busybox", "nope")
    assert result.returncode == code
    assert f"Error response from daemon: {message}" in result.stderr.decode()
    result = call(program, "run", "-d", "busybox", "nope")
    assert result.returncode == code


def test_missing_image_is_pulled(daemon: FakeDaemon, program: list[str]) -> None:
    Container(daemon)
    answers = [(404, {"message": "No such image: x:latest"}), (201, {"Id": ID})]
    daemon.on("POST", "/containers/create", lambda exchange: exchange.reply(*answers.pop(0)))
    daemon.on("POST", "/images/create", {"status": "Pulling from library/x", "id": "latest"})
    result = call(program, "run", "-d", "x")
    assert result.returncode == 0, result.stderr
    assert result.stderr == (
        b"Unable to find image 'x:latest' locally\nlatest: Pulling from library/x\n"
    )
    (pull,) = daemon.sent("POST", "/images/create")
    assert pull.query["tag"] == ["latest"]
    assert pull.query["fromImage"][0] in ("x", "docker.io/library/x")


def test_pull_never_says_what_the_daemon_says(daemon: FakeDaemon, program: list[str]) -> None:
    Container(daemon)
    daemon.on(
        "POST",
        "/containers/create",
        lambda exchange: exchange.reply(404, {"message": "No such image: x:latest"}),
    )
    result = call(program, "run", "--pull", "never", "x")
    assert result.returncode == 125
    assert b"No such image: x:latest" in result.stderr
    assert not daemon.sent("POST", "/images/create")


def test_cidfile_is_not_overwritten(daemon: FakeDaemon, program: list[str], tmp_path: Path) -> None:
    Container(daemon)
    file = tmp_path / "cid"
    file.write_text("old")
    result = call(program, "run", "--cidfile", str(file), "busybox")
    assert result.returncode == 125
    assert b"container ID file found" in result.stderr
    assert not daemon.sent("POST", "/containers/create")
    assert file.read_text() == "old"


def test_cidfile_goes_when_there_is_no_container(
    daemon: FakeDaemon, program: list[str], tmp_path: Path
) -> None:
    daemon.on(
        "POST",
        "/containers/create",
        lambda exchange: exchange.reply(409, {"message": "name in use"}),
    )
    file = tmp_path / "cid"
    result = call(program, "run", "--cidfile", str(file), "busybox")
    assert result.returncode == 125
    assert not file.exists()


@pytest.mark.parametrize(("verb", "code"), [("run", 125), ("create", 1)])
def test_refused_by_the_daemon(
    daemon: FakeDaemon, program: list[str], verb: str, code: int
) -> None:
    daemon.on(
        "POST",
        "/containers/create",
        lambda exchange: exchange.reply(409, {"message": "name in use"}),
    )
    result = call(program, verb, "busybox")
    name = "wherry" if program == OWN else "docker"
    text = "Error response from daemon: name in use\n"
    if verb == "run":
        text = f"{name}: {text}\nRun '{name} run --help' for more information\n"
    assert (result.returncode, result.stderr.decode()) == (code, text)


def started(program: list[str], *argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*program, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_signals_go_to_the_container(daemon: FakeDaemon, program: list[str]) -> None:
    container = Container(daemon, code=143)
    running = threading.Event()

    def talk(exchange: Exchange) -> None:
        exchange.wfile.write(frame(1, b"up\n"))
        exchange.wfile.flush()
        running.set()
        assert container.signalled.wait(10)

    container.talk = talk
    process = started(program, "run", "busybox")
    assert process.stdout is not None
    assert process.stdout.read(3) == b"up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert container.signals in (["TERM"], ["SIGTERM"])
    process.communicate()


def test_third_interrupt_forces_out(daemon: FakeDaemon, program: list[str]) -> None:
    container = Container(daemon)
    over = threading.Event()

    def talk(exchange: Exchange) -> None:
        exchange.wfile.write(frame(1, b"up\n"))
        exchange.wfile.flush()
        over.wait(10)

    container.talk = talk
    process = started(program, "run", "busybox")
    assert process.stdout is not None
    assert process.stdout.read(3) == b"up\n"
    for count in range(1, 4):
        container.signalled.clear()
        process.send_signal(signal.SIGINT)
        if count < 3:
            assert container.signalled.wait(10)
    assert process.wait(10) == 1
    over.set()
    assert process.stderr is not None
    assert b"got 3 SIGTERM/SIGINTs, forcefully exiting" in process.stderr.read()
    process.communicate()


class Terminal:
    """A child on a terminal of its own."""

    def __init__(self, argv: list[str], rows: int = 30, columns: int = 90) -> None:
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, pattern: bytes, timeout: float = 10) -> bytes:
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.master], [], [], timeout)
            assert ready, f"{pattern!r} did not come; seen {self.seen!r}"
            self.seen += os.read(self.master, 4096)
        return self.seen

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def interactive(exchange: Exchange) -> None:
    exchange.wfile.write(b"$ ")
    exchange.wfile.flush()
    while data := exchange.rfile.read1(100):
        if b"Q" in data:
            return
        exchange.wfile.write(b"<" + data + b">")
        exchange.wfile.flush()


def test_terminal_is_raw_resized_and_restored(
    daemon: FakeDaemon, program: list[str], terminals: list[Terminal]
) -> None:
    container = Container(daemon, tty=True, code=5)
    container.talk = interactive
    terminal = Terminal([*program, "run", "-it", "busybox", "sh"])
    terminals.append(terminal)
    terminal.expect(rb"\$ ")
    assert container.wait_size(("30", "90"))
    assert termios.tcgetattr(terminal.slave)[3] & (termios.ICANON | termios.ECHO) == 0
    terminal.type(b"\x03")
    terminal.expect(b"<\x03>")
    terminal.resize(40, 100)
    # Docker's client may not listen yet, as its first size is sent before: tell it again.
    for _ in range(50):
        os.kill(terminal.process.pid, signal.SIGWINCH)
        if container.wait_size(("40", "100"), 0.2):
            break
    assert ("40", "100") in container.sizes
    terminal.type(b"Q")
    assert terminal.process.wait(10) == 5
    assert termios.tcgetattr(terminal.slave) == terminal.before
    # Docker's client sends its own change of size as a signal as well.
    assert set(container.signals) <= ({"WINCH"} if program != OWN else set())
    (create,) = daemon.sent("POST", "/containers/create")
    assert create.json["Tty"] is True
    assert create.json["OpenStdin"] is True


@pytest.mark.parametrize(("flags", "keys"), [([], b"\x10\x11"), (["--detach-keys", "a,b"], b"ab")])
def test_detach_keys(
    daemon: FakeDaemon,
    program: list[str],
    terminals: list[Terminal],
    flags: list[str],
    keys: bytes,
) -> None:
    container = Container(daemon, tty=True)
    container.talk = interactive
    terminal = Terminal([*program, "run", "-it", *flags, "busybox", "sh"])
    terminals.append(terminal)
    terminal.expect(rb"\$ ")
    terminal.type(b"x")
    terminal.expect(b"<x>")
    terminal.type(keys)
    assert terminal.process.wait(10) == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_input_that_is_no_terminal(daemon: FakeDaemon, program: list[str]) -> None:
    Container(daemon)
    result = call(program, "run", "-it", "busybox")
    assert result.returncode == 1
    assert b"the input device is not a TTY" in result.stderr
    assert not daemon.sent("POST", "/containers/create")


@pytest.fixture
def execs(daemon: FakeDaemon) -> FakeDaemon:
    daemon.on("GET", "/containers/web/json", {"Id": ID, "Config": {}, "State": {"Running": True}})
    daemon.on("POST", "/containers/web/exec", {"Id": "e1"})

    def start(exchange: Exchange) -> None:
        if exchange.request_record.json["Detach"]:
            exchange.reply(200)
            return
        exchange.upgrade("application/vnd.docker.multiplexed-stream")
        exchange.wfile.write(frame(1, b"out") + frame(2, b"err"))
        exchange.wfile.flush()

    daemon.on("POST", "/exec/e1/start", start)
    daemon.on("GET", "/exec/e1/json", {"ID": "e1", "Running": False, "ExitCode": 9})
    return daemon


def test_exec(execs: FakeDaemon, program: list[str]) -> None:
    result = call(program, "exec", "-e", "A=1", "-u", "root", "-w", "/x", "web", "ls", "-l")
    assert (result.returncode, result.stdout, result.stderr) == (9, b"out", b"err")
    (create,) = execs.sent("POST", "/containers/web/exec")
    wanted = {"Cmd": ["ls", "-l"], "Env": ["A=1"], "User": "root", "WorkingDir": "/x"}
    assert {key: create.json[key] for key in wanted} == wanted
    assert create.json["AttachStdout"] is True
    assert create.json["AttachStderr"] is True
    assert not create.json.get("AttachStdin")


def test_exec_detached(execs: FakeDaemon, program: list[str]) -> None:
    result = call(program, "exec", "-d", "web", "true")
    assert (result.returncode, result.stdout) == (0, b"")
    (start,) = execs.sent("POST", "/exec/e1/start")
    assert start.json["Detach"] is True
    assert not execs.sent("GET", "/exec/e1/json")


@pytest.mark.parametrize("tty", [False, True])
def test_logs(daemon: FakeDaemon, program: list[str], tty: bool) -> None:
    daemon.on("GET", "/containers/web/json", {"Id": ID, "Name": "/web", "Config": {"Tty": tty}})
    body = b"out\nerr\n" if tty else frame(1, b"out\n") + frame(2, b"err\n")
    daemon.on("GET", f"/containers/{ID}/logs", lambda exchange: exchange.raw(200, body))
    daemon.on("GET", "/containers/web/logs", lambda exchange: exchange.raw(200, body))
    result = call(program, "logs", "-t", "-n", "5", "--since", "2026-01-02T03:04:05Z", "web")
    assert result.returncode == 0
    assert result.stdout == (b"out\nerr\n" if tty else b"out\n")
    assert result.stderr == (b"" if tty else b"err\n")
    asked = next(one for one in daemon.requests if one.path.endswith("/logs"))
    assert asked.query["tail"] == ["5"]
    assert asked.query["timestamps"] == ["1"]
    assert asked.query["since"] == ["1767323045.000000000"]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"Running": False}, b"cannot attach to a stopped container, start it first"),
        ({"Running": True, "Paused": True}, b"cannot attach to a paused container, unpause it"),
        ({"Running": True, "Restarting": True}, b"cannot attach to a restarting container, wait"),
    ],
)
def test_attach_needs_a_running_container(
    daemon: FakeDaemon, program: list[str], state: dict[str, bool], text: bytes
) -> None:
    daemon.on("GET", "/containers/web/json", {"Id": ID, "State": state, "Config": {}})
    Container(daemon)
    daemon.on("POST", "/containers/web/wait", {"StatusCode": 0})
    result = call(program, "attach", "web")
    assert result.returncode == 1
    assert text in result.stderr


def test_attach(daemon: FakeDaemon, program: list[str]) -> None:
    container = Container(daemon, code=4)
    container.started.set()
    container.talk = lambda exchange: exchange.wfile.writelines([frame(1, b"hi")])
    inspected = {"Id": ID, "State": {"Running": True}, "Config": {"OpenStdin": False}}
    for name in ("web", ID):
        daemon.on("GET", f"/containers/{name}/json", inspected)
    daemon.on("POST", "/containers/web/wait", container._wait)
    daemon.on("POST", "/containers/web/attach", container._attach)
    result = call(program, "attach", "web")
    assert (result.returncode, result.stdout) == (4, b"hi")


def test_start_attached(daemon: FakeDaemon, program: list[str]) -> None:
    container = Container(daemon, code=6)
    container.talk = lambda exchange: exchange.wfile.writelines([frame(1, b"hi")])
    inspected = {"Id": ID, "State": {"Running": False}, "Config": {}, "HostConfig": {}}
    for name in ("web", ID):
        daemon.on("GET", f"/containers/{name}/json", inspected)
    daemon.on("POST", "/containers/web/start", container._start)
    result = call(program, "start", "-a", "web")
    assert (result.returncode, result.stdout) == (6, b"hi")


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_HOST", f"unix://{tmp_path}/none.sock")
    result = call(OWN, "ps")
    assert result.returncode == 1
    assert result.stderr.decode() == (
        f"Cannot connect to the Wherry daemon at unix://{tmp_path}/none.sock. "
        "Is the wherry daemon running?\n"
    )
    assert call(OWN, "run", "busybox").returncode == 125


def test_output_that_nobody_reads(daemon: FakeDaemon) -> None:
    """``wherry events | head -1`` ends without a traceback."""

    def endless(exchange: Exchange) -> None:
        exchange.start_chunks()
        try:
            while True:
                exchange.chunk(b'{"Type":"container","Action":"x","Actor":{"ID":"1"}}\n' * 100)
        except OSError:
            pass

    daemon.on("GET", "/events", endless)
    with started(OWN, "events") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_ps_imports_little(daemon: FakeDaemon) -> None:
    """What makes ``wherry ps`` start fast: none of these is imported for it."""
    daemon.on("GET", "/containers/json", [])
    code = (
        "import sys; from wherry.cli.main import main; code = main(['ps']); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    heavy = {
        "aiohttp", "argparse", "asyncio", "click", "dataclasses", "datetime", "email", "http",
        "inspect", "logging", "msgspec", "rich", "signal", "ssl", "subprocess", "tempfile",
        "threading", "typing", "urllib",
    }  # fmt: skip
    assert heavy & set(result.stderr.split()) == set()
