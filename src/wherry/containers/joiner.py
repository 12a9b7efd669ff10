"""Pieces of log lines, put together again; and what is too long for one, told apart. Pure."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from wherry.runtime.logline import Entry

_LONGEST = 16 << 10
"""Bytes of one line at most, as Docker cuts them."""


class Joiner:
    """Puts the pieces of a line together again: the monitor cuts where its buffer ends."""

    def __init__(self) -> None:
        self._open: dict[int, Entry] = {}

    def add(self, entries: list[Entry]) -> list[Entry]:
        """The lines that ``entries`` complete; the rest goes on with the next ones."""
        found: list[Entry] = []
        for entry in entries:
            if self._open and (begun := self._open.pop(entry.stream, None)) is not None:
                entry = Entry(entry.stream, begun.data + entry.data, begun.stamp)
            if entry.data.endswith(b"\n") or len(entry.data) >= _LONGEST:
                found.append(entry)
            else:
                self._open[entry.stream] = entry
        return found

    @property
    def pending(self) -> bool:
        """Whether a line goes on in what comes next."""
        return bool(self._open)

    def rest(self) -> list[Entry]:
        """Lines without an end, when nothing more comes."""
        return list(self._open.values())


@dataclass(frozen=True)
class Piece:
    """A part of a line that is longer than one message."""

    line: str
    """The same for all pieces of the line."""
    ordinal: int
    """From 1."""
    last: bool


class Pieces:
    """Says which of the lines that a ``Joiner`` gave belong together."""

    def __init__(self) -> None:
        self._open: dict[int, Piece] = {}

    def of(self, entry: Entry) -> Piece | None:
        """None for a whole line. To be asked for each line, in order."""
        last = entry.data.endswith(b"\n") or len(entry.data) < _LONGEST
        before = self._open.pop(entry.stream, None)
        if before is None and last:
            return None
        line = secrets.token_hex(32) if before is None else before.line
        piece = Piece(line, 1 if before is None else before.ordinal + 1, last)
        if not last:
            self._open[entry.stream] = piece
        return piece
