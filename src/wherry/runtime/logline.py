"""Lines of the log that the monitor writes: ``<time> stdout|stderr P|F <text>\\n``. Pure.

The format is the one of the Container Runtime Interface. A text longer than the monitor's buffer
comes in pieces: ``P`` (partial) ones without newline, then an ``F`` (full) one that ends it.

A full disk cuts a line short, and the next one that finds room follows in the same line of the
file. A head inside the text whose time is later than the line's own shows it: what a container
prints cannot know when the next line will be written.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

_TIME = re.compile(rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$")
_STREAMS = {b"stdout": 1, b"stderr": 2}
_HEAD = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) std(?:out|err) [PF] "
)
_WIDTH = 35
"""Bytes of a time as the monitor writes it, nanoseconds and zone included."""
_KINDS = {
    b" stdout F ": (1, b"\n"),
    b" stdout P ": (1, b""),
    b" stderr F ": (2, b"\n"),
    b" stderr P ": (2, b""),
}
_TEXT = _WIDTH + 10


class Entry(NamedTuple):
    """One line, or a piece of one."""

    stream: int
    """1 stdout, 2 stderr."""
    data: bytes
    """With its newline, unless it goes on in the stream's next entry."""
    stamp: bytes
    """The time as it stands in the log."""

    @property
    def at(self) -> float:
        """Unix time, seconds."""
        return time_of(self.stamp)[0]

    @property
    def timestamp(self) -> str:
        """RFC 3339 in UTC with nine digits, as Docker prints it."""
        return time_of(self.stamp)[1]


_NEVER = (0.0, "0001-01-01T00:00:00.000000000Z")


def time_of(stamp: bytes) -> tuple[float, str]:
    return parse_time(stamp) or _NEVER


def parse_time(raw: bytes) -> tuple[float, str] | None:
    """Unix time and Docker's form of the monitor's time; None for what is none."""
    match = _TIME.match(raw)
    if match is None:
        return None
    clock, fraction, zone = match.groups()
    second = _second(clock, zone)
    if second is None:
        return None
    digits = (fraction or b"").decode().ljust(9, "0")
    return second[0] + int(digits) / 1e9, f"{second[1]}.{digits}Z"


@lru_cache(maxsize=64)
def _second(clock: bytes, zone: bytes) -> tuple[int, str] | None:
    """Many lines share their second: what is costly is done once for each."""
    try:
        moment = datetime.fromisoformat(
            clock.decode() + ("+00:00" if zone == b"Z" else (zone.decode()))
        ).astimezone(UTC)
        return int(moment.timestamp()), moment.strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError):
        return None


def parse_lines(block: bytes) -> list[Entry]:
    """The entries of whole lines; ``block`` is empty or ends with a newline."""
    found: list[Entry] = []
    add = found.append
    kinds, make = _KINDS.get, tuple.__new__
    lines = block.split(b"\n")
    lines.pop()
    for line in lines:
        kind = kinds(line[_WIDTH:_TEXT])
        text = line[_TEXT:]
        if kind is None or line[10:11] != b"T" or b" std" in text:
            found += parse_line(line)
        else:
            add(make(Entry, (kind[0], text + kind[1], line[:_WIDTH])))
    return found


def parse_line(line: bytes) -> list[Entry]:
    """Entries of a line without its newline.

    Usually one; none where a crash or a full disk cut it short in its head; several where lines
    follow that were cut short.
    """
    found: list[Entry] = []
    while line:
        rest = b""
        head = parts_of(line)
        begin = len(line) - len(head[2]) if head is not None else 1
        for match in _HEAD.finditer(line, begin):
            later = parts_of(line[match.start() :])
            if later is not None and (head is None or _after(later[1], head[1])):
                line, rest = line[: match.start()], line[match.start() :]
                break
        if head is not None:
            stream, stamp, _, whole = head
            text = line[begin:]
            found.append(Entry(stream, text + b"\n" if whole or rest else text, stamp))
        line = rest
    return found


def _after(stamp: bytes, other: bytes) -> bool:
    one, two = parse_time(stamp), parse_time(other)
    return one is not None and two is not None and one[1] > two[1]


def parts_of(line: bytes) -> tuple[int, bytes, bytes, bool] | None:
    """Stream, time, text and whether it is a whole line; None for what is no line."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return None
    stream = _STREAMS.get(parts[1])
    if stream is None or parts[2][:1] not in (b"P", b"F") or parse_time(parts[0]) is None:
        return None
    return stream, parts[0], parts[3], parts[2][:1] == b"F"
