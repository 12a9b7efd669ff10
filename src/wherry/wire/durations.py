"""Durations, sizes and times in the notations of Go and Docker.

Durations and times are integers of nanoseconds; sizes are bytes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from wherry.errors import Invalid
from wherry.wire.human import ago as ago
from wherry.wire.human import bytes_size as bytes_size
from wherry.wire.human import human_duration as human_duration
from wherry.wire.human import human_size as human_size

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
ZERO_TIME = "0001-01-01T00:00:00Z"
"""How Go writes a time that never was."""

_LAST_TIME = 253402300800 * SECOND - 1

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "µs": MICROSECOND,
    "μs": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_LIMIT = 1 << 63


def parse_duration(text: str) -> int:
    """Go's ``time.ParseDuration``: ``1h30m``, ``-1.5s``, ``0``; nanoseconds, or ``Invalid``."""
    bad = Invalid(f'time: invalid duration "{text}"')
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total = at = 0
    while at < len(rest):
        term = _TERM.match(rest, at)
        if term is None or not (term[1] or term[2]) or len(term[1]) > 20:
            raise bad
        unit = _UNITS[term[3]]
        fraction = (term[2] or "")[:18]
        total += int(term[1] or "0") * unit
        total += int(fraction or "0") * unit // 10 ** len(fraction)
        at = term.end()
    if not rest or total >= _LIMIT:
        raise bad
    return -total if text.startswith("-") else total


def format_duration(nanoseconds: int) -> str:
    """Go's ``Duration.String``: ``1h30m0s``, ``1.5s``, ``10ms``, ``0s``."""
    if not nanoseconds:
        return "0s"
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < SECOND:
        for name, unit in (("ms", MILLISECOND), ("µs", MICROSECOND), ("ns", NANOSECOND)):
            if left >= unit:
                return f"{sign}{_decimal(left, unit)}{name}"
    hours, left = divmod(left, HOUR)
    minutes, left = divmod(left, MINUTE)
    seconds = f"{_decimal(left, SECOND)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    if not part:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{part:0{digits}d}".rstrip("0")


_NUMBER = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_ram(text: str) -> int:
    """go-units ``RAMInBytes``: ``512m``, ``1.5GiB``, ``100``; powers of 1024."""
    return _parse_size(text, 1024)


def parse_size(text: str) -> int:
    """go-units ``FromHumanSize``: ``10MB``, ``1g``; powers of 1000."""
    return _parse_size(text, 1000)


def _parse_size(text: str, base: int) -> int:
    last = max(text.rfind(char) for char in "0123456789. ")
    if last < 0:
        raise Invalid(f"invalid size: '{text}'")
    number = text[:last] if text[last] == " " else text[: last + 1]
    suffix = text[last + 1 :].lower()
    if not _NUMBER.fullmatch(number) or len(number) > 40:
        raise Invalid(f"invalid size: '{text}'")
    if suffix in ("", "b"):
        factor = 1
    else:
        if suffix[0] not in _POWERS or suffix[1:] not in ("", "b", "ib"):
            raise Invalid(f"invalid suffix: '{suffix}'")
        factor = base ** _POWERS[suffix[0]]
    size = int(float(number) * factor) if "." in number else int(number) * factor
    if size >= _LIMIT:
        raise Invalid(f"invalid size: '{text}'")
    return size


def rfc3339(nanoseconds: int) -> str:
    """Go's RFC3339Nano in UTC: no trailing zeros, ``2024-05-01T10:00:00.12Z``.

    Files and images may bear times after the year 9999, which it cannot write: its last one.
    """
    if nanoseconds <= -62135596800 * SECOND:
        return ZERO_TIME
    nanoseconds = min(nanoseconds, _LAST_TIME)
    seconds, part = divmod(nanoseconds, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if len(text) < 19:
        text = text.rjust(19, "0")
    return f"{text}.{part:09d}".rstrip("0").rstrip(".") + "Z" if part else text + "Z"


def rfc3339_fixed(nanoseconds: int) -> str:
    """With all nine digits, as log lines carry it: ``2024-05-01T10:00:00.120000000Z``."""
    seconds, part = divmod(nanoseconds, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{part:09d}Z"


_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 (negative before); ``Invalid`` for anything else."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise Invalid(f'parsing time "{text}": not an RFC 3339 time')
    try:
        moment = datetime(*(int(found[n]) for n in range(1, 7)), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError as error:
        raise Invalid(f'parsing time "{text}": {error}') from error
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _ONE_SECOND
    if found[9]:
        offset = int(found[10]) * 3600 + int(found[11]) * 60
        seconds -= offset if found[9] == "+" else -offset
    return seconds * SECOND + int((found[7] or "0")[:9].ljust(9, "0"))


_ONE_SECOND = datetime(1970, 1, 1, 0, 0, 1) - datetime(1970, 1, 1)
