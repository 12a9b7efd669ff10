"""Query parameters as Docker reads them (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from wherry.errors import Invalid
from wherry.wire import filters as wire_filters

_WHOLE = re.compile("[+-]?[0-9]{1,18}")
_FALSE = frozenset({"", "0", "no", "false", "none"})


class Query:
    """Typed access to a request's query; unknown parameters are simply never asked for."""

    def __init__(self, values: Mapping[str, str], every: Mapping[str, Sequence[str]]) -> None:
        self._values = values
        self._every = every

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        return self._values.get(name, default)

    def maybe(self, name: str) -> str | None:
        """The text, or None when the parameter is missing or empty."""
        return self._values.get(name) or None

    def texts(self, name: str) -> list[str]:
        """Every value of a repeated parameter."""
        return list(self._every.get(name, ()))

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's booleans: "", 0, no, false and none are false, anything else is true."""
        value = self._values.get(name)
        if value is None:
            return default
        return value.strip().lower() not in _FALSE

    def integer(self, name: str) -> int | None:
        """None when missing or empty. ``Invalid`` names the parameter."""
        value = self._values.get(name, "").strip()
        if not value:
            return None
        if not _WHOLE.fullmatch(value):
            raise Invalid(f'invalid value "{value}" for {name}: not a whole number')
        return int(value)

    def nanoseconds(self, name: str) -> int | None:
        """A time (Unix seconds with a fraction, a date, a duration ago) in ns since 1970.

        None when missing, empty or 0, as Docker reads it.
        """
        value = self._values.get(name, "").strip()
        if not value:
            return None
        try:
            return wire_filters.timestamp(value) or None
        except Invalid as error:
            raise Invalid(f'invalid value "{value}" for {name}: {error.message}') from None

    def seconds(self, name: str) -> float | None:
        """Like ``nanoseconds``, as float seconds."""
        value = self.nanoseconds(name)
        return None if value is None else value / 1e9

    def refiltered(self, filters: Mapping[str, Sequence[str]]) -> Query:
        """The same query with other filters."""
        text = json.dumps({name: list(values) for name, values in filters.items()})
        return Query({**self._values, "filters": text}, {**self._every, "filters": [text]})

    def filters(self, name: str = "filters") -> wire_filters.Filters:
        """Both JSON shapes; empty when missing."""
        return wire_filters.parse(self._values.get(name, ""))
