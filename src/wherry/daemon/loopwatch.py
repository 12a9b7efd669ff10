"""A help for finding what holds the event loop: ``WHERRYD_LOOP_WATCH=10`` in the environment.

Each callback (a step of a task, mostly) that took more milliseconds than asked for is logged, with
the part of it that was spent computing, and with what the thread was doing when a second thread
looked at it in between. Without the variable nothing of this exists.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import Context
from types import FrameType
from typing import TypeVarTuple, Unpack

_log = logging.getLogger("wherryd.loop")
Ts = TypeVarTuple("Ts")

VARIABLE = "WHERRYD_LOOP_WATCH"
_FRAMES = 12
"""Innermost frames of the stack that are shown."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """For ``asyncio.Runner``: a loop that is watched, or None: the usual one."""
    try:
        limit = float(os.environ.get(VARIABLE, "")) / 1000
    except ValueError:
        return None
    return (lambda: WatchedLoop(limit)) if limit > 0 else None


class WatchedLoop(asyncio.SelectorEventLoop):
    """Times what it is given to call. To be run by the thread that makes it.

    ``limit`` in seconds. What transports do when a socket has something to read is not timed by
    itself, but the steps of tasks that follow are.
    """

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.began = 0.0
        """When the present callback began; 0 between two."""
        self.seen = ""
        """Where the loop's thread was when it was first found over the limit."""
        self._owner = threading.get_ident()
        threading.Thread(target=self._look, name="loop watch", daemon=True).start()

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        return super().call_soon(self._timed, callback, *args, context=context)

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(self._timed, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_at(when, self._timed, callback, *args, context=context)

    def _timed(self, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        self.seen, busy = "", time.thread_time()
        self.began = began = time.monotonic()
        try:
            callback(*args)
        finally:
            held, self.began = time.monotonic() - began, 0.0
            if held > self.limit:
                busy = time.thread_time() - busy
                shown = self.seen or f": {callback!r}"
                _log.warning("held for %.1f ms, %.1f computing%s", held * 1000, busy * 1000, shown)

    def _look(self) -> None:
        while not self.is_closed():
            time.sleep(self.limit / 2)
            began = self.began
            if began and not self.seen and time.monotonic() - began > self.limit:
                frame = sys._current_frames().get(self._owner)
                if frame is not None and self.began == began:
                    self.seen = f", at:\n{_stack(frame)}"


def _stack(frame: FrameType) -> str:
    lines = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=_FRAMES)
    return "\n".join(f"    {each.filename}:{each.lineno} {each.name}" for each in lines)
