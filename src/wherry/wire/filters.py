"""The ``filters`` query of list and prune calls, and times in ``since`` and ``until``.

Two JSON shapes are in use: ``{"label": ["a", "b"]}`` and ``{"label": {"a": true}}``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo

from wherry.errors import Invalid
from wherry.wire.durations import SECOND, parse_duration
from wherry.wire.patterns import found

_TRUE, _FALSE = frozenset({"1", "true", "True"}), frozenset({"0", "false", "False"})


class Filters(Mapping[str, Sequence[str]]):
    """Filter name -> its values (any one of them must hold, unless Docker says all)."""

    def __init__(self, values: Mapping[str, Sequence[str]] | None = None) -> None:
        self._values = {name: tuple(each) for name, each in (values or {}).items()}

    def __getitem__(self, name: str) -> Sequence[str]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Filters({self._values!r})"

    def values_of(self, name: str) -> Sequence[str]:
        return self._values.get(name, ())

    def validate(self, allowed: Collection[str]) -> None:
        """``Invalid``: "invalid filter 'x'" for a name that the call does not know."""
        for name in self._values:
            if name not in allowed:
                raise Invalid(f"invalid filter '{name}'")

    def boolean(self, name: str, default: bool = False) -> bool:
        """The one truth value of a filter such as ``dangling``; ``Invalid`` for anything else."""
        values = self._values.get(name)
        if not values:
            return default
        truths = {each in _TRUE for each in values if each in _TRUE | _FALSE}
        if len(truths) != 1 or not all(each in _TRUE | _FALSE for each in values):
            shown = " ".join(values)
            raise Invalid(f"invalid filter '{name}=[{shown}]'")
        return truths.pop()

    def one(self, name: str) -> str | None:
        """The single value of a filter such as ``until``; ``Invalid`` when there are several."""
        values = self._values.get(name, ())
        if len(values) > 1:
            raise Invalid(f"more than one {name} filter specified")
        return values[0] if values else None

    def moment(self, name: str) -> int | None:
        """The single time of a filter such as ``until``, in ns since 1970; ``Invalid`` names it."""
        text = self.one(name)
        if text is None:
            return None
        try:
            return timestamp(text)
        except Invalid as error:
            raise Invalid(f"invalid filter '{name}={text}': {error.message}") from None

    def exact(self, name: str, value: str) -> bool:
        """True without such a filter, or when one of its values is ``value``."""
        values = self._values.get(name)
        return not values or value in values

    def prefix(self, name: str, value: str) -> bool:
        """True without such a filter, or when ``value`` starts with one of its values."""
        values = self._values.get(name)
        return not values or any(value.startswith(each) for each in values)

    def search(self, name: str, value: str) -> bool:
        """As ``exact``, or one of the values as a regular expression found in ``value``."""
        values = self._values.get(name)
        return not values or any(each == value or found(each, value) for each in values)

    def labels(self, labels: Mapping[str, str] | None) -> bool:
        """Docker's ``label`` and ``label!``: every ``k`` or ``k=v`` given must hold.

        ``label!`` refuses what matches all of its values.
        """
        have = labels or {}
        wanted, unwanted = self._values.get("label"), self._values.get("label!")
        if wanted and not _all_labels(wanted, have):
            return False
        return not (unwanted and _all_labels(unwanted, have))


def _all_labels(wanted: Sequence[str], labels: Mapping[str, str]) -> bool:
    for each in wanted:
        key, equals, value = each.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def parse(text: str | None) -> Filters:
    """Parse the query's value; None and '' mean no filters. ``Invalid``: "invalid filter"."""
    if not text:
        return Filters()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"invalid filter: {error}") from error
    if value is None:
        return Filters()
    if not isinstance(value, dict):
        raise Invalid("invalid filter")
    return Filters({name: _values(name, each) for name, each in value.items()})


def _values(name: str, value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict):
        if all(isinstance(each, bool) for each in value.values()):
            return [str(key) for key in value]
    elif isinstance(value, list):
        texts = [each for each in value if isinstance(each, str)]
        if len(texts) == len(value):
            return texts
    raise Invalid(f"invalid filter '{name}'")


_UNIX = re.compile(r"(-?[0-9]{1,15})(?:\.([0-9]{0,30}))?")
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?)?"
    r"(Z|z|[+-][0-9]{2}:[0-9]{2})?"
)


def timestamp(text: str, *, now: int | None = None, zone: tzinfo | None = None) -> int:
    """``since``/``until`` to nanoseconds since 1970.

    Unix seconds with an optional fraction, a Go duration before ``now`` (nanoseconds), or a date
    (``2006-01-02``, with ``T15[:04[:05[.9]]]``, ``Z`` or an offset; without one in ``zone``, by
    default the local one). ``Invalid`` otherwise.
    """
    unix = _UNIX.fullmatch(text)
    if unix is not None:
        fraction = int((unix[2] or "0")[:9].ljust(9, "0"))
        seconds = int(unix[1])
        return seconds * SECOND + (-fraction if unix[1].startswith("-") else fraction)
    try:
        return (time.time_ns() if now is None else now) - parse_duration(text)
    except Invalid:
        pass
    date = _DATE.fullmatch(text)
    if date is None:
        raise Invalid(f'failed to parse value as time or duration: "{text}"')
    try:
        return _from_date(date, zone)
    except (ValueError, OverflowError) as error:
        raise Invalid(f'parsing time "{text}": {error}') from error


def _from_date(date: re.Match[str], zone: tzinfo | None) -> int:
    year, month, day, hour, minute, second = (int(date[n] or 0) for n in range(1, 7))
    moment = datetime(year, month, day, hour, minute, second)
    if date[8]:
        offset = date[8].upper().replace("Z", "+00:00")
        moment = datetime.fromisoformat(moment.isoformat() + offset)
    else:
        moment = moment.replace(tzinfo=zone) if zone else moment.astimezone()
    return round(moment.timestamp()) * SECOND + int((date[7] or "0").ljust(9, "0"))
