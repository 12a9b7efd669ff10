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
        live.removal.append(future)
    elif condition == "next-exit":
        live.next_exit.append(future)
    elif counts_as_running(live.record.status):
        live.next_stop.append(future)
    else:
        state = live.record.state
        future.set_result((state.exit_code, state.error))
    return future
