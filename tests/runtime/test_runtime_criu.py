"""criu: whether a host can make checkpoints, and what is said where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from wherry.runtime import criu, monitor
from wherry.runtime.commands import ENVIRONMENT, Commands, Finished

LOG = """\
(00.000001) Version: 4.1 (gitid 0)
(00.011382) Error (criu/sk-inet.c:219): inet: Connected TCP socket, consider using an option
(00.014000)      7: Error (criu/cr-dump.c:1781): Dumping FAILED.
(00.014100) Unlock network
"""


class Answers:
    """Commands that answer by their first word's name."""

    def __init__(self, **found: Finished) -> None:
        self.found = found
        self.calls: list[list[str]] = []

    async def run(self, words: list[str], **options: Any) -> Finished:
        self.calls.append(words)
        return self.found[Path(words[0]).name]


GOOD = Finished(0, "Looks good.\n", "")


@pytest.mark.parametrize(
    ("runtime", "answers", "place", "words"),
    [
        ("/usr/bin/crun", {"crun": Finished(0, "crun version 1\n+SECCOMP", "")}, "", "built with"),
        ("/usr/bin/crun", {"crun": Finished(0, "+CRIU", ""), "criu": GOOD}, "/opt/criu", ""),
        ("/usr/bin/crun", {"crun": Finished(0, "+CRIU", "")}, "", "criu is not installed"),
        ("/usr/sbin/runc", {}, "", "install the package criu"),
        ("/usr/sbin/runc", {"criu": GOOD}, "/opt/criu", ""),
        (
            "/usr/sbin/runc",
            {"criu": Finished(1, "", "Warn x\nError (criu/a.c:1): no CLONE_CHILD_STACK\nmore")},
            "/opt/criu",
            "this kernel lacks what criu needs: Error (criu/a.c:1): no CLONE_CHILD_STACK",
        ),
    ],
)
async def test_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    answers: dict[str, Finished],
    place: str,
    words: str,
) -> None:
    monkeypatch.setattr(criu, "find", lambda name: place or None)
    commands = Answers(**answers)
    known = criu.Criu(cast(Commands, commands))
    lack = await known.lack(runtime)
    assert (words in lack) if words else lack == ""
    if not words:
        before = len(commands.calls)
        assert await known.lack("/usr/sbin/runc") == ""
        assert len(commands.calls) == before
    assert known.environment()["PATH"].endswith("/opt" if place else ENVIRONMENT["PATH"])


def test_logs(tmp_path: Path) -> None:
    assert criu.complaint(tmp_path / "dump.log") == ""
    assert not criu.finished(tmp_path)
    (tmp_path / "dump.log").write_text(LOG)
    assert criu.complaint(tmp_path / "dump.log") == "Dumping FAILED."
    assert not criu.finished(tmp_path)
    (tmp_path / "dump.log").write_text(LOG + "(00.2) Dumping finished successfully\n")
    assert criu.finished(tmp_path)
    assert criu.first_error("") == "criu check failed"


def test_calls(tmp_path: Path) -> None:
    words = criu.checkpoint_words(Path("/i"), "c1", leave_running=True)
    assert words == [
        "checkpoint", "--image-path", "/i", "--work-path", "/i", "--leave-running", "c1",
    ]  # fmt: skip
    assert "--leave-running" not in criu.checkpoint_words(Path("/i"), "c1", leave_running=False)
    arguments = monitor.create_arguments(
        monitor.Tools("conmon", tmp_path),
        "runc",
        tmp_path,
        "c1",
        log_path=None,
        exit_dir=tmp_path,
        terminal=False,
        stdin=False,
        leave_stdin_open=False,
        restore=Path("/i"),
    )
    assert arguments[-2:] == ["--restore", "/i"]
