"""The user's terminal: raw mode that is always undone, and its size."""

from __future__ import annotations

import os
import sys

from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


class RawTerminal:
    """Raw mode on a descriptor for the time of a ``with`` block; ``restore`` may be called
    from anywhere, also twice."""

    def __init__(self, descriptor: int, enabled: bool = True) -> None:
        self._descriptor = descriptor
        self._saved: list[Any] | None = None
        self._enabled = enabled and os.isatty(descriptor)

    def __enter__(self) -> RawTerminal:
        if self._enabled:
            import termios
            import tty

            self._saved = termios.tcgetattr(self._descriptor)
            tty.setraw(self._descriptor, termios.TCSANOW)
        return self

    def restore(self) -> None:
        if self._saved is not None:
            import termios

            saved, self._saved = self._saved, None
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, saved)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()


def size() -> tuple[int, int] | None:
    """(rows, columns) of the terminal on standard output, else input; None without one."""
    for descriptor in (1, 0):
        try:
            found = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if found.lines and found.columns:
            return found.lines, found.columns
    return None


def check_tty(stdin: bool, tty: bool) -> None:
    """A terminal was asked for, and input that is none cannot be one."""
    if stdin and tty and not os.isatty(sys.stdin.fileno()):
        raise CliError("the input device is not a TTY")
