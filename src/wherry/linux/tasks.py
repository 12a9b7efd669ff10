"""Named background tasks: the one place that may call ``asyncio.create_task``.

A task made here is referenced until it ends, and its exception is logged with the task's name
instead of vanishing, unless somebody awaits the task and has the exception from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from wherry.errors import WherryError

T = TypeVar("T")

_log = logging.getLogger(__name__)
_alive: set[asyncio.Task[Any]] = set()


def spawn(
    coroutine: Coroutine[Any, Any, T], *, name: str, awaited: bool = False
) -> asyncio.Task[T]:
    """Start ``coroutine`` as a task called ``name``; errors are logged when it ends.

    ``awaited``: whoever started it answers for a ``WherryError``, which then is no line in the log.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _alive.add(task)
    task.add_done_callback(_answered if awaited else _finished)
    return task


def _answered(task: asyncio.Task[Any]) -> None:
    expected = not task.cancelled() and isinstance(task.exception(), WherryError)
    _alive.discard(task) if expected else _finished(task)


def _finished(task: asyncio.Task[Any]) -> None:
    _alive.discard(task)
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        _log.error("task %s failed: %s", task.get_name(), error, exc_info=error)
