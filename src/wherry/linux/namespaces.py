"""Run a function in a thread of its own, inside a private mount namespace.

A thread of Linux may leave its process's mount namespace alone (``unshare(CLONE_NEWNS)``): what
it mounts is seen by it and by the processes it starts, and vanishes with the last of them. The
host's mount table does not grow and nothing has to be unmounted.
"""

from __future__ import annotations

import _thread
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from wherry.linux.mounts import make_tree_private
from wherry.linux.syscalls import CLONE_NEWNS, MS_BIND, Syscalls

T = TypeVar("T")


@dataclass(frozen=True)
class Hidden:
    """A mount that is not to be seen."""

    tree: str
    """Made private first, so that the host sees nothing of it."""
    mount: str
    """Below ``tree``, or the same."""
    cover: str
    """An empty directory."""


class PrivateMounts:
    """Runs functions in private mount namespaces, a bounded number at once.

    ``hide`` names mounts that the functions shall not see (a hybrid host's cgroup v2 mount, which
    crun refuses). Each is covered by an empty directory: to detach it would wait for all processors
    (an RCU grace period: milliseconds, and on a crowded host up to hundreds).
    """

    def __init__(self, calls: Syscalls, *, hide: Sequence[Hidden] = (), at_once: int = 16) -> None:
        self.calls = calls
        self.hide = tuple(hide)
        self._slots = asyncio.Semaphore(at_once)

    def enter(self) -> None:
        """Move the calling thread into a fresh private namespace. Never call it on the loop's."""
        self.calls.unshare(CLONE_NEWNS)
        for hidden in self.hide:
            make_tree_private(self.calls, hidden.tree)
            self.calls.mount(hidden.cover, hidden.mount, None, MS_BIND, None)

    async def run(self, work: Callable[[], T], *, abandon: Callable[[T], None] | None = None) -> T:
        """The result of ``work()``, or its exception.

        When the caller is cancelled the thread runs on; its result goes to ``abandon``, on the
        loop's thread, so that a process which it started can be ended.
        """
        async with self._slots:
            return await _InThread(self.enter, work, abandon).result()


class _InThread(Generic[T]):
    def __init__(
        self,
        enter: Callable[[], None],
        work: Callable[[], T],
        abandon: Callable[[T], None] | None,
    ) -> None:
        self._enter = enter
        self._work = work
        self._abandon = abandon
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[T] = self._loop.create_future()

    async def result(self) -> T:
        # ``Thread.start`` waits until the thread has run: on a busy host for tens of milliseconds.
        _thread.start_new_thread(self._body, ())
        try:
            return await asyncio.shield(self._future)
        except asyncio.CancelledError:
            self._future.add_done_callback(self._abandoned)
            raise

    def _body(self) -> None:
        try:
            self._enter()
            value = self._work()
        except BaseException as error:
            self._post(self._fail, error)
        else:
            self._post(self._succeed, value)

    def _post(self, callback: Callable[[Any], None], value: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, value)
        except RuntimeError:
            pass  # the loop has been closed: nobody is left to tell

    def _succeed(self, value: T) -> None:
        if not self._future.done():
            self._future.set_result(value)

    def _fail(self, error: BaseException) -> None:
        if not self._future.done():
            self._future.set_exception(error)

    def _abandoned(self, future: asyncio.Future[T]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        if self._abandon is not None:
            self._abandon(future.result())
