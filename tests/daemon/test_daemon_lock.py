"""One daemon a data root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.daemon.lock import RootLock
from wherry.daemon.process import identity, remove_pidfile, write_pidfile
from wherry.errors import Conflict, Invalid


def test_second_one_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    lock = RootLock(tmp_path / "lock")
    with pytest.raises(Conflict) as failure:
        RootLock(tmp_path / "lock")
    assert f"process {os.getpid()}" in failure.value.message
    assert str(tmp_path) in failure.value.message
    lock.release()
    RootLock(tmp_path / "lock").release()


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        RootLock(tmp_path / "none" / "lock")


def test_identity_is_made_once(tmp_path: Path) -> None:
    first = identity(tmp_path / "id")
    assert len(first) == 36
    assert identity(tmp_path / "id") == first


def test_pid_file_is_removed_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "run" / "pid"
    write_pidfile(path)
    assert path.read_text() == f"{os.getpid()}\n"
    remove_pidfile(path)
    assert not path.exists()
    path.write_text("1\n")
    remove_pidfile(path)
    assert path.exists()
