"""What systemd tells the daemon and is told: sockets, log lines, the end of the machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from wherry.daemon import systemd


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, []),
        ({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}, [3, 4]),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, []),
        ({"LISTEN_PID": str(os.getpid())}, []),
        ({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}, []),
    ],
)
def test_passed_sockets(environment: dict[str, str], found: list[int]) -> None:
    assert systemd.passed(environment) == found


@pytest.mark.parametrize(
    ("answer", "ends"), [("stopping", True), ("running", False), ("degraded", False)]
)
async def test_the_machine_ends(
    answer: str, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\n[ "$1" = is-system-running ] && echo {answer}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert await systemd.machine_ends() is ends


async def test_without_systemd_only_we_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not await systemd.machine_ends()


def test_lines_for_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.LogRecord("wherryd", logging.WARNING, "", 1, "two\nlines", None, None)
    with (tmp_path / "log").open("w") as log:
        status = os.fstat(log.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert systemd.log_formatter(log.fileno()).format(record) == "<4>wherryd: two\n<4>lines"
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        plain = systemd.log_formatter(log.fileno()).format(record)
    assert plain.endswith(" WARNING wherryd: two\nlines")
