"""Named background tasks: the one place that may call ``asyncio.create_task``; and threads.

A task made here is referenced until it ends, and its exception is logged with the task's name
instead of vanishing, unless somebody awaits the task and has the exception from there.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
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


async def in_own_thread(
    work: Callable[[], T],
    *,
    stop: Callable[[], None] = lambda: None,
    patient: bool = True,
) -> T:
    """The result of long blocking work in a thread that nothing else waits for.

    A caller that is cancelled calls ``stop``, which must make the work end soon, and waits for
    it: what the work uses may be closed afterwards. One that is not ``patient`` leaves at once.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def body() -> None:
        try:
            value = work()
        except BaseException as error:
            _post(loop, _fail, future, error)
        else:
            _post(loop, _succeed, future, value)

    # ``Thread.start`` waits until the thread has run: on a busy host for tens of milliseconds.
    _thread.start_new_thread(body, ())
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop()
        if patient:
            await asyncio.wait({future})
            if not future.cancelled():
                future.exception()
        else:
            future.cancel()
        raise


class Turns:
    """A thread at a time, for work that the kernel does one after the other whatever one does:
    several would only spin on its lock."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[..., T], *words: Any, **options: Any) -> T:
        """``asyncio.to_thread``, when it is our turn."""
        async with self._lock:
            return await asyncio.to_thread(work, *words, **options)


def _post(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *values: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody is left to tell
        loop.call_soon_threadsafe(callback, *values)


def _succeed(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _finished(task: asyncio.Task[Any]) -> None:
    _alive.discard(task)
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        _log.error("task %s failed: %s", task.get_name(), error, exc_info=error)
