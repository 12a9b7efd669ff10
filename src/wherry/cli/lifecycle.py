"""Commands that change a container's state: stop, restart, kill, pause, rm, rename, wait."""

from __future__ import annotations

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import Flag, number, switch, text
from wherry.cli.several import each, not_found
from wherry.client.errors import ApiError, ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.command import Context, Run
    from wherry.cli.flags import Options
    from wherry.client.engine import Client

_MANY = "[OPTIONS] CONTAINER [CONTAINER...]"


def _stop_query(options: Options) -> dict[str, Any]:
    if options.changed("timeout") and options.changed("time"):
        raise CliError("conflicting options: cannot specify both --timeout and --time")
    query: dict[str, Any] = {"signal": options.text("signal")}
    for flag in ("timeout", "time"):
        if options.changed(flag):
            query["t"] = str(options.number(flag))
    return query


def _changing(verb: str, query: Callable[[Options], dict[str, Any]] = lambda _: {}) -> Run:
    """The ``run`` function of a command that asks the same change of every container."""

    def run(ctx: Context, options: Options, args: list[str]) -> int:
        asked = query(options)

        def act(client: Client, name: str) -> str:
            client.post(f"/containers/{name}/{verb}", **asked)
            return name

        return each(ctx, args, act, parallel=True)

    return run


def remove(ctx: Context, options: Options, args: list[str]) -> int:
    force = options.on("force")

    def act(client: Client, name: str) -> str:
        stripped = name.strip("/")
        if not stripped:
            raise ClientError("container name cannot be empty")
        client.delete(
            f"/containers/{stripped}", force=force, v=options.on("volumes"), link=options.on("link")
        )
        return stripped

    return each(ctx, args, act, parallel=True, forgive=not_found if force else lambda _: False)


def rename(ctx: Context, options: Options, args: list[str]) -> None:
    old, new = (name.strip() for name in args)
    if not old or not new:
        raise CliError("Error: Neither old nor new names may be empty")
    try:
        ctx.client.post(f"/containers/{old}/rename", name=new)
    except ApiError as error:
        ctx.warn(error.message)
        raise CliError(f"Error: failed to rename container named {old}") from None


def wait(ctx: Context, options: Options, args: list[str]) -> int:
    def act(client: Client, name: str) -> str:
        answer = client.post(f"/containers/{name}/wait") or {}
        return str(answer.get("StatusCode", ""))

    return each(ctx, args, act)


def _stop_flags() -> list[Flag]:
    return [
        text("signal", "Signal to send to the container", short="s", complete="signals"),
        number("timeout", "Seconds to wait before killing the container", short="t"),
        number("time", "Seconds to wait before killing the container", hidden=True),
    ]


STOP = Command(_changing("stop", _stop_query), _MANY, _stop_flags(), (1, None), complete="running")
RESTART = Command(
    _changing("restart", _stop_query), _MANY, _stop_flags(), (1, None), complete="containers"
)
KILL = Command(
    _changing("kill", lambda options: {"signal": options.text("signal")}),
    _MANY,
    [text("signal", "Signal to send to the container", short="s", complete="signals")],
    (1, None),
    complete="running",
)
PAUSE = Command(_changing("pause"), "CONTAINER [CONTAINER...]", (), (1, None), complete="running")
UNPAUSE = Command(
    _changing("unpause"), "CONTAINER [CONTAINER...]", (), (1, None), complete="paused"
)
RM = Command(
    remove,
    _MANY,
    [
        switch("force", "Force the removal of a running container (uses SIGKILL)", short="f"),
        switch("link", "Remove the specified link", short="l"),
        switch("volumes", "Remove anonymous volumes associated with the container", short="v"),
    ],
    (1, None),
    complete="containers",
)
RENAME = Command(rename, "CONTAINER NEW_NAME", (), (2, 2), complete="containers none")
WAIT = Command(wait, "CONTAINER [CONTAINER...]", (), (1, None), complete="running")
