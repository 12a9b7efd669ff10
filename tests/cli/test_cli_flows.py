"""Whole conversations over a unix socket: run, what it is refused, signals.

Where Docker's client is as new as the texts the conversation is held with it as well: it proves
the test.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.cli.conversations import ID, OWN, Container, call, started
from tests.cli.fake_daemon import Exchange, FakeDaemon

from wherry.wire.frames import frame

pytestmark = pytest.mark.usefixtures("environment")


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
    assert result.stdout == ID.encode() + b"\n"  # it is there, and somebody has to remove it


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


@pytest.mark.parametrize("name", ["me/app", "docker.io/me/app", "index.docker.io/me/app"])
def test_the_registry_by_default_has_one_login(
    daemon: FakeDaemon, program: list[str], tmp_path: Path, name: str
) -> None:
    auths = {"https://index.docker.io/v1/": {"auth": base64.b64encode(b"me:secret").decode()}}
    (tmp_path / "config" / "config.json").write_text(json.dumps({"auths": auths}))
    daemon.on("POST", "/images/create", {"status": "Status: Downloaded"})
    assert call(program, "pull", name).returncode == 0
    (pull,) = daemon.sent("POST", "/images/create")
    sent = json.loads(base64.urlsafe_b64decode(pull.headers["x-registry-auth"]))
    assert (sent["username"], sent["password"]) == ("me", "secret")


def test_pull_of_all_tags_and_push_have_a_platform(
    daemon: FakeDaemon, program: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    daemon.on("POST", "/images/create", {"status": "Status: Downloaded"})
    result = call(program, "pull", "-a", "docker.io/busybox")
    assert result.stdout.splitlines()[-1] == b"docker.io/library/busybox", result
    (pull,) = daemon.sent("POST", "/images/create")
    assert pull.query["platform"] == ["linux/arm64"]
    for path in ("/images/me/app/push", "/images/docker.io/me/app/push"):
        daemon.on("POST", path, {"status": "done"})
    assert call(program, "push", "--platform", "linux/amd64", "me/app:v1").returncode == 0
    push = daemon.requests[-1]
    platform = json.loads(push.query["platform"][0])
    assert platform == {"os": "linux", "architecture": "amd64"}
    assert push.query["tag"] == ["v1"]


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["run", "x"], 125),
        (["create", "x"], 1),
        (["pull", "x"], 1),
        (["load", "-i", "archive"], 1),
    ],
)
def test_an_error_in_a_progress_stream(
    daemon: FakeDaemon,
    program: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    code: int,
) -> None:
    """Its code is HTTP's, and not one to end with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "archive").write_bytes(b"x")
    missing = {"message": "No such image: x:latest"}
    daemon.on("POST", "/containers/create", lambda exchange: exchange.reply(404, missing))
    failure = {"errorDetail": {"code": 404, "message": "no such manifest"}, "error": "x"}
    for path in ("/images/create", "/images/load"):
        daemon.on("POST", path, failure)
    result = call(program, *argv)
    assert result.returncode == code
    last = result.stderr.decode().replace("docker", "wherry").splitlines()
    if argv[0] == "run":
        assert last[-3:] == [
            "wherry: no such manifest", "", "Run 'wherry run --help' for more information"
        ]  # fmt: skip
    else:
        assert last[-1] == "no such manifest"


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


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_HOST", f"unix://{tmp_path}/none.sock")
    result = call(OWN, "ps")
    assert result.returncode == 1
    assert result.stderr.decode() == (
        f"Cannot connect to the Wherry daemon at unix://{tmp_path}/none.sock. "
        "Is the wherry daemon running?\n"
    )
    assert call(OWN, "run", "busybox").returncode == 125


def test_a_context_whose_name_is_no_text(daemon: FakeDaemon) -> None:
    result = subprocess.run([*OWN, "-c", b"\xff", "ps"], capture_output=True, timeout=60)
    assert result.returncode == 1
    assert b"context not found" in result.stderr
    assert b"Traceback" not in result.stderr


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


@pytest.mark.parametrize(
    ("closed", "argv", "code"),
    [
        ("<&-", ["ps"], 0),
        ("<&-", ["load"], 0),
        ("<&-", ["volume", "prune"], 0),
        ("<&-", ["run", "busybox"], 3),
        ("<&-", ["run", "-i", "busybox"], 3),
        (">&-", ["ps"], 0),
        (">&-", ["ps", "--help"], 0),
        ("2>&-", ["no-such-command"], 1),
        ("<&- >&- 2>&-", ["run", "-i", "busybox"], 3),
    ],
)
def test_a_standard_stream_that_is_closed(
    daemon: FakeDaemon, program: list[str], closed: str, argv: list[str], code: int
) -> None:
    """It is empty; nothing else takes its number, and no other stream its text."""
    daemon.on("GET", "/containers/json", [])
    daemon.on("POST", "/images/load", {"stream": "loaded"})
    container = Container(daemon, code=3)
    container.talk = lambda exchange: exchange.wfile.writelines([frame(1, b"hi")])
    result = call(["sh", "-c", f'exec "$@" {closed}', "sh", *program], *argv)
    assert result.returncode == code, result
    assert b"Traceback" not in result.stderr
    if "2>" in closed:
        assert result.stdout == b""


def test_output_is_utf8_whatever_the_locale(
    daemon: FakeDaemon, program: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    daemon.on("POST", "/containers/w/stop", lambda exchange: exchange.raw(204, b""))
    daemon.on("GET", "/containers/json", [{"Id": ID, "Names": ["/é"], "Command": "x" * 30}])
    result = call(program, "ps", "--format", "{{.Names}} {{.Command}}")
    assert result.stdout.decode() == 'é "' + "x" * 19 + '…"\n'
    daemon.on("DELETE", "/volumes/%FF", lambda exchange: exchange.raw(204, b""))
    result = call(program, "volume", "rm", os.fsdecode(b"\xff"))
    assert (result.returncode, result.stdout) == (0, b"\xff\n"), result.stderr


def test_an_answer_that_is_no_text_is_no(
    daemon: FakeDaemon, program: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")  # as in most locales
    result = call(program, "volume", "prune", stdin=b"\xff\n")
    assert result.returncode == 0
    assert b"Traceback" not in result.stderr
    assert not daemon.sent("POST", "/volumes/prune")


def test_an_interrupt_does_not_wait_for_the_daemon(daemon: FakeDaemon, program: list[str]) -> None:
    asked, done = threading.Semaphore(0), threading.Event()

    def stop(exchange: Exchange) -> None:
        asked.release()
        done.wait(30)

    for name in ("a", "b"):
        daemon.on("POST", f"/containers/{name}/stop", stop)
    process = started(program, "stop", "-t", "600", "a", "b")
    try:
        assert asked.acquire(timeout=10)
        assert asked.acquire(timeout=10)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        done.set()
        process.kill()
        process.communicate()
