"""What a prune may take: the filters that all of them share, and names by patterns (pure).

``label``, ``label!`` and ``until`` are Docker's. ``name`` and ``name!`` take patterns such as
``test-*`` (Go's ``path.Match``); Docker refuses them, so that no other daemon ignores one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wherry.errors import Invalid
from wherry.oci import glob
from wherry.wire.filters import Filters

_SHARED = ("label", "label!", "name", "name!", "until")


class Choice:
    """Filters made ready. ``Invalid`` names the filter that is unknown or whose value is wrong.

    ``extra``: filters of one kind alone, such as ``dangling``, which the caller reads from
    ``filters``.
    """

    def __init__(self, filters: Mapping[str, Sequence[str]], *extra: str) -> None:
        self.filters = Filters(filters)
        self.filters.validate((*_SHARED, *extra))
        self._until = self.filters.moment("until")
        self._wanted = self._patterns("name")
        self._unwanted = self._patterns("name!")

    def _patterns(self, name: str) -> Sequence[str]:
        patterns = self.filters.values_of(name)
        for pattern in patterns:
            try:
                glob.match(pattern, "")
            except Invalid as error:
                raise Invalid(f"invalid filter '{name}={pattern}': {error.message}") from None
        return patterns

    def takes(self, labels: Mapping[str, str] | None, created_ns: int) -> bool:
        """Do labels and age allow it? ``created_ns`` since 1970."""
        if self._until is not None and created_ns >= self._until:
            return False
        return self.filters.labels(labels)

    def names(self, *texts: str) -> bool:
        """Does the name of a thing (in all its spellings) allow it?"""
        if self._wanted and not _any(self._wanted, texts):
            return False
        return not _any(self._unwanted, texts)


def _any(patterns: Sequence[str], texts: Sequence[str]) -> bool:
    return any(glob.match(pattern, text) for pattern in patterns for text in texts)
