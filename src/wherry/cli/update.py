"""``wherry update``: Docker's flags, and what else may change on a container that exists."""

from __future__ import annotations

from wherry.cli import values
from wherry.cli.command import Command
from wherry.cli.createbody import health_config, resources
from wherry.cli.createflags import HEALTH, RESOURCES
from wherry.cli.errors import CliError
from wherry.cli.fields import post_update
from wherry.cli.flags import many, text, value
from wherry.cli.mountspec import mount
from wherry.cli.portspec import publish
from wherry.cli.several import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options
    from wherry.client.engine import Client


_FLAGS = {
    "EnvAdd": "--env",
    "EnvRemove": "--env-rm",
    "LabelsAdd": "--label",
    "LabelsRemove": "--label-rm",
    "PublishAdd": "--publish",
    "PublishRemove": "--publish-rm",
    "MountsAdd": "--mount",
    "MountsRemove": "--mount-rm",
    "Healthcheck: Test": "--health-cmd",
}
"""By the API's fields."""


def update(ctx: Context, options: Options, args: list[str]) -> int:
    if not any(options.changed(flag.name) for flag in UPDATE.flags):
        raise CliError("you must provide one or more flags when using this command")
    try:
        body = update_body(options)
    except ValueError as error:
        raise CliError(str(error)) from None
    beyond = any(options.changed(flag.name) for flag in _BEYOND)
    warnings: list[str] = []

    def act(client: Client, name: str) -> str:
        reply = post_update(client, f"/containers/{name}/update", body, _FLAGS)
        warnings.extend(reply["Warnings"])
        lines = [name]
        for key, title in (("Applied", "applied"), ("AtNextStart", "at the next start")):
            if beyond and reply.get(key):
                lines.append(f"  {title}: {', '.join(reply[key])}")
        return "\n".join(lines)

    code = each(ctx, args, act)
    for warning in warnings:
        ctx.say(warning)
    return code


def update_body(options: Options) -> dict[str, Any]:
    """The body of ``POST /containers/{id}/update``. Raises ``ValueError``."""
    body: dict[str, Any] = resources(options)
    if not options.changed("pids-limit"):
        body["PidsLimit"] = None
    if options.changed("restart"):
        policy = values.restart_policy(options.text("restart"))
        body["RestartPolicy"] = {"MaximumRetryCount": 0, **policy}
    labels = dict(values.pair(word) for word in options.many("label"))
    extra = {
        "EnvAdd": options.many("env"),
        "EnvRemove": options.many("env-rm"),
        "LabelsAdd": labels,
        "LabelsRemove": options.many("label-rm"),
        "PublishAdd": publish(options.many("publish"))[1],
        "PublishRemove": publish(options.many("publish-rm"))[1],
        "MountsAdd": options.value("mount"),
        "MountsRemove": options.many("mount-rm"),
        "Healthcheck": health_config(options),
    }
    return body | {key: value for key, value in extra.items() if value}


_BEYOND = (
    many(
        "env",
        "Set environment variables (processes started from now on have them)",
        short="e",
        parse=values.environment,
    ),
    many("env-rm", "Remove environment variables"),
    many("label", "Set meta data on the container", short="l", parse=values.label),
    many("label-rm", "Remove meta data from the container"),
    many("publish", "Publish further ports to the host", short="p"),
    many("publish-rm", "Stop publishing a port (80, 80/udp, 8080:80)"),
    many("mount", "Attach a further filesystem mount", parse=mount, shown="mount"),
    many("mount-rm", "Take away what is mounted at this path in the container"),
    *HEALTH,
)

_OLD = value("kernel-memory", "", values.memory, default=0, shown="bytes", hidden=True)
"""Without effect for years; scripts still say it."""

UPDATE = Command(
    update,
    "[OPTIONS] CONTAINER [CONTAINER...]",
    [*RESOURCES, text("restart", "Restart policy to apply when a container exits"), *_BEYOND, _OLD],
    (1, None),
    complete="containers",
)
