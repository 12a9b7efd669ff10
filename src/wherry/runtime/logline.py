"""One line of the log that the monitor writes: ``<time> stdout|stderr P|F <text>\\n``. Pure.

The format is the one of the Container Runtime Interface. A text longer than the monitor's buffer
comes in pieces: ``P`` (partial) ones without newline, then an ``F`` (full) one that ends it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

_TIME = re.compile(rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$")
_STREAMS = {b"stdout": 1, b"stderr": 2}


@dataclass(frozen=True)
class Entry:
    """One line, read."""

    stream: int
    """1 stdout, 2 stderr."""
    data: bytes
    """With its newline, unless partial."""
    at: float
    """Unix time, seconds."""
    timestamp: str
    """RFC 3339 in UTC with nine digits, as Docker prints it."""


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


def parse_line(line: bytes) -> Entry | None:
    """``line`` without its newline; None for one that a crash or a full disk cut short."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return None
    stream, moment = _STREAMS.get(parts[1]), parse_time(parts[0])
    if stream is None or moment is None or parts[2][:1] not in (b"P", b"F"):
        return None
    text = parts[3] if parts[2][:1] == b"P" else parts[3] + b"\n"
    return Entry(stream, text, moment[0], moment[1])


def is_partial(line: bytes) -> bool:
    """Whether the line's text goes on in the next line of its stream."""
    parts = line.split(b" ", 3)
    return len(parts) >= 3 and parts[2][:1] == b"P"
