"""Work that is not cut short: it ends, and if nobody wants its result any more, it is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from wherry.linux.tasks import spawn

T = TypeVar("T")


async def finishing(
    work: Coroutine[Any, Any, T], undo: Callable[[T], Coroutine[Any, Any, None]]
) -> T:
    """``work`` to its end even when the caller is cancelled: then its result is undone."""
    task = spawn(_outcome(work), name="launch")
    try:
        result = await asyncio.shield(task)
    except asyncio.CancelledError:

        def finished(done: asyncio.Task[T | _Failed]) -> None:
            if not done.cancelled() and not isinstance(done.result(), _Failed):
                spawn(undo(cast(T, done.result())), name="launch-undo")

        task.add_done_callback(finished)
        raise
    if isinstance(result, _Failed):
        raise result.error
    return result


class _Failed:
    def __init__(self, error: Exception) -> None:
        self.error = error


async def _outcome(work: Coroutine[Any, Any, T]) -> T | _Failed:
    try:
        return await work
    except Exception as error:
        return _Failed(error)
