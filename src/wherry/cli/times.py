"""``--since`` and ``--until``: what a user writes to the timestamp the API takes. Pure."""

from __future__ import annotations

import re
import time

from wherry.cli.errors import CliError
from wherry.errors import Invalid
from wherry.wire.durations import parse_duration, parse_rfc3339

_LOCAL = (
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H",
    "%Y-%m-%d",
)


def timestamp(word: str, now: int) -> str:
    """``10m`` (ago), RFC 3339 in all lengths, or seconds since 1970, to ``seconds.nanoseconds``.

    ``now`` in nanoseconds. Raises :class:`CliError` for what is none of these.
    """
    if not word or re.fullmatch(r"\d+(\.\d{1,9})?", word):
        return word
    try:
        return _text(now - parse_duration(word))
    except Invalid:
        pass
    try:
        return _text(parse_rfc3339(word))
    except Invalid:
        pass
    for format in _LOCAL:
        utc = word.endswith("Z")
        try:
            parsed = time.strptime(word.removesuffix("Z"), format)
        except ValueError:
            continue
        import calendar

        seconds = calendar.timegm(parsed) if utc else int(time.mktime(parsed))
        return _text(seconds * 1_000_000_000)
    raise CliError(
        f'invalid value for "since": failed to parse value as time or duration: "{word}"'
    )


def _text(nanoseconds: int) -> str:
    seconds, part = divmod(nanoseconds, 1_000_000_000)
    return f"{seconds}.{part:09d}"
