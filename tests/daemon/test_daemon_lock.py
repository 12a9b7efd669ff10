"""One daemon a data root."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from wherry.daemon.lock import RootLock
from wherry.daemon.process import identity, prepared, remove_pidfile, write_pidfile
from wherry.errors import Conflict, Invalid
from wherry.store.paths import Paths


def test_second_one_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    lock = RootLock(tmp_path / "lock")
    with pytest.raises(Conflict) as failure:
        RootLock(tmp_path / "lock")
    assert f"process {os.getpid()}" in failure.value.message
    assert str(tmp_path) in failure.value.message
    lock.release()
    RootLock(tmp_path / "lock").release()


def test_one_that_is_given_up_leaves_no_file_and_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    held = [RootLock(path)]
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        """The second one has the file open already when the first one takes it away."""
        if held:
            held.pop().release(forget=True)
            assert not path.exists()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    second = RootLock(path)
    monkeypatch.undo()
    with pytest.raises(Conflict):
        RootLock(path)
    second.release()


def fail(paths: Paths) -> None:
    with prepared(paths):
        assert paths.netns.is_dir()
        assert stat.S_IMODE(paths.data.stat().st_mode) == 0o700
        assert stat.S_IMODE(paths.run.stat().st_mode) == 0o711
        (paths.tmp / "x").touch()
        raise Conflict("the port is taken")


def test_a_start_that_fails_takes_its_folders_away(tmp_path: Path) -> None:
    kept = tmp_path / "data" / "layers"
    kept.mkdir(parents=True)
    with pytest.raises(Conflict):
        fail(Paths(tmp_path / "data", tmp_path / "var" / "run"))
    left = sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*"))
    assert left == ["data", "data/layers", "data/tmp", "data/tmp/x"]


def test_of_two_that_begin_at_once_the_second_leaves_the_folders(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "data", tmp_path / "run")
    paths.data.mkdir()
    first = RootLock(paths.lock)
    with pytest.raises(Conflict, match="another wherryd"), prepared(paths):
        pass
    assert paths.blobs.is_dir()
    assert paths.netns.is_dir()
    first.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = Paths(tmp_path / "data", tmp_path / "file")
    with pytest.raises(Invalid, match=r"cannot use .*/file"), prepared(paths):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


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
