"""Completion: words by position, live names, and the scripts in their shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.fake_daemon import Exchange, FakeDaemon

from wherry.cli.main import main


@pytest.fixture
def live(daemon: FakeDaemon) -> FakeDaemon:
    def containers(exchange: Exchange) -> None:
        running = [{"Names": ["/web"], "Image": "nginx"}]
        stopped = [{"Names": ["/old"], "Image": "busybox"}]
        asked = "".join(exchange.request_record.query.get("filters", []))
        exchange.reply(200, running if "running" in asked else running + stopped)

    daemon.on("GET", "/containers/json", containers)
    daemon.on("GET", "/images/json", [{"RepoTags": ["busybox:latest", "app:v1"]}, {"RepoTags": []}])
    daemon.on("GET", "/networks", [{"Name": "net", "Driver": "bridge"}])
    return daemon


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ru"], ["run"]),
        (["container", "sto"], ["stop"]),
        (["-H", "unix:///x", "container", "sto"], ["stop"]),
        (["rm", ""], ["old", "web"]),
        (["stop", ""], ["web"]),
        (["stop", "web", ""], ["web"]),
        (["run", "--rm", ""], ["app:v1", "busybox"]),
        (["run", "--network", ""], ["net"]),
        (["run", "-v", ""], []),
        (["kill", "-s", "US"], ["USR1", "USR2"]),
        (["load", "-i", ""], [":files"]),
        (["ps", "--no-t"], ["--no-trunc"]),
        (["nonsense", ""], []),
        (["completion", ""], []),
    ],
)
def test_words(
    live: FakeDaemon, words: list[str], found: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["__complete", "--", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split("\t")[0] for line in lines) == found


def test_no_daemon_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHERRY_HOST", f"unix://{tmp_path}/none")
    assert main(["__complete", "--", "rm", ""]) == 0
    assert capsys.readouterr().out == ""


def test_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 1
    assert "must be bash, zsh or fish" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_of_their_shell(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "wherry __complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    file = tmp_path / "script"
    file.write_text(script)
    subprocess.run([shell, "-n", str(file)], check=True)


def test_bash_completes(live: FakeDaemon, tmp_path: Path) -> None:
    """The real shell's completion function, called as the shell calls it."""
    command = tmp_path / "wherry"
    command.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from wherry.cli.main import main; main()' \"$@\"\n"
    )
    command.chmod(0o755)
    source = Path(__file__).resolve().parents[2] / "src"
    env = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(source),
    }
    script = (
        'eval "$(wherry completion bash)"; COMP_WORDS=(wherry rm "o"); COMP_CWORD=2; _wherry; '
        'echo "${COMPREPLY[@]}"'
    )
    result = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True)
    assert result.stdout == "old\n", result.stderr
