"""Whole conversations over a unix socket: a real terminal, exec, logs, attach and start.

Where Docker's client is as new as the texts the conversation is held with it as well.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest
from tests.cli.conversations import ID, OWN, Container, call
from tests.cli.fake_daemon import Exchange, FakeDaemon

from wherry.wire.frames import frame

pytestmark = pytest.mark.usefixtures("environment")


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


def test_a_signal_after_the_daemon_closed_what_was_idle(
    daemon: FakeDaemon, environment: None, terminals: list[Terminal]
) -> None:
    """The connection of the first size is closed by then, as daemons do after a minute or so."""
    container = Container(daemon, tty=True)
    container.talk = interactive
    closed = threading.Semaphore(0)

    def resize(exchange: Exchange) -> None:
        container._resize(exchange)
        exchange.connection.shutdown(socket.SHUT_RDWR)
        closed.release()

    daemon.on("POST", f"/containers/{ID}/resize", resize)
    terminal = Terminal([*OWN, "run", "-it", "busybox", "sh"])
    terminals.append(terminal)
    terminal.expect(rb"\$ ")
    assert closed.acquire(timeout=10)
    terminal.resize(40, 100)
    os.kill(terminal.process.pid, signal.SIGWINCH)
    assert container.wait_size(("40", "100"))
    assert closed.acquire(timeout=10)
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert container.signalled.wait(10)
    terminal.type(b"Q")
    assert terminal.process.wait(10) == 0


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


def test_detach_keys_that_are_none_are_told(
    daemon: FakeDaemon, program: list[str], terminals: list[Terminal]
) -> None:
    container = Container(daemon, tty=True)
    container.talk = interactive
    terminal = Terminal([*program, "run", "-it", "--detach-keys", "foo", "busybox", "sh"])
    terminals.append(terminal)
    terminal.expect(rb"invalid detach escape keys, using default: .*foo(.|\s)*\$ ")
    terminal.type(b"\x10\x11")
    assert terminal.process.wait(10) == 0


def test_help_that_nobody_asked_for_is_plain_in_a_file(
    terminals: list[Terminal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is a terminal, but the text goes to standard error."""
    monkeypatch.setenv("TERM", "xterm")
    for words in ("", "container", "container --help >&2"):
        file = tmp_path / "text"
        terminal = Terminal(["sh", "-c", f'2>{file} "$@" {words}', "sh", *OWN])
        terminals.append(terminal)
        terminal.process.wait(10)
        text = file.read_text()
        assert "Usage" in text
        assert "\x1b" not in text


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


def test_an_error_of_the_daemon_in_a_log(daemon: FakeDaemon, program: list[str]) -> None:
    daemon.on("GET", "/containers/web/json", {"Id": ID, "Name": "/web", "Config": {}})
    body = frame(1, b"out\n") + frame(3, b"the log is broken")
    daemon.on("GET", f"/containers/{ID}/logs", lambda exchange: exchange.raw(200, body))
    daemon.on("GET", "/containers/web/logs", lambda exchange: exchange.raw(200, body))
    result = call(program, "logs", "web")
    assert (result.returncode, result.stdout) == (1, b"out\n")
    assert result.stderr == b"error from daemon in stream: the log is broken\n"


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


@pytest.mark.parametrize("flag", ["-a", "-i", "-ai"])
def test_start_attached(daemon: FakeDaemon, program: list[str], flag: str) -> None:
    """``-i`` alone attaches the output too."""
    container = Container(daemon, code=6)
    container.talk = lambda exchange: exchange.wfile.writelines([frame(1, b"hi"), frame(2, b"oh")])
    config = {"OpenStdin": True}
    inspected = {"Id": ID, "State": {"Running": False}, "Config": config, "HostConfig": {}}
    for name in ("web", ID):
        daemon.on("GET", f"/containers/{name}/json", inspected)
    daemon.on("POST", "/containers/web/start", container._start)
    result = call(program, "start", flag, "web")
    assert (result.returncode, result.stdout, result.stderr) == (6, b"hi", b"oh")
    (attach,) = daemon.sent("POST", f"/containers/{ID}/attach")
    assert ("stdin" in attach.query) is ("i" in flag)


def test_stop_takes_one_time(daemon: FakeDaemon, program: list[str]) -> None:
    result = call(program, "stop", "-t", "3", "--time", "4", "web")
    assert result.returncode == 1
    assert b"cannot specify both --timeout and --time" in result.stderr
    assert not daemon.sent("POST", "/containers/web/stop")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_run_passes_signals_on_with_a_terminal_too(
    daemon: FakeDaemon, program: list[str], terminals: list[Terminal], number: signal.Signals
) -> None:
    container = Container(daemon, tty=True, code=9)
    container.talk = interactive
    terminal = Terminal([*program, "run", "-it", "busybox", "sh"])
    terminals.append(terminal)
    terminal.expect(rb"\$ ")
    os.kill(terminal.process.pid, number)
    assert container.signalled.wait(10)
    assert number.name.removeprefix("SIG") in container.signals
    terminal.type(b"Q")
    assert terminal.process.wait(10) == 9
    assert termios.tcgetattr(terminal.slave) == terminal.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("argv", [["exec", "-it", "web", "sh"], ["attach", "web"]])
def test_a_signal_that_ends_the_client_restores_the_terminal(
    daemon: FakeDaemon,
    environment: None,
    terminals: list[Terminal],
    argv: list[str],
    number: signal.Signals,
) -> None:
    container = Container(daemon, tty=True)
    container.started.set()
    container.talk = interactive
    config = {"Tty": True, "OpenStdin": True}
    daemon.on(
        "GET", "/containers/web/json", {"Id": ID, "State": {"Running": True}, "Config": config}
    )
    daemon.on("POST", "/containers/web/exec", {"Id": "e1"})
    daemon.on("POST", "/exec/e1/start", container._attach)
    terminal = Terminal([*OWN, *argv])
    terminals.append(terminal)
    terminal.expect(rb"\$ ")
    os.kill(terminal.process.pid, number)
    assert terminal.process.wait(10) == 128 + number
    assert termios.tcgetattr(terminal.slave) == terminal.before
    container.ended.set()
