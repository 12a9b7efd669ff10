"""Programs in sealed memory: executed, not writable, renewed when their file changes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wherry.linux import sealed
from wherry.linux.sealed import SealedPrograms


@pytest.fixture
def programs() -> Iterator[SealedPrograms]:
    made = SealedPrograms()
    yield made
    made.close()


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    found = shutil.which("echo")
    assert found is not None
    return Path(shutil.copy(found, tmp_path / "echo"))


def test_a_copy_runs(programs: SealedPrograms, echo: Path) -> None:
    path = programs.path(str(echo))
    assert path != str(echo)
    done = subprocess.run([path, "hello"], capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n"
    assert programs.path(str(echo)) == path


def test_a_copy_cannot_be_written(programs: SealedPrograms, echo: Path) -> None:
    copy = os.open(programs.path(str(echo)), os.O_RDWR)
    try:
        with pytest.raises(OSError, match="not permitted") as caught:
            os.write(copy, b"changed")
        assert caught.value.errno == errno.EPERM
    finally:
        os.close(copy)


def test_an_upgraded_program_is_copied_again(programs: SealedPrograms, echo: Path) -> None:
    programs.path(str(echo))
    other = shutil.which("true")
    assert other is not None
    fresh = echo.with_name("fresh")
    shutil.copy(other, fresh)
    fresh.rename(echo)
    done = subprocess.run([programs.path(str(echo)), "hello"], capture_output=True, check=True)
    assert done.stdout == b""


def test_what_cannot_be_copied_is_used_as_it_is(programs: SealedPrograms, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho hello\n")
    assert programs.path(str(script)) == str(script)
    assert programs.path(str(tmp_path / "none")) == str(tmp_path / "none")


def test_the_copy_before_an_upgrade_runs_on(programs: SealedPrograms, echo: Path) -> None:
    """A launch that was told of it may be about to execute it."""
    old = programs.path(str(echo))
    fresh = echo.with_name("fresh")
    shutil.copy(echo, fresh)
    fresh.rename(echo)
    assert programs.path(str(echo)) != old
    done = subprocess.run([old, "hello"], capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n"


def test_threads_share_one_copy(
    programs: SealedPrograms, echo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[str] = []

    def counted(program: str) -> int | None:
        copies.append(program)
        return copy(program)

    copy = sealed._sealed_copy
    monkeypatch.setattr(sealed, "_sealed_copy", counted)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(programs.path, [str(echo)] * 32))
    assert len(found) == 1
    assert copies == [str(echo)]
