"""``--help`` of every command: what it does, every option, examples that parse, exit codes."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.cli import registry
from wherry.cli.flags import parse
from wherry.cli.help import command_line
from wherry.cli.main import GLOBAL_FLAGS, main
from wherry.cli.manual import page

ENTRIES = {
    registry.canonical(entry): entry
    for table in (*(table for _, table in registry.GROUPS.values()), registry.OWN)
    for entry in table.values()
    if entry[1]
}
"""Every command that is listed, by its first name."""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_command_has_a_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = page(name)
    assert found is not None, f"describe {name!r} in a module of wherry/cli/manual"
    assert len(found.about) > 40
    assert found.examples
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage:  wherry ")
    assert ENTRIES[name][1] in shown
    assert "\nExamples:\n" in shown
    assert "\nExit codes:\n  0 " in shown
    assert "\x1b" not in shown
    for flag in registry.load(ENTRIES[name]).flags:
        if not flag.hidden:
            assert f"--{flag.name}" in shown
            assert flag.help.strip(), f"--{flag.name} of {name} says nothing"


def test_no_page_without_a_command() -> None:
    for module in ("container", "general", "image", "networks", "volumes"):
        pages = __import__(f"wherry.cli.manual.{module}", fromlist=["PAGES"]).PAGES
        assert set(pages) <= set(ENTRIES)


def commands() -> list[tuple[str, str]]:
    found = []
    for name in ENTRIES:
        described = page(name)
        found += [(name, line) for _, line in described.examples] if described else []
    return found


@pytest.mark.parametrize(("name", "example"), commands(), ids=str)
def test_examples_are_right(name: str, example: str) -> None:
    """Each ``wherry ...`` of an example is a command with flags it knows, and one is this one."""
    line = command_line(example)
    inner = re.findall(r"\$\((wherry [^)]*)\)", line)
    line = re.sub(r"\$\(.*?\)", "WORDS", line)
    parts = [one.removeprefix("wherry ") for one in inner] + re.findall(
        r"\bwherry ((?:'[^']*'|\"[^\"]*\"|[^|<>)'\"])+)", line
    )
    assert parts, line
    seen = []
    for part in parts:
        words = [word for word in shlex.split(part) if word != "2"]
        path, entry = registry.find(words)
        assert entry is not None, words
        command = registry.load(entry)
        options, arguments = parse(
            command.flags, words[len(path) :], interspersed=command.interspersed
        )
        command.check_count(" ".join(path), arguments)
        assert not options.on("help")
        seen.append(registry.canonical(entry))
    assert name in seen


def test_the_whole_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    titles = [line[:-1] for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["Common Commands", "Management Commands", "Commands", "Global Options"]
    for name in (*registry.GROUPS, *registry.TOP):
        assert re.search(rf"^  {name}\b", shown, re.M)
    for flag in GLOBAL_FLAGS:
        assert f"--{flag.name}" in shown


def test_ways_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    main(["ps", "--help"])
    expected = capsys.readouterr().out.replace("wherry ps [", "wherry container ls [")
    for words in (["help", "container", "ls"], ["container", "ls", "--help"]):
        assert main(words) == 0
        assert capsys.readouterr().out == expected


@pytest.mark.parametrize("words", [[], ["container"], ["context"]], ids=str)
def test_what_nobody_asked_for_is_no_output(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    done = capsys.readouterr()
    assert done.out == ""
    assert done.err.startswith("Usage:  wherry ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["help", "nope"], "unknown help topic: nope"),
        (["-l", "loud", "ps"], "Unable to parse logging level: loud"),
        (["--log-level=loud", "ps"], "Unable to parse logging level: loud"),
    ],
)
def test_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    assert capsys.readouterr().err == f"{message}\n"


def on_a_terminal(*words: str, **env: str) -> str:
    """What the command prints on a terminal."""
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", **env}
    process = subprocess.Popen(
        [sys.executable, "-m", "wherry.cli.main", *words],
        stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=environment,
    )  # fmt: skip
    os.close(slave)
    text = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.close(master)
    assert process.wait(60) == 0
    return text.decode()


def test_colour_only_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"NO_COLOR": ""}
    assert "\x1b[1mOptions:\x1b[0m" in on_a_terminal("ps", "--help", **environment)
    assert "\x1b[1mCommands:\x1b[0m" in on_a_terminal("--help", **environment)
    assert "\x1b" not in on_a_terminal("ps", "--help", NO_COLOR="1")
    assert "\x1b" not in on_a_terminal("ps", "--help", TERM="dumb", **environment)
    main(["ps", "--help"])
    assert "\x1b" not in capsys.readouterr().out
