"""Frames, detach keys, progress messages: everything that is cut from a byte stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.wire import detach, frames, progress


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=40)), max_size=6),
    st.lists(st.integers(0, 20), max_size=10),
)
def test_frames_round_trip(sent: list[tuple[int, bytes]], sizes: list[int]) -> None:
    data = b"".join(frames.frame(*each) for each in sent)
    decoder = frames.Decoder()
    got = [each for piece in _cut(data, sizes) for each in decoder.feed(piece)]
    assert got == sent
    assert decoder.pending == 0


def test_frame_layout() -> None:
    assert frames.frame(2, b"abc") == b"\x02\0\0\0\0\0\0\x03abc"
    assert frames.head(1, 258) == b"\x01\0\0\0\0\0\x01\x02"


def test_frames_refuse_other_streams() -> None:
    with pytest.raises(Invalid, match="Unrecognized input header: 104"):
        frames.Decoder().feed(b"hello world")
    with pytest.raises(Invalid, match="above the limit"):
        frames.Decoder(limit=10).feed(frames.head(1, 11))


def test_detach_parse() -> None:
    assert detach.parse(None) == detach.parse("") == b"\x10\x11"
    assert detach.parse("a,ctrl-z,ctrl-@,ctrl-_,DEL") == b"a\x1a\x00\x1f\x7f"


@pytest.mark.parametrize("text", ["ctrl-1", "ab", "a,", "ctrl-", "é", ","])
def test_detach_refused(text: str) -> None:
    with pytest.raises(Invalid, match="Invalid detach keys"):
        detach.parse(text)


def test_detach_holds_back() -> None:
    scanner = detach.Scanner(b"\x10\x11")
    assert scanner.feed(b"ab\x10") == (b"ab", False)
    assert scanner.feed(b"\x10") == (b"\x10", False)
    assert scanner.feed(b"c") == (b"\x10c", False)
    assert scanner.feed(b"d\x10") == (b"d", False)
    assert scanner.feed(b"\x11rest") == (b"", True)
    assert scanner.feed(b"more") == (b"", True)


def test_detach_flush_gives_back() -> None:
    scanner = detach.Scanner(b"ab")
    assert scanner.feed(b"xa") == (b"x", False)
    assert scanner.flush() == b"a"


@given(
    st.binary(min_size=1, max_size=4).map(lambda raw: bytes(b % 3 for b in raw)),
    st.binary(max_size=30).map(lambda raw: bytes(b % 3 for b in raw)),
    st.lists(st.integers(0, 8), max_size=8),
)
def test_detach_equals_search(keys: bytes, data: bytes, sizes: list[int]) -> None:
    scanner = detach.Scanner(keys)
    out = b"".join(scanner.feed(piece)[0] for piece in _cut(data, sizes))
    found = data.find(keys)
    assert scanner.detached is (found >= 0)
    if found >= 0:
        assert out == data[:found]
    else:
        assert out + scanner.flush() == data


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), _VALUES, max_size=3), max_size=4),
    st.lists(st.integers(0, 12), max_size=12),
    st.sampled_from([b"", b"\n", b"\r\n", b"\x1e"]),
)
def test_progress_round_trip(sent: list[dict[str, Any]], sizes: list[int], between: bytes) -> None:
    data = b"".join(between + json.dumps(each).encode() for each in sent)
    decoder = progress.Decoder()
    got = [each for piece in _cut(data, sizes) for each in decoder.feed(piece)]
    decoder.close()
    assert got == sent


@given(st.binary(max_size=30), st.lists(st.integers(0, 8), max_size=5))
def test_progress_value_or_invalid(data: bytes, sizes: list[int]) -> None:
    decoder = progress.Decoder()
    try:
        for piece in _cut(data, sizes):
            assert all(isinstance(each, dict) for each in decoder.feed(piece))
        decoder.close()
    except Invalid:
        pass


@pytest.mark.parametrize("data", [b"null", b"[1]", b"{]", b"{nope}", b"}"])
def test_progress_refuses(data: bytes) -> None:
    with pytest.raises(Invalid):
        progress.Decoder().feed(data)


def test_progress_truncated() -> None:
    decoder = progress.Decoder()
    assert decoder.feed(b'{"a":"}') == []
    with pytest.raises(Invalid, match="unexpected EOF"):
        decoder.close()


def test_progress_messages() -> None:
    assert progress.encode({"a": "é"}) == '{"a":"é"}\r\n'.encode()
    assert progress.status("Waiting", id="x") == {
        "status": "Waiting",
        "progressDetail": {},
        "id": "x",
    }
    half = progress.status("Downloading", id="x", current=50, total=100)
    assert half["progressDetail"] == {"current": 50, "total": 100}
    assert half["progress"] == "[" + "=" * 25 + ">" + " " * 24 + "]      50B/100B"
    assert progress.bar(100, 100) == "[" + "=" * 50 + "]     100B/100B"
    assert progress.failure("no")["errorDetail"] == {"message": "no"}
