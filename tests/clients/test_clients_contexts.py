"""Contexts against a real daemon: TLS with certificates of our own, and ssh by a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.certificates import certificates
from tests.support.clients import ROOT, Done, Program, programs
from tests.support.engine import Engine
from tests.support.images import BASE

pytestmark = pytest.mark.root


class Far:
    """A daemon that also listens on TCP with mutual TLS, and a client that has never heard of it:
    no host in its environment, an empty configuration."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.certificates = engine.root / "tls"
        self.certificates.mkdir()
        certificates(self.certificates)
        engine.options += ["--host", "tcp://127.0.0.1:0", "--tlsverify"]
        for flag, file in (("cacert", "ca.pem"), ("cert", "server.pem"), ("key", "server.key")):
            engine.options += [f"--tls{flag}", str(self.certificates / file)]
        engine.start()
        assert engine.process is not None
        self.host = f"tcp://127.0.0.1:{listening(engine.process.pid)}"

    def file(self, name: str) -> str:
        return str(self.certificates / name)

    def docker(self, **files: str) -> str:
        """The value of ``--docker``."""
        words = [f"host={self.host}"]
        words += [f"{key}={self.file(name)}" for key, name in files.items()]
        return ",".join(words)

    @property
    def own(self) -> str:
        return self.docker(ca="ca.pem", cert="client.pem", key="client.key")


def listening(pid: int) -> int:
    """The TCP port that a process listens on."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(entry))
        except FileNotFoundError:
            continue
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            return int(fields[1].partition(":")[2], 16)
    raise AssertionError("it listens on no TCP port")


@pytest.fixture(scope="module")
def far() -> Iterator[Far]:
    with Engine() as engine:
        yield Far(engine)


class Stranger:
    """A client program with a configuration folder of its own."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.command = program.command
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder),
            "PYTHONPATH": str(ROOT / "src"),
            "WHERRY_NO_AUTOSTART": "1",
        }

    def __call__(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Done:
        done = subprocess.run(
            [*self.command, *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment | dict(env or {}),
            timeout=90,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def wherry(far: Far, tmp_path: Path) -> Iterator[Stranger]:
    yield Stranger(programs()[0], tmp_path)
    far.engine.remove_containers()


RUN = ("run", "--rm", "-i", "--network", "none", BASE, "cat")


def test_a_tls_context(wherry: Stranger, far: Far) -> None:
    wherry("context", "create", "far", "--docker", far.own).ok()
    assert wherry("--context", "far", *RUN, stdin="by flag").ok() == "by flag"
    for variable in ("WHERRY_CONTEXT", "DOCKER_CONTEXT"):
        assert wherry(*RUN, stdin="by variable", env={variable: "far"}).ok() == "by variable"
    wherry("context", "use", "far").ok()
    far.engine.run("sleep", "600", name="there")
    assert wherry("ps", "--format", "{{.Names}}").ok() == "there"
    assert wherry("exec", "there", "echo", "inside").ok() == "inside"
    assert wherry("version", "-f", "{{.Client.Context}}").ok() == "far"


def test_every_client_finds_it(wherry: Stranger, far: Far, program: Program) -> None:
    """What one client stored the other reads."""
    wherry("context", "create", "far", "--docker", far.own).ok()
    other = Stranger(program, wherry.folder)
    far.engine.run("sleep", "600", name="there")
    assert other("--context", "far", "ps", "--format", "{{.Names}}").ok() == "there"
    assert other("--context", "far", *RUN, stdin="to the end").ok() == "to the end"
    other("context", "create", "theirs", "--docker", far.own).ok()
    assert wherry("--context", "theirs", "ps", "--format", "{{.Names}}").ok() == "there"
    other("context", "export", "theirs", f"{wherry.folder}/file").ok()
    wherry("context", "import", "mine", f"{wherry.folder}/file").ok()
    assert wherry("--context", "mine", "ps", "--format", "{{.Names}}").ok() == "there"
    other("context", "rm", "-f", "mine").ok()
    assert "not found" in wherry("--context", "mine", "ps").err


def test_flags_and_variables(wherry: Stranger, far: Far) -> None:
    names = (("cacert", "ca.pem"), ("cert", "client.pem"), ("key", "client.key"))
    flags = [word for flag, file in names for word in (f"--tls{flag}", far.file(file))]
    assert wherry("-H", far.host, "--tlsverify", *flags, "ps", "-q").ok() == ""
    for part, (_, file) in zip(("ca", "cert", "key"), names, strict=True):
        (wherry.folder / f"{part}.pem").write_bytes(Path(far.file(file)).read_bytes())
    env = {"DOCKER_HOST": far.host, "DOCKER_TLS_VERIFY": "1"}
    assert wherry("ps", "-q", env=env | {"DOCKER_CERT_PATH": str(wherry.folder)}).ok() == ""
    assert wherry("ps", "-q", env=env).ok() == ""


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ca": "ca.pem"}, "asks for a client certificate, and none was given"),
        ({"ca": "ca.pem", "cert": "rogue.pem", "key": "rogue.key"}, "does not accept the client"),
        ({"ca": "otherca.pem"}, "the daemon's certificate is not trusted"),
        ({"cert": "client.pem", "key": "client.key"}, "(by the machine's authorities"),
        ({}, "does it want TLS?"),
    ],
)
@pytest.mark.parametrize("command", ["ps", f"run --rm {BASE} true", "logs -f x", "stats"])
def test_what_is_wrong_with_tls_is_said(
    wherry: Stranger, far: Far, files: dict[str, str], message: str, command: str
) -> None:
    wherry("context", "create", "far", "--docker", far.docker(**files)).ok()
    done = wherry("--context", "far", *command.split())
    assert done.code in (1, 125)
    assert message in done.err
    assert "Traceback" not in done.err
    assert far.engine.answers()


def test_a_certificate_file_that_is_not_there(wherry: Stranger, far: Far) -> None:
    (wherry.folder / "ca.pem").write_bytes(Path(far.file("ca.pem")).read_bytes())
    done = wherry("-H", far.host, "--tlsverify", "ps")
    assert done.code == 1
    assert f"there is no file {wherry.folder}/cert.pem" in done.err


def test_tls_to_a_daemon_that_speaks_none(wherry: Stranger) -> None:
    with Engine(options=["--host", "tcp://127.0.0.1:0", "--insecure-loopback"]) as engine:
        engine.start()
        assert engine.process is not None
        host = f"tcp://127.0.0.1:{listening(engine.process.pid)}"
        assert wherry("-H", host, "ps", "-q").ok() == ""
        done = wherry("-H", host, "--tls", "ps")
        assert done.code == 1
        assert "the daemon does not speak TLS" in done.err


SSH = """#!{python}
import json, os, sys
with open({record!r}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if {broken!r}:
    sys.exit("ssh: connect to host far port 22: No route to host")
# The other machine: its own PATH, its own daemon, a shell that runs what is asked.
os.environ |= {environment!r}
os.execvp("sh", ["sh", "-c", sys.argv[-1]])
"""


class Ssh:
    """A program ``ssh`` that runs the command on this machine, with one client of two on PATH."""

    def __init__(self, far: Far, folder: Path, remote: Program, *, broken: bool = False) -> None:
        self.record = folder / "record"
        self.record.touch()
        near, distant = folder / "near", folder / "distant"
        for place in (near, distant):
            place.mkdir()
        name = "wherry" if remote.is_wherry else "docker"
        # Neither of the two is to be found in the usual places.
        for tool in ("sh", "env"):
            found = next(p for p in ("/bin", "/usr/bin") if os.path.exists(f"{p}/{tool}"))
            (distant / tool).symlink_to(f"{found}/{tool}")
        words = " ".join(f"'{word}'" for word in remote.command)
        script = f'#!/bin/sh\nexec {words} "$@"\n'
        (distant / name).write_text(script)
        (distant / name).chmod(0o755)
        environment = {
            "PATH": str(distant),
            "WHERRY_HOST": far.engine.host,
            "DOCKER_HOST": far.engine.host,
            "DOCKER_CONFIG": str(distant),
        }
        values = {"python": sys.executable, "record": str(self.record), "broken": broken}
        (near / "ssh").write_text(SSH.format(environment=environment, **values))
        (near / "ssh").chmod(0o755)
        self.path = f"{near}:{os.environ['PATH']}"

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self.record.read_text().splitlines()]


def test_an_ssh_context(wherry: Stranger, far: Far, tmp_path: Path, program: Program) -> None:
    """The far machine has ``wherry``, or only ``docker``."""
    ssh = Ssh(far, tmp_path, program)
    wherry.environment["PATH"] = ssh.path
    wherry("context", "create", "far", "--docker", "host=ssh://me@machine:2222").ok()
    wherry("context", "use", "far").ok()
    far.engine.run("sleep", "600", name="there")
    assert wherry("ps", "--format", "{{.Names}}").ok() == "there"
    assert wherry(*RUN, stdin="through the pipe").ok() == "through the pipe"
    assert wherry("exec", "there", "sh", "-c", "exit 7").code == 7
    call = ssh.calls()[0]
    assert call[-3:-1] == ["--", "machine"]
    assert call[call.index("-l") : call.index("-l") + 4] == ["-l", "me", "-p", "2222"]


def test_a_socket_of_the_other_machine(wherry: Stranger, far: Far, tmp_path: Path) -> None:
    ssh = Ssh(far, tmp_path, programs()[0])
    wherry.environment["PATH"] = ssh.path
    assert wherry("-H", f"ssh://machine{far.engine.socket}", "ps", "-q").ok() == ""
    assert f"--host unix://{far.engine.socket} system dial-stdio" in ssh.calls()[0][-1]


def test_ssh_that_fails(wherry: Stranger, far: Far, tmp_path: Path) -> None:
    wherry.environment["PATH"] = Ssh(far, tmp_path, programs()[0], broken=True).path
    done = wherry("-H", "ssh://far", "ps")
    assert done.code == 1
    assert "No route to host" in done.err
    assert "ssh to ssh://far has ended" in done.err


def test_without_ssh(wherry: Stranger, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = wherry("-H", "ssh://far", "ps", env={"PATH": str(empty)})
    assert done.code == 1
    assert "needs the program ssh" in done.err
