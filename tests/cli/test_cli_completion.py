"""Completion: words by position, live names, and the scripts in their shells."""

from __future__ import annotations

import os
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
    daemon.on("GET", "/volumes", {"Volumes": [{"Name": "data", "Driver": "local"}]})
    return daemon


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ru"], ["run"]),
        (["container", "sto"], ["stop"]),
        (["-H", "unix:///x", "container", "sto"], ["stop"]),
        (["-H", "unix:///x", "rm", ""], []),
        (["-D", "rm", "--", ""], ["old", "web"]),
        (["-l", "de"], ["debug"]),
        (["--context", "def"], ["default"]),
        (["context", "use", ""], ["default"]),
        (["rm", ""], ["old", "web"]),
        (["stop", ""], ["web"]),
        (["stop", "web", ""], []),
        (["stop", "other", ""], ["web"]),
        (["logs", "web", ""], []),
        (["logs", "--tail", "5", ""], ["old", "web"]),
        (["rename", "web", ""], []),
        (["exec", "web", ""], []),
        (["exec", "--env-file", ""], [":files"]),
        (["run", "app:v1", ""], []),
        (["run", "app:v1", "-"], []),
        (["network", "connect", ""], ["net"]),
        (["network", "connect", "net", ""], ["old", "web"]),
        (["commit", "web", ""], ["app:v1", "busybox"]),
        (["cp", ""], [":files", "old:", "web:"]),
        (["cp", "web:/x", ""], [":files", "old:", "web:"]),
        (["import", ""], [":files"]),
        (["inspect", ""], ["app:v1", "busybox", "data", "net", "old", "web"]),
        (["inspect", "--type", ""], ["container", "image", "network", "volume"]),
        (["ps", "-f", "status=p"], ["status=paused"]),
        (["ps", "--filter", "na"], ["name="]),
        (["ps", "--filter=na"], ["--filter=name="]),
        (["image", "prune", "--filter", "unt"], ["until="]),
        (["run", "--restart", ""], ["always", "no", "on-failure", "unless-stopped"]),
        (["run", "--restart=al"], ["--restart=always"]),
        (["run", "--network=n"], ["--network=net"]),
        (["run", "--rm="], []),
        (["run", "-v", ""], [":files", "data:"]),
        (["run", "--rm", ""], ["app:v1", "busybox"]),
        (["run", "--network", ""], ["net"]),
        (["kill", "-s", "US"], ["USR1", "USR2"]),
        (["load", "-i", ""], [":files"]),
        (["ps", "--no-t"], ["--no-trunc"]),
        (["nonsense", ""], []),
        (["completion", ""], ["bash", "fish", "zsh"]),
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
    file = tmp_path / "script"
    file.write_text(script)
    subprocess.run([shell, "-n", str(file)], check=True)


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that has ``wherry``."""
    command = tmp_path / "bin" / "wherry"
    command.parent.mkdir()
    command.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from wherry.cli.main import main; main()' \"$@\"\n"
    )
    command.chmod(0o755)
    source = Path(__file__).resolve().parents[2] / "src"
    path = f"{command.parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(source), "HOME": str(tmp_path)}


LINES = [
    ("wherry rm o", ["old"]),
    ("wherry rm ", ["old", "web"]),
    ("wherry run app:v", ["app:v1"]),
    ("wherry run --network=n", ["--network=net"]),
    ("wherry cp we", ["web:"]),
    ("wherry ps -f status=pa", ["status=paused"]),
    ("wherry netw", ["network"]),
]
"""What was typed, and what the word at its end may become."""

# What the shell would insert stands behind what bash holds for the word being typed.
_BASH_ASK = """
eval "$(wherry completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
COMP_WORDS=() rest=$1
pattern='^([^[:space:]=:]+|[=:]+)'
while [[ -n $rest ]]; do
    if [[ $rest =~ ^[[:space:]]+ ]]; then
        rest=${rest:${#BASH_REMATCH}}
        [[ -z $rest ]] && COMP_WORDS+=("")
        continue
    fi
    [[ $rest =~ $pattern ]]; COMP_WORDS+=("${BASH_REMATCH[1]}"); rest=${rest:${#BASH_REMATCH}}
done
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
compopt() { :; }
_wherry
last=${COMP_WORDS[COMP_CWORD]}
[[ $last == [=:] ]] && last=
whole=${1##* }
for one in "${COMPREPLY[@]}"; do echo "${whole%"$last"}$one"; done
"""
_ZSH_ASK = """
compdef() { : }
_files() { : }
_describe() {
    local one
    for one in ${(P)2}; do
        one=${one//\\\\:/%}
        print -r -- ${${one%%:*}//\\%/:}
    done
}
eval "$(wherry completion zsh)"
words=(${(s: :)1}); [[ $1 == *" " ]] && words+=("")
CURRENT=$#words
_wherry
"""
_FISH_ASK = "wherry completion fish | source; complete -C $argv[1] | cut -f1"


@pytest.mark.parametrize(("line", "found"), LINES)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(
    live: FakeDaemon, installed: dict[str, str], shell: str, line: str, found: list[str]
) -> None:
    """The real shell with our script: fish asks itself, bash and zsh call as they would."""
    command = {
        "bash": ["bash", "-c", _BASH_ASK, "x", line],
        "zsh": ["zsh", "-f", "-c", _ZSH_ASK, "x", line],
        "fish": ["fish", "--no-config", "-c", _FISH_ASK, line],
    }[shell]
    done = subprocess.run(command, env=installed, capture_output=True, text=True, timeout=100)
    assert sorted(set(done.stdout.split())) == found, done.stderr
