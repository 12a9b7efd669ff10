"""The log reader: lines, ends, segments, and following through rotations."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.runtime import logfile, logsegments
from wherry.runtime.logfile import Reader, Selection, Snapshot, follow, read
from wherry.runtime.logline import Entry, parse_line, parse_lines, parse_time
from wherry.runtime.logsegments import Place, end_of_lines, segments

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
    (entry,) = parse_line(b"2026-01-01T01:00:00.123456789+01:00 stderr F a b  c")
    assert (entry.stream, entry.data) == (2, b"a b  c\n")
    assert entry.timestamp == "2026-01-01T00:00:00.123456789Z"
    assert entry.at == pytest.approx(1767225600.123456789)
    assert [each.data for each in parse_line(b"2026-01-01T00:00:00Z stdout P text")] == [b"text"]
    assert [each.data for each in parse_line(b"2026-01-01T00:00:00Z stdout F ")] == [b"\n"]


@given(st.binary(max_size=80))
def test_any_bytes_are_lines_or_none(raw: bytes) -> None:
    assert all(entry.stream in (1, 2) for entry in parse_line(raw))


@given(
    st.lists(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from("FP"), st.text("ab d")),
        max_size=20,
    )
)
def test_blocks_are_their_lines(lines: list[tuple[str, str, str]]) -> None:
    """The quick way through a block finds what the careful one finds in each line."""
    raw = [
        f"2026-01-01T00:00:00.{number:09}+00:00 {stream} {flag} {text}".encode()
        for number, (stream, flag, text) in enumerate(lines)
    ]
    expected = [entry for each in raw for entry in parse_line(each)]
    assert parse_lines(b"".join(each + b"\n" for each in raw)) == expected
    assert len(expected) == len(lines)


AT = "2026-01-01T00:00:{:02}.000000000+00:00"


def test_a_line_that_a_full_disk_cut_short_is_not_joined_with_the_next() -> None:
    cut = f"{AT.format(1)} stdout F first ha{AT.format(5)} stderr F second\n"
    assert [(each.stream, each.data) for each in parse_lines(cut.encode())] == [
        (1, b"first ha\n"),
        (2, b"second\n"),
    ]
    piece = f"{AT.format(1)} stdout P first ha{AT.format(5)} stdout F second"
    assert [each.data for each in parse_line(piece.encode())] == [b"first ha\n", b"second\n"]
    in_the_head = f"{AT.format(1)} stdo{AT.format(5)} stdout F second"
    assert [each.data for each in parse_line(in_the_head.encode())] == [b"second\n"]


def test_what_looks_like_a_line_in_a_text_of_its_container_is_text() -> None:
    """A container may print another one's log: its times are past."""
    quoted = f"{AT.format(5)} stdout F {AT.format(1)} stdout F inner"
    assert [each.data for each in parse_line(quoted.encode())] == [
        f"{AT.format(1)} stdout F inner\n".encode()
    ]


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
    kept = logsegments.BLOCK, logsegments._STEP
    logsegments.BLOCK = logsegments._STEP = 512
    try:
        with log.open("rb") as file:
            assert end_of_lines(file) == sum(len(each) for each in lines)
        whole = [entry.data for entry in read(log, ALL)]
        assert whole == [b"x" * size + b"\n" for size in sizes]
        last = [entry.data for entry in read(log, Selection(tail=tail))]
        assert last == (whole[-tail:] if tail else [])
    finally:
        logsegments.BLOCK, logsegments._STEP = kept


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from("FP"))),
    tail=st.integers(0, 12),
    stderr=st.booleans(),
)
def test_many_lines_are_counted_instead_of_held(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    entries: list[tuple[str, str]],
    tail: int,
    stderr: bool,
) -> None:
    log = tmp_path_factory.mktemp("logs") / "log"
    log.write_bytes(b"".join(line(n, stream, flag) for n, (stream, flag) in enumerate(entries)))
    selection = Selection(tail=tail, stderr=stderr)
    with monkeypatch.context() as patched:
        held = list(read(log, selection))
        patched.setattr(logfile, "_HELD", -1)
        assert list(read(log, selection)) == held


def test_a_long_tail_comes_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(line(n, text="x" * 1000) for n in range(1000)))
    monkeypatch.setattr(logfile, "_HELD", 100)
    snapshot = Snapshot(log)
    sizes = [len(batch) for batch in snapshot.batches(Selection(tail=900))]
    snapshot.close()
    assert sum(sizes) == 900
    assert max(sizes) < 500


async def collect(log: Path, selection: Selection, ended: asyncio.Event) -> list[str]:
    return [text async for batch in follow(log, selection, ended) for text in texts(batch)]


async def test_follow_through_rotations(tmp_path: Path) -> None:
    """Every line comes once, in order, while the file is rotated, compressed and dropped."""
    log = tmp_path / "log"
    log.write_bytes(line(0))
    ended = asyncio.Event()
    seen: list[str] = []
    arrived = asyncio.Condition()

    async def reader() -> None:
        async for batch in follow(log, ALL, ended):
            async with arrived:
                seen.extend(texts(batch))
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


def test_reading_on_after_the_log_was_emptied(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(1) + line(2))
    reader = Reader(log)
    try:
        assert texts(reader.read()) == ["1", "2"]
        log.write_bytes(b"")
        assert reader.read() == []
        log.write_bytes(line(3))
        assert texts(reader.read()) == ["3"]
    finally:
        reader.close()


def rotate(log: Path, *, packed: bool, keep: int = 4) -> None:
    """What the rotation does, and at once what compression does after it."""
    for number in range(keep - 1, 0, -1):
        for suffix in ("", ".gz"):
            old = log.with_name(f"log.{number}{suffix}")
            if not old.exists():
                continue
            if number == keep - 1:
                old.unlink()
            else:
                old.rename(log.with_name(f"log.{number + 1}{suffix}"))
    if packed:
        log.with_name("log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
        log.unlink()
    else:
        log.rename(log.with_name("log.1"))
    log.write_bytes(b"")


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["line", "rotate", "pack", "read", "restart"]), max_size=40),
    begin=st.integers(0, 2),
)
def test_a_reader_loses_and_repeats_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], begin: int
) -> None:
    """Whatever happens to the segments between two reads, and after a restart at the place."""
    log = tmp_path_factory.mktemp("logs") / "log"
    log.write_bytes(b"".join(line(n) for n in range(begin)))
    written = begin
    seen: list[str] = []
    reader = Reader(log)
    unread = 0
    for step in steps:
        if step == "line":
            with log.open("ab") as file:
                file.write(line(written))
            written += 1
        elif step in ("rotate", "pack") and unread < 2 and log.stat().st_size:
            rotate(log, packed=step == "pack")
            unread += 1
        elif step in ("read", "restart"):
            while batch := reader.read():
                seen += texts(batch)
            unread = 0
            if step == "restart":
                reader.close()
                reader = Reader(log, reader.place)
    while batch := reader.read():
        seen += texts(batch)
    reader.close()
    assert seen == [str(n) for n in range(written)]
    assert not reader.lost


def test_a_slow_reader_keeps_what_rotation_drops(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(0))
    reader = Reader(log)
    seen = texts(reader.read())
    for number in range(1, 9):
        with log.open("ab") as file:
            file.write(line(number))
        rotate(log, packed=False, keep=2)
        reader.hold()
    while batch := reader.read():
        seen += texts(batch)
    reader.close()
    assert seen == [str(n) for n in range(9)]


def test_a_place_that_is_gone_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(5))
    reader = Reader(log, Place("2020-01-01T00:00:00Z", 10))
    assert texts(reader.read()) == ["5"]
    assert reader.lost
    reader.close()


def test_a_snapshot_ends_where_a_reader_begins(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(line(0) + line(1) + line(2)[:9])
    snapshot = Snapshot(log)
    reader = Reader(log, snapshot.place())
    with log.open("ab") as file:
        file.write(line(2)[9:])
    assert texts([e for batch in snapshot.batches(ALL) for e in batch]) == ["0", "1"]
    snapshot.close()
    assert texts(reader.read()) == ["2"]
    rotate(log, packed=True)
    snapshot = Snapshot(log)
    assert snapshot.place() == Place(line(0).split()[0].decode(), 3 * len(line(0)))
    snapshot.close()
    reader.close()
