"""Wait for a container's end. Conditions of the API: not-running, next-exit, removed."""

from __future__ import annotations

import asyncio

from wherry.containers.book import Book
from wherry.containers.transitions import counts_as_running
from wherry.errors import Invalid

CONDITIONS = ("not-running", "next-exit", "removed")


def register(book: Book, ref: str, condition: str) -> asyncio.Future[tuple[int, str]]:
    """A future of (exit code, error). Looks up and registers without awaiting.

    Raises ``NotFound``; ``Invalid`` for an unknown condition.
    """
    live = book.get(ref)
    if condition not in CONDITIONS and condition:
        raise Invalid(f'invalid condition: "{condition}"')
    future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
    if condition == "removed":
        waiters = live.removal
    elif condition == "next-exit":
        waiters = live.next_exit
    elif counts_as_running(live.record.status):
        waiters = live.next_stop
    else:
        state = live.record.state
        future.set_result((state.exit_code, state.error))
        return future

    def forget(_: object) -> None:
        if future in waiters:
            waiters.remove(future)

    waiters.append(future)
    future.add_done_callback(forget)  # given up: nothing else would take it out
    return future
