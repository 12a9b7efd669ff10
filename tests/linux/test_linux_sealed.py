"""Programs in sealed memory: executed, not writable, renewed when their file changes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    sealed = programs.path(str(echo))
    assert sealed != str(echo)
    done = subprocess.run([sealed, "hello"], capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n"
    assert programs.path(str(echo)) == sealed


def test_a_copy_cannot_be_written(programs: SealedPrograms, echo: Path) -> None:
    sealed = os.open(programs.path(str(echo)), os.O_RDWR)
    try:
        with pytest.raises(OSError, match="not permitted") as caught:
            os.write(sealed, b"changed")
        assert caught.value.errno == errno.EPERM
    finally:
        os.close(sealed)


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
