"""``--since`` and ``--until``: what a user writes to the timestamp the API takes. Pure."""

from __future__ import annotations

import re
import time

from wherry.cli.errors import CliError
from wherry.errors import Invalid
from wherry.wire.durations import parse_duration, parse_rfc3339

_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?)?(Z|[+-]\d\d:\d\d)?",
    re.ASCII,
)
"""RFC 3339 as far as somebody writes it; without a zone it is local time."""


def timestamp(word: str, now: int, flag: str) -> str:
    """``10m`` (ago), RFC 3339 in all lengths, or seconds since 1970, to ``seconds.nanoseconds``.

    ``now`` in nanoseconds. Raises :class:`CliError` naming ``flag`` for what is none of these.
    """
    if not word or re.fullmatch(r"\d+(\.\d{1,9})?", word, re.ASCII):
        return word
    try:
        return _text(now - parse_duration(word))
    except Invalid:
        pass
    found = _MOMENT.fullmatch(word)
    try:
        if found is not None:
            return _text(_nanoseconds(found))
    except (Invalid, ValueError, OverflowError):
        pass
    raise CliError(
        f'invalid value for "{flag}": failed to parse value as time or duration: "{word}"'
    )


def _nanoseconds(found: re.Match[str]) -> int:
    date, hour, minute, second, part, zone = found.groups()
    whole = f"{date}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    fraction = int((part or "").ljust(9, "0"))
    if zone:
        return parse_rfc3339(whole + zone) + fraction
    local = time.strptime(whole, "%Y-%m-%dT%H:%M:%S")
    return int(time.mktime(local)) * 1_000_000_000 + fraction


def _text(nanoseconds: int) -> str:
    seconds, part = divmod(nanoseconds, 1_000_000_000)
    return f"{seconds}.{part:09d}"
