"""``wherry`` starts a daemon where none answers: only root, only on the default socket."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from wherry.cli import autostart
from wherry.cli.errors import CliError
from wherry.client.config import Endpoint

READY = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
print("up", os.getsid(0) == os.getpid(), flush=True)  # before anybody can connect
sock.listen()
sock.accept()
sock.accept()
"""


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("WHERRY_NO_AUTOSTART", raising=False)


def program(monkeypatch: pytest.MonkeyPatch, code: str, *argv: str) -> None:
    monkeypatch.setattr(autostart, "_program", lambda: [sys.executable, "-c", code, *argv])


@pytest.mark.usefixtures("root")
def test_starts_one_and_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "w.sock"
    program(monkeypatch, READY, str(path))
    endpoint = Endpoint(f"unix://{path}", None, "default", False)
    autostart.ensure_daemon(endpoint)
    assert (path.parent / "wherryd.log").read_text() == "up True\n"
    # A second command finds it: it would fail if it started another on the same path.
    autostart.ensure_daemon(endpoint)


@pytest.mark.usefixtures("root")
def test_failure_shows_the_end_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.sock"
    (tmp_path / "wherryd.log").write_text("of another day\n")
    program(monkeypatch, "import sys; sys.exit('no room left')")
    with pytest.raises(CliError) as caught:
        autostart.ensure_daemon(Endpoint(f"unix://{path}", None, "default", False))
    assert "ended with code 1" in caught.value.message
    assert caught.value.message.endswith("no room left")
    assert "another day" not in caught.value.message


@pytest.mark.usefixtures("root")
def test_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autostart, "START_TIMEOUT", 0.1)
    program(monkeypatch, "import sys; print('slow', flush=True); sys.stdin.read()")
    monkeypatch.setattr(autostart, "_program", lambda: ["/bin/sh", "-c", "echo slow; exec sleep 5"])
    with pytest.raises(CliError, match=r"is not ready after 0 s(.|\n)*slow"):
        autostart.ensure_daemon(Endpoint(f"unix://{tmp_path}/w.sock", None, "default", False))


def test_not_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[str]:
        raise AssertionError("nothing may be started")

    monkeypatch.setattr(autostart, "_program", fail)
    host = f"unix://{tmp_path}/w.sock"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    autostart.ensure_daemon(Endpoint(host, None, "default", False))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    autostart.ensure_daemon(Endpoint(host, None, "default", True))
    monkeypatch.setenv("WHERRY_NO_AUTOSTART", "1")
    autostart.ensure_daemon(Endpoint(host, None, "default", False))
    assert list(tmp_path.iterdir()) == []
