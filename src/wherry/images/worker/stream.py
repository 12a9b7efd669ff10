"""A forward-only archive source over chunks of any size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from wherry.trees.tarfmt import cut_short


class ForwardSource:
    """``tarfmt.Source`` over a stream: what lies before the asked position is dropped."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._pending: deque[memoryview] = deque()
        self._buffered = 0
        self.position = 0

    def _fill(self, size: int) -> None:
        while self._buffered < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                return
            self._pending.append(memoryview(chunk))
            self._buffered += len(chunk)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes in whatever pieces they come. ``Invalid`` when cut short."""
        while size:
            if not self._pending:
                self._fill(1)
                if not self._pending:
                    raise cut_short()
            piece = self._pending.popleft()
            if len(piece) > size:
                self._pending.appendleft(piece[size:])
                piece = piece[:size]
            self._buffered -= len(piece)
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def get(self, position: int, size: int) -> bytes:
        if position < self.position:
            raise ValueError("a stream cannot go back")
        for _ in self.pieces(position - self.position):
            pass
        self._fill(size)
        return b"".join(self.pieces(min(size, self._buffered)))

    def drain(self) -> None:
        """Read to the end, so that the sender is not cut off."""
        self._pending.clear()
        self._buffered = 0
        for _ in self._chunks:
            pass
