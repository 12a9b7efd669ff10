"""How far a long transfer is, on standard error, and only where that is a terminal."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time

from wherry.wire.human import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO, TextIO

_FIRST, _AGAIN = 0.3, 0.1
"""Seconds until a line appears at all, and between two of them."""
_NARROWEST, _WIDEST = 8, 50
"""Columns of a bar."""
_CLEAR = "\r\x1b[2K"


def terminal() -> TextIO | None:
    """Standard error, if somebody watches it."""
    return sys.stderr if sys.stderr.isatty() else None


def size_of(source: BinaryIO) -> int:
    """Bytes of a regular file, 0 for what has no size."""
    try:
        found = os.fstat(source.fileno())
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


class Meter:
    """Counts the bytes of one transfer. ``total`` 0: not known, so there is no bar."""

    def __init__(self, what: str, total: int = 0, out: TextIO | None = None) -> None:
        self._what = what
        self._total = total
        self._out = out
        self._count = 0
        self._begun = time.monotonic()
        self._due = self._begun + _FIRST
        self._drawn = False

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, counted; the line is gone when they have ended."""
        try:
            for piece in pieces:
                yield piece
                self._count += len(piece)
                self._draw()
        finally:
            self._clear()

    def _draw(self) -> None:
        now = time.monotonic()
        if self._out is None or now < self._due:
            return
        self._due = now + _AGAIN
        self._drawn = True
        rate = human_size(self._count / (now - self._begun), 3)
        self._out.write(_CLEAR + self._line(rate, shutil.get_terminal_size().columns - 1))
        self._out.flush()

    def _line(self, rate: str, width: int) -> str:
        """Name, bar, amount, rate; the bar has what room the others leave."""
        count = human_size(float(self._count), 3)
        if not self._total:
            return f"{self._what}  {count}  {rate}/s"[:width]
        end = f"  {count}/{human_size(float(self._total), 3)}  {rate}/s"
        room = min(width - len(self._what) - len(end) - 3, _WIDEST)
        if room < _NARROWEST:
            return f"{self._what}{end}"[:width]
        done = room * min(self._count, self._total) // self._total
        return f"{self._what} [{'=' * max(done - 1, 0) + '>':<{room}}]{end}"

    def _clear(self) -> None:
        if self._out is not None and self._drawn:
            self._out.write(_CLEAR)
            self._out.flush()


class Waiting:
    """``with Waiting("Committing web", terminal()):`` counts the seconds until something that
    tells nothing of itself is done."""

    def __init__(self, what: str, out: TextIO | None) -> None:
        self._what = what
        self._out = out
        self._over: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if self._out is not None:
            import threading

            self._over = threading.Event()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        assert self._over is not None
        assert self._out is not None
        begun, pause = time.monotonic(), _FIRST
        drawn = False
        while not self._over.wait(pause):
            self._out.write(f"{_CLEAR}{self._what} ... {time.monotonic() - begun:.1f} s")
            self._out.flush()
            drawn, pause = True, _AGAIN
        if drawn:
            self._out.write(_CLEAR)
            self._out.flush()

    def __exit__(self, *_: object) -> None:
        if self._over is not None and self._thread is not None:
            self._over.set()
            self._thread.join()
