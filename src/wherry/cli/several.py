"""Do one thing to several named objects: print names on success, errors, and exit code 1."""

from __future__ import annotations

from wherry.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.cli.command import Context
    from wherry.client.engine import Client

_AT_ONCE = 32


def each(
    ctx: Context,
    names: Sequence[str],
    act: Callable[[Client, str], str | None],
    *,
    parallel: bool = False,
    forgive: Callable[[ClientError], bool] = lambda error: False,
) -> int:
    """Call ``act(client, name)`` for every name and print what it returns (None: nothing).

    An error is printed and the others are done all the same. ``forgive`` tells errors that do
    not count. ``parallel``: at the same time, each with a client of its own; the output keeps
    the order of ``names``.
    """
    failed = False
    for result in _results(ctx, names, act, parallel and len(names) > 1):
        if isinstance(result, ClientError):
            ctx.out.flush()
            ctx.warn(result.message)
            failed = failed or not forgive(result)
        elif result is not None:
            ctx.say(result)
    return 1 if failed else 0


def _results(
    ctx: Context,
    names: Sequence[str],
    act: Callable[[Client, str], str | None],
    parallel: bool,
) -> list[str | ClientError | None]:
    first = ctx.client
    first.negotiate()

    def one(name: str, client: Client) -> str | ClientError | None:
        try:
            return act(client, name)
        except ClientError as error:
            return error

    if not parallel:
        return [one(name, first) for name in names]
    from concurrent.futures import ThreadPoolExecutor

    def own(name: str) -> str | ClientError | None:
        client = ctx.another_client()
        try:
            return one(name, client)
        finally:
            client.close()

    pool = ThreadPoolExecutor(min(len(names), _AT_ONCE))
    try:
        return list(pool.map(own, names))
    finally:
        # After an interrupt nobody waits for what the daemon is still at.
        pool.shutdown(wait=False, cancel_futures=True)


def not_found(error: ClientError) -> bool:
    """Is it the daemon's 404?"""
    return getattr(error, "status", 0) == 404
