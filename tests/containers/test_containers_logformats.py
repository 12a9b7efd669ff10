"""What goes over the wire to servers of logs, byte by byte."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.containers.joiner import Pieces
from wherry.containers.shipping import formats
from wherry.containers.shipping.options import Address, Fluentd, Gelf, Syslog
from wherry.containers.shipping.origin import Origin, tag_of
from wherry.runtime.logline import Entry

ID = "0123456789abcdef" * 4
ORIGIN = Origin(
    id=ID,
    name="web",
    image_id="sha256:" + "9" * 64,
    image_name="shop:1",
    command=["serve", "-p", "80"],
    created="2026-01-01T00:00:00Z",
    hostname="host1",
    tag="0123456789ab",
    extra={"team": "blue"},
)
OUT = Entry(1, b"hello world\n", b"2026-02-03T04:05:06.123456789+00:00")
ERR = Entry(2, b"bad\n", b"2026-02-13T04:05:06.000000000+00:00")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("", b"<30>Feb  3 04:05:06 0123456789ab[77]: hello world\n"),
        ("rfc3164", b"<30>Feb  3 04:05:06 host1 0123456789ab[77]: hello world\n"),
        (
            "rfc5424",
            b"<30>1 2026-02-03T04:05:06Z host1 0123456789ab 77 0123456789ab - hello world\n",
        ),
        (
            "rfc5424micro",
            b"<30>1 2026-02-03T04:05:06.123456Z host1 0123456789ab 77 0123456789ab - hello world\n",
        ),
    ],
)
def test_syslog(style: str, expected: bytes) -> None:
    assert formats.syslog(OUT, ORIGIN, Syslog(None, 3, style), 77) == expected


def test_syslog_errors_facilities_and_frames() -> None:
    local0 = Syslog(Address("udp", "h", 514), 16, "")
    assert formats.syslog(ERR, ORIGIN, local0, 1).startswith(b"<131>Feb 13 ")
    secure = Syslog(Address("tcp+tls", "h", 6514), 3, "rfc5424")
    size, _, message = formats.syslog(OUT, ORIGIN, secure, 77).partition(b" ")
    assert int(size) == len(message)
    plain = Syslog(Address("tcp+tls", "h", 6514), 3, "rfc3164")
    assert formats.syslog(OUT, ORIGIN, plain, 77).startswith(b"<30>Feb")


def test_gelf() -> None:
    assert json.loads(formats.gelf(OUT, ORIGIN)) == {
        "version": "1.1",
        "host": "host1",
        "short_message": "hello world",
        "timestamp": 1770091506.123,
        "level": 6,
        "_command": "serve -p 80",
        "_container_id": ID,
        "_container_name": "web",
        "_created": "2026-01-01T00:00:00Z",
        "_image_id": "sha256:" + "9" * 64,
        "_image_name": "shop:1",
        "_tag": "0123456789ab",
        "_team": "blue",
    }
    assert json.loads(formats.gelf(ERR, ORIGIN))["level"] == 3
    assert formats.gelf(Entry(1, b"\n", OUT.stamp), ORIGIN) == b""
    assert formats.joined([b"{}", b"", b"[]"]) == b"{}\0[]\0"


@given(st.binary(max_size=6000), st.sampled_from(["gzip", "zlib", "none"]), st.integers(-1, 9))
def test_gelf_packets_make_up_the_message(message: bytes, kind: str, level: int) -> None:
    packets = formats.gelf_packets(message, Gelf(Address("udp", "h", 1), kind, level))
    if len(packets) > 1:
        assert all(packet[:10] == packets[0][:10] for packet in packets)
        assert packets[0][:2] == b"\x1e\x0f"
        assert [packet[10:12] for packet in packets] == [
            bytes((number, len(packets))) for number in range(len(packets))
        ]
        packets = [packet[12:] for packet in packets]
    whole = b"".join(packets)
    if kind == "gzip":
        whole = gzip.decompress(whole)
    elif kind == "zlib":
        whole = zlib.decompress(whole)
    assert whole == message


def test_a_gelf_message_above_128_chunks_is_not_sent() -> None:
    target = Gelf(Address("udp", "h", 1), "none", 1)
    assert len(formats.gelf_packets(b"x" * 1408 * 128, target)) == 128
    assert formats.gelf_packets(b"x" * (1408 * 128 + 1), target) == []


def test_fluentd() -> None:
    target = Fluentd(Address("tcp", "h", 1), ack=False, precise=False)
    tag, events, option = msgspec.msgpack.decode(
        formats.fluentd([OUT, ERR], ORIGIN, target, Pieces())
    )
    assert (tag, option) == ("0123456789ab", {"size": 2})
    assert events[0] == [
        1770091506,
        {
            "container_id": ID,
            "container_name": "/web",
            "source": "stdout",
            "log": "hello world",
            "team": "blue",
        },
    ]
    assert events[1][1]["source"] == "stderr"


def test_fluentd_with_nanoseconds_and_an_answer() -> None:
    target = Fluentd(Address("tcp", "h", 1), ack=True, precise=True)

    def extension(code: int, data: memoryview) -> Any:
        return code, bytes(data)

    decoder = msgspec.msgpack.Decoder(ext_hook=extension)
    _, events, option = decoder.decode(formats.fluentd([OUT], ORIGIN, target, Pieces(), "abc"))
    assert option == {"size": 1, "chunk": "abc"}
    moment = (1770091506).to_bytes(4, "big") + (123456789).to_bytes(4, "big")
    assert events[0][0] == (0, moment)
    answer = msgspec.msgpack.encode({"ack": "abc"})
    assert formats.fluentd_answer(answer) == "abc"
    assert formats.fluentd_answer(answer[:-1]) is None
    assert formats.fluentd_answer(msgspec.msgpack.encode([])) == ""


def test_journald() -> None:
    assert formats.journald(OUT, ORIGIN) == (
        b"PRIORITY=6\n"
        b"CONTAINER_ID=0123456789ab\n"
        b"CONTAINER_ID_FULL=" + ID.encode() + b"\n"
        b"CONTAINER_NAME=web\n"
        b"CONTAINER_TAG=0123456789ab\n"
        b"IMAGE_NAME=shop:1\n"
        b"SYSLOG_IDENTIFIER=0123456789ab\n"
        b"SYSLOG_TIMESTAMP=2026-02-03T04:05:06.123456789Z\n"
        b"TEAM=blue\n"
        b"MESSAGE=hello world\n"
    )
    two = formats.journald(Entry(2, b"a\nb\n", OUT.stamp), ORIGIN)
    assert two.startswith(b"PRIORITY=3\n")
    assert two.endswith(b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n")
    assert formats.journal_name("com.example/team-1") == "COM_EXAMPLE_TEAM_1"
    assert formats.journal_name("_x") == "X"


def test_pieces_of_a_long_line_are_marked() -> None:
    long = Entry(1, b"x" * (16 << 10), OUT.stamp)
    pieces = Pieces()
    first, whole, second, last, after = (
        formats.journald(each, ORIGIN, pieces.of(each)) for each in (long, ERR, long, OUT, OUT)
    )
    assert b"\nCONTAINER_PARTIAL_MESSAGE=true\n" in first
    assert b"\nCONTAINER_PARTIAL_ORDINAL=1\nCONTAINER_PARTIAL_LAST=false\n" in first
    assert b"\nCONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=false\n" in second
    assert b"\nCONTAINER_PARTIAL_ORDINAL=3\nCONTAINER_PARTIAL_LAST=true\n" in last
    assert b"PARTIAL_MESSAGE" not in last
    assert b"PARTIAL" not in whole + after
    ids = [each.split(b"PARTIAL_ID=")[1].split(b"\n")[0] for each in (first, second, last)]
    assert len(set(ids)) == 1
    target = Fluentd(Address("tcp", "h", 1), ack=False, precise=False)
    _, events, _ = msgspec.msgpack.decode(
        formats.fluentd([long, OUT, OUT], ORIGIN, target, Pieces())
    )
    assert [each[1].get("partial_last") for each in events] == ["false", "true", None]
    assert events[0][1]["partial_id"] == events[1][1]["partial_id"]


def test_tags() -> None:
    assert tag_of(ORIGIN, {}) == "0123456789ab"
    text = "{{.ImageName}}/{{.Name}}/{{.ID}}/{{.FullID}}/{{.ImageID}}/{{.DaemonName}}"
    expected = f"shop:1/web/0123456789ab/{ID}/{'9' * 12}/wherry"
    assert tag_of(ORIGIN, {"tag": text}) == expected
    assert tag_of(ORIGIN, {"tag": '{{index .ExtraAttributes "team"}}'}) == "blue"
    assert tag_of(ORIGIN, {"tag": "{{.Nothing}}"}) == "0123456789ab"
