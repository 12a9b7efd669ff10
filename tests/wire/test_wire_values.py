"""Durations, sizes, times, signals, filters."""

from __future__ import annotations

import json
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.wire import durations as d
from wherry.wire import filters, signals


@pytest.mark.parametrize(
    ("text", "value", "back"),
    [
        ("0", 0, "0s"),
        ("1h30m", 5400 * d.SECOND, "1h30m0s"),
        ("1.5s", 1_500_000_000, "1.5s"),
        ("-10ms", -10_000_000, "-10ms"),
        ("1us", 1000, "1µs"),
        ("1.5us", 1500, "1.5µs"),
        ("+3ns", 3, "3ns"),
        (".5m", 30 * d.SECOND, "30s"),
        ("90s", 90 * d.SECOND, "1m30s"),
        ("100h", 100 * d.HOUR, "100h0m0s"),
    ],
)
def test_durations(text: str, value: int, back: str) -> None:
    assert d.parse_duration(text) == value
    assert d.format_duration(value) == back


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1 s", ".s", "-", "1h-1m", "9" * 25 + "h"])
def test_durations_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid duration"):
        d.parse_duration(text)


@given(st.integers(-(1 << 62), 1 << 62))
def test_duration_round_trip(value: int) -> None:
    assert d.parse_duration(d.format_duration(value)) == value


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (45, "45 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (600, "10 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_human_duration(seconds: float, words: str) -> None:
    assert d.human_duration(int(seconds * d.SECOND)) == words
    assert d.ago(0, int(seconds * d.SECOND)) == words + " ago"


def test_sizes() -> None:
    assert [d.human_size(n) for n in (0, 999, 1000, 12_345_678, 1_500_000_000)] == [
        "0B",
        "999B",
        "1kB",
        "12.35MB",
        "1.5GB",
    ]
    assert d.human_size(12_345_678, 3) == "12.3MB"
    assert d.bytes_size(1610612736) == "1.5GiB"
    assert d.bytes_size(1000) == "1000B"
    assert [d.parse_ram(t) for t in ("512m", "1.5GiB", "100", "1k", "2 kb", "7B")] == [
        512 << 20,
        3 << 29,
        100,
        1024,
        2048,
        7,
    ]
    assert d.parse_size("10MB") == 10_000_000


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "1x", "1kbb", "1bb", "1..2", "a1", "1e3", "9999999p"]
)
def test_sizes_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"invalid (size|suffix)"):
        d.parse_ram(text)


@given(st.text(alphabet="0123456789.kmgibB +-e", max_size=10))
def test_size_value_or_invalid(text: str) -> None:
    try:
        assert d.parse_ram(text) >= 0
    except Invalid:
        pass


def test_rfc3339() -> None:
    moment = 1_714_557_600 * d.SECOND
    assert d.rfc3339(moment) == "2024-05-01T10:00:00Z"
    assert d.rfc3339(moment + 120_000_000) == "2024-05-01T10:00:00.12Z"
    assert d.rfc3339_fixed(moment + 120_000_000) == "2024-05-01T10:00:00.120000000Z"
    assert d.parse_rfc3339("2024-05-01T12:00:00.12+02:00") == moment + 120_000_000
    assert d.rfc3339(d.parse_rfc3339(d.ZERO_TIME)) == d.ZERO_TIME
    beyond = d.parse_rfc3339("9999-12-31T23:59:59-12:00")
    assert d.rfc3339(beyond) == "9999-12-31T23:59:59.999999999Z"
    for text in ("2024-13-01T00:00:00Z", "2024-05-01", "", "2024-05-01T00:00:00"):
        with pytest.raises(Invalid):
            d.parse_rfc3339(text)


@given(st.integers(-60_000_000_000 * d.SECOND, 200_000_000_000 * d.SECOND))
def test_rfc3339_round_trip(moment: int) -> None:
    assert d.parse_rfc3339(d.rfc3339(moment)) == moment


def test_signals() -> None:
    for text in ("SIGKILL", "kill", "9", "KILL", "sigkill"):
        assert signals.parse(text) == 9
    assert signals.parse("RTMIN+3") == 37
    assert signals.parse("SIGRTMAX-1") == 63
    assert signals.name(15) == "SIGTERM"
    assert signals.name(6) == "SIGABRT"
    assert signals.name(32) == "32"


@pytest.mark.parametrize("text", ["", "0", "-1", "65", "SIGNOPE", "9 ", "٣", "99999999"])
def test_signals_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        signals.parse(text)
    assert caught.value.message == f"invalid signal: {text}"


@given(st.integers(1, 64))
def test_signal_round_trip(number: int) -> None:
    assert signals.parse(signals.name(number)) == number


@given(st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), unique=True)))
def test_filter_shapes_agree(values: dict[str, list[str]]) -> None:
    new = {name: dict.fromkeys(each, True) for name, each in values.items()}
    assert dict(filters.parse(json.dumps(values))) == dict(filters.parse(json.dumps(new)))


@pytest.mark.parametrize("text", ["x", "[]", "1", '{"a":1}', '{"a":[1]}', '{"a":{"b":1}}', '"a"'])
def test_filters_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid filter"):
        filters.parse(text)


@given(st.text(alphabet='{}[]":,atruefalsn1 ', max_size=20))
def test_filters_value_or_invalid(text: str) -> None:
    try:
        filters.parse(text)
    except Invalid:
        pass


def test_filter_helpers() -> None:
    found = filters.Filters({"name": ["web", "^x"], "dangling": ["true"], "until": ["1", "2"]})
    with pytest.raises(Invalid, match=r"^invalid filter 'until'$"):
        found.validate({"name", "dangling"})
    assert found.boolean("dangling") is True
    assert found.boolean("other", default=True) is True
    assert found.search("name", "my-web-1")
    assert found.search("name", "xy")
    assert not found.search("name", "ax")
    assert found.exact("name", "web")
    assert not found.exact("name", "web2")
    assert found.prefix("name", "web2")
    assert found.exact("missing", "anything")
    with pytest.raises(Invalid, match="more than one until"):
        found.one("until")
    with pytest.raises(Invalid, match=r"invalid filter 'dangling=\[maybe\]'"):
        filters.Filters({"dangling": ["maybe"]}).boolean("dangling")


def test_filter_labels() -> None:
    have = {"a": "1", "b": "2"}
    cases = [
        ({"label": ["a"]}, True),
        ({"label": ["a=1", "b"]}, True),
        ({"label": ["a=2"]}, False),
        ({"label": ["c"]}, False),
        ({"label!": ["a"]}, False),
        ({"label!": ["a=2"]}, True),
        ({"label": ["a"], "label!": ["c"]}, True),
    ]
    for values, expected in cases:
        assert filters.Filters(values).labels(have) is expected, values


def test_timestamps() -> None:
    now = 1_714_557_600 * d.SECOND
    zone = timezone(timedelta(hours=2))
    cases = {
        "1714557600": now,
        "1714557600.5": now + 500_000_000,
        "1714557600.000000001": now + 1,
        "10m": now - 600 * d.SECOND,
        "1h30m": now - 5400 * d.SECOND,
        "0": 0,
        "2024-05-01T10:00:00Z": now,
        "2024-05-01T10:00:00.25Z": now + 250_000_000,
        "2024-05-01T12:00:00+02:00": now,
        "2024-05-01T12:00:00": now,
        "2024-05-01T12:00": now,
        "2024-05-01T12": now,
        "2024-05-01": now - 12 * d.HOUR,
        "2024-05-01Z": now - 10 * d.HOUR,
    }
    for text, expected in cases.items():
        assert filters.timestamp(text, now=now, zone=zone) == expected, text
    assert filters.timestamp("2024-05-01", zone=UTC) == now - 10 * d.HOUR


@pytest.mark.parametrize("text", ["", "x", "2024-13-01", "2024-05-01T25:00:00Z", "10 m", "1.x"])
def test_timestamps_refused(text: str) -> None:
    with pytest.raises(Invalid):
        filters.timestamp(text, now=0)


@given(st.text(alphabet="0123456789.-:TZhms+", max_size=26))
def test_timestamp_value_or_invalid(text: str) -> None:
    try:
        assert isinstance(filters.timestamp(text, now=0), int)
    except Invalid:
        pass
