"""Cutting logs: options, renaming, compression."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from wherry.containers.rotate import Limits, compress, limits_of, shift
from wherry.errors import Invalid
from wherry.wire.container import LogConfig


def test_options() -> None:
    assert limits_of(None) == Limits(10 << 20, 3, True)
    asked = {"max-size": "1m", "max-file": "5", "compress": "false"}
    assert limits_of(LogConfig(type="local", config=asked)) == Limits(1 << 20, 5, False)
    assert limits_of(LogConfig(config={"max-size": "-1"})).size == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max-size": "0"}, "max-size must be a positive number"),
        ({"max-size": "x"}, "invalid size: 'x'"),
        ({"max-file": "0"}, "max-file cannot be less than 1"),
        ({"max-file": "x"}, "max-file"),
        ({"compress": "maybe"}, "compress"),
        ({"nope": "1"}, "unknown log opt 'nope' for json-file log driver"),
    ],
)
def test_bad_options(options: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        limits_of(LogConfig(type="json-file", config=options))


def test_segments_move_on_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    limits = Limits(1, 3, True)
    for number in range(5):
        log.write_text(f"{number}\n")
        segment = shift(log, limits)
        if segment is not None:
            compress(segment)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log.1", "log.2.gz"]
    assert (tmp_path / "log.1").read_text() == "4\n"
    assert gzip.decompress((tmp_path / "log.2.gz").read_bytes()) == b"3\n"


def test_one_segment_keeps_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x")
    assert shift(log, Limits(1, 1)) is None
    assert list(tmp_path.iterdir()) == []
