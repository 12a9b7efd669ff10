"""Shifting and compressing log segments."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.containers.rotation import adopt, compress, plain_segment, reserve, shift, sweep
from wherry.runtime.logfile import Selection, read
from wherry.runtime.logsegments import segments


def line(number: int) -> bytes:
    return b"2026-01-01T00:00:00.%09dZ stdout F line %d\n" % (number, number)


def lines_of(log: Path) -> list[bytes]:
    return [entry.data for entry in read(log, Selection())]


def test_segments_move_up_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for number in range(5):
        log.write_bytes(line(number))
        shift(log, 3)
    log.write_bytes(line(5))
    assert lines_of(log) == [b"line 3\n", b"line 4\n", b"line 5\n"]
    assert sorted(each.number for each in segments(log)) == [0, 1, 2]


def pack(log: Path) -> None:
    segment = plain_segment(log)
    assert segment is not None
    packed = compress(segment.path)
    assert packed is not None
    adopt(log, packed)


def test_compressed_segments_read_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(1) + line(2))
    shift(log, 3)
    pack(log)
    assert not (tmp_path / "log.1").exists()
    assert gzip.decompress((tmp_path / "log.1.gz").read_bytes()) == line(1) + line(2)
    shift(log, 3)
    log.write_bytes(line(3))
    assert lines_of(log) == [b"line 1\n", b"line 2\n", b"line 3\n"]


def test_a_rotation_does_not_wait_for_compression(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(1))
    shift(log, 3)
    packed = compress(tmp_path / "log.1")
    assert packed is not None
    log.write_bytes(line(2))
    shift(log, 3)
    log.write_bytes(line(3))
    adopt(log, packed)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1", "log.2.gz"]
    assert lines_of(log) == [b"line 1\n", b"line 2\n", b"line 3\n"]


def test_a_segment_dropped_while_it_is_compressed_stays_away(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(1))
    shift(log, 2)
    packed = compress(tmp_path / "log.1")
    assert packed is not None
    log.write_bytes(line(2))
    shift(log, 2)
    adopt(log, packed)
    assert [each.name for each in tmp_path.iterdir()] == ["log.1"]


def test_a_segment_that_grew_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(1))
    shift(log, 2)
    packed = compress(tmp_path / "log.1")
    assert packed is not None
    with (tmp_path / "log.1").open("ab") as late:
        late.write(line(2))
    adopt(log, packed)
    assert lines_of(log) == [b"line 1\n", b"line 2\n"]


def test_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(1))
    shift(log, 3)
    compress(tmp_path / "log.1")
    (tmp_path / "log.1.gz").write_bytes((tmp_path / "part-log.1").read_bytes())
    sweep(log)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log.1", "log.1.gz"]
    log.write_bytes(line(2))
    shift(log, 3)
    log.write_bytes(line(3))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert lines_of(log) == [b"line 1\n", b"line 2\n", b"line 3\n"]


def test_compressing_what_is_gone_changes_nothing(tmp_path: Path) -> None:
    assert compress(tmp_path / "log.1") is None
    assert list(tmp_path.iterdir()) == []


def test_the_next_segment_is_there_before_the_monitor_needs_it(tmp_path: Path) -> None:
    reserve(tmp_path / "log")
    assert (tmp_path / "log.tmp").read_bytes() == b""


@given(keep=st.integers(1, 5), rounds=st.integers(1, 8))
def test_never_more_segments_than_asked(
    tmp_path_factory: pytest.TempPathFactory, keep: int, rounds: int
) -> None:
    """After any number of rotations the newest lines are there, in order, in at most N files."""
    folder = tmp_path_factory.mktemp("rotation")
    log = folder / "log"
    for number in range(rounds):
        log.write_bytes(line(number))
        shift(log, keep)
        if keep == 1:
            (folder / "log.1").unlink()
    log.write_bytes(line(rounds))
    kept = min(keep, rounds + 1)
    expected = [b"line %d\n" % number for number in range(rounds + 1 - kept, rounds + 1)]
    assert lines_of(log) == expected
