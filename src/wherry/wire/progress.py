"""Progress streams: JSON objects one after another (pull, push, build, load, import).

Docker's message keys: ``status``, ``id``, ``progressDetail`` {current, total, units},
``progress`` (the drawn bar), ``stream``, ``errorDetail`` {code, message}, ``error``, ``aux``.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wherry.errors import Invalid
from wherry.wire.durations import human_size

_BAR = 50
_MARKS = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'["\\]')
_SPACE = b" \t\r\n\x1e"


def encode(message: dict[str, Any]) -> bytes:
    """One object as Docker sends it: compact, then CR LF."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\r\n"


def status(text: str, *, id: str = "", current: int = 0, total: int = 0) -> dict[str, Any]:
    """A step's progress; with ``total`` (bytes) also the bar that old clients print."""
    message: dict[str, Any] = {"status": text}
    message["progressDetail"] = {"current": current, "total": total} if current or total else {}
    if current or total:
        message["progress"] = bar(current, total)
    if id:
        message["id"] = id
    return message


def failure(text: str, code: int | None = None) -> dict[str, Any]:
    """The last message of a stream that failed after it began."""
    detail: dict[str, Any] = {"message": text}
    if code is not None:
        detail["code"] = code
    return {"errorDetail": detail, "error": text}


def bar(current: int, total: int) -> str:
    """``[====>     ]  1.2MB/3.4MB`` as Docker draws it; only the size when there is no total."""
    if total <= 0:
        return f"{human_size(current):>8}"
    done = min(int(current * _BAR / total), _BAR)
    arrow = "=" * done + (">" if done < _BAR else "")
    padding = " " * (_BAR - len(arrow)) if len(arrow) < _BAR else ""
    return f"[{arrow}{padding}] {human_size(current):>8}/{human_size(total)}"


class Decoder:
    """Incremental: feed bytes, get the whole JSON objects among them.

    ``Invalid`` for what is not a sequence of objects, or for one larger than ``limit`` bytes.
    """

    def __init__(self, limit: int = 1 << 26) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._limit = limit

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        self._buffer += data
        messages: list[dict[str, Any]] = []
        while (end := self._object_end()) is not None:
            messages.append(_load(bytes(self._buffer[:end])))
            del self._buffer[:end]
            self._scanned = 0
        if len(self._buffer) > self._limit:
            raise Invalid(f"message in the stream is above the limit of {self._limit} bytes")
        return messages

    def close(self) -> None:
        """The stream ended; ``Invalid`` when that was inside an object."""
        if self._buffer.strip(_SPACE):
            raise Invalid("unexpected EOF: the stream ended inside a message")

    def _object_end(self) -> int | None:
        """Offset after the first whole object, or None; remembers how far it looked."""
        buffer = self._buffer
        if not self._depth:
            stripped = bytes(buffer).lstrip(_SPACE) if buffer[:1].strip(_SPACE) == b"" else None
            if stripped is not None:
                buffer[:] = stripped
            if buffer and buffer[0] != 0x7B:
                raise Invalid(f"invalid character {chr(buffer[0])!r} looking for a message")
        at = self._scanned
        while True:
            pattern = _STRING_END if self._in_string else _MARKS
            found = pattern.search(buffer, at)
            if found is None:
                self._scanned = len(buffer)
                return None
            at = found.end()
            mark = buffer[at - 1]
            if mark == 0x5C:
                if at >= len(buffer):
                    self._scanned = at - 1
                    return None
                at += 1
            elif mark == 0x22:
                self._in_string = not self._in_string
            else:
                self._depth += 1 if mark in b"{[" else -1
                if not self._depth:
                    return at


def _load(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"invalid message in the stream: {error}") from error
    if not isinstance(value, dict):
        raise Invalid("invalid message in the stream: not an object")
    return value
