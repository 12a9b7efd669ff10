"""Command line clients as processes: several versions of Docker's, and Wherry's own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from tests.support.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300.0


@dataclass(frozen=True)
class Done:
    """How a client ended."""

    code: int
    out: str
    err: str

    def ok(self) -> str:
        """Standard output without the last newline; fails unless the exit code is 0."""
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self.out.rstrip("\n")


@dataclass(frozen=True)
class Program:
    """One client program. ``name`` appears in the test's id."""

    name: str
    command: tuple[str, ...]

    @property
    def is_wherry(self) -> bool:
        return self.name == "wherry"


def programs() -> list[Program]:
    """Wherry's command, and one docker command of each version found."""
    start = "import sys; from wherry.cli.main import main; sys.exit(main())"
    found = [Program("wherry", (sys.executable, "-c", start))]
    return found + [Program(f"docker-{name}", (path,)) for name, path in dockers().items()]


@cache
def dockers() -> dict[str, str]:
    """Docker's command: version (``20.10``) -> path. ``scripts/setup`` sees to one, of the
    distribution's version; another one may be on PATH."""
    found: dict[str, str] = {}
    for place in (ROOT / ".tools/docker/usr/bin/docker", shutil.which("docker")):
        if place is None or not Path(place).exists():
            continue
        text = subprocess.run([place, "--version"], capture_output=True, text=True, check=False)
        match = re.search(r"version (\d+\.\d+)", text.stdout)
        if match:
            found.setdefault(match[1], str(place))
    assert found, "no docker command: run scripts/setup"
    return found


LIKE_DOCKER = next((path for name, path in dockers().items() if int(name.split(".")[0]) >= 28), "")
"""The docker command whose texts and requests ours are compared with, word for word. No
distribution that ``scripts/setup`` knows has one as new."""
like_docker = pytest.mark.skipif(not LIKE_DOCKER, reason="no docker command of 28 or later on PATH")


class Cli:
    """A client program bound to one engine."""

    def __init__(self, program: Program, engine: Engine) -> None:
        self.program = program
        self.engine = engine
        self.environment = dict(engine.environment)
        if program.is_wherry:
            self.environment["PYTHONPATH"] = str(ROOT / "src")

    def __call__(
        self,
        *arguments: str,
        stdin: bytes | str = b"",
        env: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Done:
        """Run it to its end."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*self.program.command, *arguments],
            input=data,
            capture_output=True,
            env=self.environment | dict(env or {}),
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run it beside us, with pipes for all three streams."""
        return subprocess.Popen(
            [*self.program.command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )

    def terminal(self, *arguments: str, rows: int = 24, columns: int = 80) -> Terminal:
        """Run it on a terminal of its own."""
        return Terminal([*self.program.command, *arguments], self.environment, rows, columns)


class Terminal:
    """A process on a pseudo terminal, as a person would use it. Close it, or use ``with``."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], rows: int, columns: int
    ) -> None:
        self._master, slave = pty.openpty()
        self.resize(rows, columns, notify=False)
        self.text = b""
        """All output so far."""
        self._at = 0

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        try:
            self.process = subprocess.Popen(
                command,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=dict(env),
                start_new_session=True,
                preexec_fn=take_terminal,
            )
        finally:
            os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def resize(self, rows: int, columns: int, *, notify: bool = True) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if notify:
            self.process.send_signal(signal.SIGWINCH)

    def send(self, text: str | bytes) -> None:
        os.write(self._master, text.encode() if isinstance(text, str) else text)

    def expect(self, pattern: str, seconds: float = 60.0) -> re.Match[bytes]:
        """Read until ``pattern`` appears after the last match. AssertionError if it does not."""
        deadline = time.monotonic() + seconds
        compiled = re.compile(pattern.encode())
        while not (match := compiled.search(self.text, self._at)):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.text[self._at :][-1000:]!r}"
            assert self._read(left), f"ended without {pattern!r}: {self.text[-1000:]!r}"
        self._at = match.end()
        return match

    def _read(self, seconds: float) -> bool:
        """False at the end of the output."""
        ready, _, _ = select.select([self._master], [], [], min(seconds, 0.5))
        if not ready:
            return True
        try:
            chunk = os.read(self._master, 65536)
        except OSError:
            return False
        self.text += chunk
        return bool(chunk)

    def wait(self, seconds: float = 60.0) -> int:
        """Its exit code, with the output read to the end."""
        deadline = time.monotonic() + seconds
        while self._read(0.5) and time.monotonic() < deadline:
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self._master)
