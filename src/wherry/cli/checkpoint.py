"""``wherry checkpoint``: create, ls, rm."""

from __future__ import annotations

from wherry.cli.command import Command
from wherry.cli.flags import switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.command import Context
    from wherry.cli.flags import Options

_FOLDER = text("checkpoint-dir", "Use a custom checkpoint storage directory of the daemon's host")


def create(ctx: Context, options: Options, args: list[str]) -> None:
    body = {
        "CheckpointID": args[1],
        "CheckpointDir": options.text("checkpoint-dir"),
        "Exit": not options.on("leave-running"),
    }
    ctx.client.post(f"/containers/{args[0]}/checkpoints", body)
    ctx.say(args[1])


def listing(ctx: Context, options: Options, args: list[str]) -> None:
    folder = options.text("checkpoint-dir")
    rows = ctx.client.get(f"/containers/{args[0]}/checkpoints", dir=folder) or []
    ctx.say("CHECKPOINT NAME")
    for row in rows:
        ctx.say(row["Name"])


def remove(ctx: Context, options: Options, args: list[str]) -> None:
    folder = options.text("checkpoint-dir")
    ctx.client.delete(f"/containers/{args[0]}/checkpoints/{args[1]}", dir=folder)


CREATE = Command(
    create,
    "[OPTIONS] CONTAINER CHECKPOINT",
    [_FOLDER, switch("leave-running", "Leave the container running after checkpoint")],
    (2, 2),
    complete="running none",
)
LS = Command(listing, "[OPTIONS] CONTAINER", [_FOLDER], (1, 1), complete="containers")
RM = Command(
    remove, "[OPTIONS] CONTAINER CHECKPOINT", [_FOLDER], (2, 2), complete="containers none"
)
