"""The log reader: lines, ends, segments, and following through rotations."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.runtime import logfile
from wherry.runtime.logfile import Selection, end_of_lines, follow, read, segments
from wherry.runtime.logline import Entry, parse_line, parse_time

ALL = Selection()


def line(number: int, stream: str = "stdout", flag: str = "F", text: str | None = None) -> bytes:
    """Line ``number`` is logged at second ``number`` of 2026."""
    clock = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.5+00:00"
    return f"{clock} {stream} {flag} {number if text is None else text}\n".encode()


ZERO = 1767225600.5
"""Unix time of line 0."""


def texts(entries: Iterator[Entry] | Sequence[Entry]) -> list[str]:
    return [entry.data.decode().rstrip("\n") for entry in entries]


def test_a_line() -> None:
    entry = parse_line(b"2026-01-01T01:00:00.123456789+01:00 stderr F a b  c")
    assert entry is not None
    assert (entry.stream, entry.data) == (2, b"a b  c\n")
    assert entry.timestamp == "2026-01-01T00:00:00.123456789Z"
    assert entry.at == pytest.approx(1767225600.123456789)
    partial = parse_line(b"2026-01-01T00:00:00Z stdout P text")
    assert partial is not None
    assert partial.data == b"text"
    empty = parse_line(b"2026-01-01T00:00:00Z stdout F ")
    assert empty is not None
    assert empty.data == b"\n"


@given(st.binary(max_size=80))
def test_any_bytes_are_a_line_or_none(raw: bytes) -> None:
    entry = parse_line(raw)
    assert entry is None or entry.stream in (1, 2)


def test_times() -> None:
    assert parse_time(b"2026-13-01T00:00:00Z") is None
    assert parse_time(b"yesterday") is None
    found = parse_time(b"1969-12-31T23:59:59.5Z")
    assert found is not None
    assert found[0] == -0.5


def test_tail_since_until_and_streams(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(line(n, "stderr" if n % 2 else "stdout") for n in range(10)))
    assert texts(read(log, ALL)) == [str(n) for n in range(10)]
    assert texts(read(log, Selection(tail=3))) == ["7", "8", "9"]
    assert texts(read(log, Selection(tail=0))) == []
    assert texts(read(log, Selection(tail=2, stderr=False))) == ["6", "8"]
    assert texts(read(log, Selection(since=ZERO + 7))) == ["7", "8", "9"]
    assert texts(read(log, Selection(until=ZERO + 2))) == ["0", "1", "2"]
    assert texts(read(log, Selection(since=ZERO + 8, tail=5))) == ["8", "9"]
    assert texts(read(log, Selection(until=ZERO + 4, tail=2))) == ["3", "4"]
    assert texts(read(tmp_path / "absent", ALL)) == []


def test_segments_in_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with gzip.open(tmp_path / "log.10.gz", "wb") as file:
        file.write(line(0) + line(1))
    with gzip.open(tmp_path / "log.2.gz", "wb") as file:
        file.write(line(2) + line(3))
    (tmp_path / "log.1").write_bytes(line(4))
    (tmp_path / "log.tmp").write_bytes(line(99))
    (tmp_path / "log.x.gz").write_bytes(b"")
    log.write_bytes(line(5))
    assert [each.number for each in segments(log)] == [10, 2, 1, 0]
    assert texts(read(log, ALL)) == ["0", "1", "2", "3", "4", "5"]
    assert texts(read(log, Selection(tail=4))) == ["2", "3", "4", "5"]
    (tmp_path / "log.2").write_bytes(line(2) + line(3))
    assert len(segments(log)) == 4
    assert texts(read(log, Selection(tail=9))) == ["0", "1", "2", "3", "4", "5"]


def test_a_compressed_segment_cut_short_gives_what_it_has(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(line(n) for n in range(5000)))
    (tmp_path / "log.1.gz").write_bytes(whole[: len(whole) // 2])
    found = texts(read(tmp_path / "log", ALL))
    assert 0 < len(found) < 5000
    assert found == [str(n) for n in range(len(found))]


def test_an_unfinished_line_is_not_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(0) + line(1)[:-4])
    assert texts(read(log, ALL)) == ["0"]
    assert texts(read(log, Selection(tail=5))) == ["0"]


def test_pieces_of_a_long_line_count_as_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(0) + line(1, flag="P", text="a") + line(1, text="b") + line(2))
    assert b"".join(entry.data for entry in read(log, Selection(tail=2))) == b"ab\n2\n"


def test_the_end_of_a_large_log_is_read_quickly(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(b"\n" + b"".join(line(n) for n in range(200)))
    before = time.process_time()
    assert texts(read(log, Selection(tail=100))) == [str(n) for n in range(100, 200)]
    assert time.process_time() - before < 0.2, "a gigabyte cannot be read in this time"


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 3000), max_size=60),
    tail=st.integers(0, 70),
    cut=st.integers(0, 3),
)
def test_backwards_is_forwards_reversed(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], tail: int, cut: int
) -> None:
    log = tmp_path_factory.mktemp("logs") / "log"
    lines = [line(n, text="x" * size) for n, size in enumerate(sizes)]
    log.write_bytes(b"".join(lines) + b"2026"[:cut])
    kept, logfile._BLOCK = logfile._BLOCK, 512
    try:
        with log.open("rb") as file:
            assert end_of_lines(file) == sum(len(each) for each in lines)
        whole = [entry.data for entry in read(log, ALL)]
        assert whole == [b"x" * size + b"\n" for size in sizes]
        last = [entry.data for entry in read(log, Selection(tail=tail))]
        assert last == (whole[-tail:] if tail else [])
    finally:
        logfile._BLOCK = kept


async def collect(log: Path, selection: Selection, ended: asyncio.Event) -> list[str]:
    return [entry.data.decode().rstrip("\n") async for entry in follow(log, selection, ended)]


async def test_follow_through_rotations(tmp_path: Path) -> None:
    """Every line comes once, in order, while the file is rotated, compressed and dropped."""
    log = tmp_path / "log"
    log.write_bytes(line(0))
    ended = asyncio.Event()
    seen: list[str] = []
    arrived = asyncio.Condition()

    async def reader() -> None:
        async for entry in follow(log, ALL, ended):
            async with arrived:
                seen.append(entry.data.decode().strip())
                arrived.notify_all()

    async def has(count: int) -> None:
        async with asyncio.timeout(20), arrived:
            await arrived.wait_for(lambda: len(seen) >= count)

    task = asyncio.gather(reader())
    await has(1)
    number = 1
    for turn in range(5):
        with log.open("ab") as file:
            file.write(line(number)[:10])
            file.flush()
            file.write(line(number)[10:])
            number += 1
        if turn % 2:
            await has(number)
        for old in (2, 1):
            path = tmp_path / f"log.{old}"
            if path.exists():
                path.rename(tmp_path / f"log.{old + 1}")
        log.rename(tmp_path / "log.1")
        with (tmp_path / "log.1").open("ab") as file:
            file.write(line(number))
            number += 1
        log.write_bytes(line(number))
        number += 1
        await has(number)
    ended.set()
    await asyncio.wait_for(task, 20)
    assert seen == [str(n) for n in range(number)]


async def test_follow_ends_with_all_that_was_written(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(line(n) for n in range(3)))
    ended = asyncio.Event()
    ended.set()
    assert await collect(log, Selection(tail=2), ended) == ["1", "2"]
    with log.open("ab") as file:
        file.write(b"".join(line(n) for n in range(3, 2000)))
    assert len(await collect(log, ALL, ended)) == 2000


async def test_follow_of_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ended = asyncio.Event()
    task = asyncio.gather(collect(log, ALL, ended))
    await asyncio.sleep(0)
    log.write_bytes(line(1))
    ended.set()
    assert list(await asyncio.wait_for(task, 20)) == [["1"]]


async def test_follow_stops_at_until(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(1) + line(2))
    found = await asyncio.wait_for(collect(log, Selection(until=ZERO + 1), asyncio.Event()), 20)
    assert found == ["1"]


async def test_follow_after_the_log_was_cleared(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(1) + line(2))
    follower = logfile.Follower(log, ALL)
    try:
        assert texts(follower.history()) == ["1", "2"]
        log.write_bytes(b"")
        assert follower.more() == []
        log.write_bytes(line(3))
        assert texts(follower.more()) == ["3"]
    finally:
        follower.close()
