"""``wherry update``."""

from __future__ import annotations

from wherry.cli.command import Command
from wherry.cli.createbody import resources
from wherry.cli.createflags import RESOURCES
from wherry.cli.errors import CliError
from wherry.cli.flags import text
from wherry.cli.several import each
from wherry.cli.values import restart_policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.command import Context
    from wherry.cli.flags import Options
    from wherry.client.engine import Client


def update(ctx: Context, options: Options, args: list[str]) -> int:
    if not any(options.changed(flag.name) for flag in UPDATE.flags):
        raise CliError("you must provide one or more flags when using this command")
    body = resources(options)
    if not options.changed("pids-limit"):
        body["PidsLimit"] = None
    if options.changed("restart"):
        try:
            body["RestartPolicy"] = {
                "MaximumRetryCount": 0,
                **restart_policy(options.text("restart")),
            }
        except ValueError as error:
            raise CliError(str(error)) from None
    warnings: list[str] = []

    def act(client: Client, name: str) -> str:
        reply = client.post(f"/containers/{name}/update", body) or {}
        warnings.extend(reply.get("Warnings") or [])
        return name

    code = each(ctx, args, act)
    for warning in warnings:
        ctx.say(warning)
    return code


UPDATE = Command(
    update,
    "[OPTIONS] CONTAINER [CONTAINER...]",
    [*RESOURCES, text("restart", "Restart policy to apply when a container exits")],
    (1, None),
    complete="containers",
)
