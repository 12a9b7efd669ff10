"""Progress streams (pull, push, load, import) on a terminal or as plain lines."""

from __future__ import annotations

import shutil

from wherry.wire.progress import bar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO


class Progress:
    """Shows messages as they come: on a terminal one line for each id, redrawn in place;
    elsewhere only what will not change again (no bars). ``out`` None shows nothing."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._tty = out is not None and out.isatty()
        self._rows: dict[str, int] = {}

    def show(self, message: dict[str, Any]) -> None:
        out = self._out
        if out is None:
            return
        if "stream" in message:
            out.write(str(message["stream"]))
        elif "status" in message:
            self._status(out, message)
        out.flush()

    def _status(self, out: TextIO, message: dict[str, Any]) -> None:
        identity = str(message.get("id") or "")
        detail = message.get("progressDetail") or {}
        moving = bool(detail.get("current") or detail.get("total"))
        line = f"{identity}: {message['status']}" if identity else str(message["status"])
        if not self._tty:
            if not moving:
                out.write(line + "\n")
            return
        if moving:
            line += " " + bar(int(detail.get("current") or 0), int(detail.get("total") or 0))
        width = shutil.get_terminal_size().columns
        if not identity:
            out.write(line + "\n")
            self._rows = {}
            return
        if identity not in self._rows:
            self._rows[identity] = len(self._rows)
            out.write("\n")
        up = len(self._rows) - self._rows[identity]
        out.write(f"\x1b[{up}A\x1b[2K\r{line[: width - 1]}\x1b[{up}B\r")

    def close(self) -> None:
        if self._out is not None:
            self._out.flush()
