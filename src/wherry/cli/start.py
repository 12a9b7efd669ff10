"""``wherry start``."""

from __future__ import annotations

from wherry.cli.command import Command
from wherry.cli.errors import CliError, Exit
from wherry.cli.flags import switch, text
from wherry.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options


def start(ctx: Context, options: Options, args: list[str]) -> int:
    if options.on("attach") or options.on("interactive"):
        if len(args) > 1:
            raise CliError("you cannot start and attach multiple containers at once")
        return _attached(ctx, options, args[0])
    query = _query(options)
    if options.text("checkpoint") and len(args) > 1:
        raise CliError("you cannot restore multiple containers at once")
    failed = []
    for name in args:
        try:
            ctx.client.post(f"/containers/{name}/start", **query)
        except ClientError as error:
            ctx.warn(error.message)
            failed.append(name)
            continue
        if not options.text("checkpoint"):  # Docker's client is silent then
            ctx.say(name)
    if failed:
        raise CliError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _query(options: Options) -> dict[str, Any]:
    return {name: options.text(name) for name in ("checkpoint", "checkpoint-dir")}


def _attached(ctx: Context, options: Options, name: str) -> int:
    from wherry.cli.attach import Plan, run_attached
    from wherry.cli.terminal import check_tty

    found = ctx.client.get(f"/containers/{name}/json")
    config = found.get("Config") or {}
    tty = bool(config.get("Tty"))
    stdin = options.on("interactive") and bool(config.get("OpenStdin"))
    check_tty(stdin, tty)
    auto_remove = (found.get("HostConfig") or {}).get("AutoRemove")
    plan = Plan(
        found["Id"],
        tty=tty,
        stdin=stdin,
        detach_keys=options.text("detach-keys") or ctx.config.text("detachKeys"),
        sig_proxy=not tty,
        condition="removed" if auto_remove else "next-exit",
    )

    def begin() -> None:
        try:
            ctx.client.post(f"/containers/{name}/start", **_query(options))
        except ClientError as error:
            ctx.warn(error.message)
            raise Exit(1) from None

    return run_attached(ctx, plan, begin)


START = Command(
    start,
    "[OPTIONS] CONTAINER [CONTAINER...]",
    [
        switch("attach", "Attach STDOUT/STDERR and forward signals", short="a"),
        text("checkpoint", "Restore from this checkpoint"),
        text("checkpoint-dir", "Use a custom checkpoint storage directory"),
        text("detach-keys", "Override the key sequence for detaching a container"),
        switch("interactive", "Attach container's STDIN", short="i"),
    ],
    (1, None),
    complete="stopped",
)
