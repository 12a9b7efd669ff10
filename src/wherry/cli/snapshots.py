"""``commit``, ``diff``, ``export``: a container's files as an image, a list, an archive."""

from __future__ import annotations

import sys

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import many, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.command import Context
    from wherry.cli.flags import Options

_KINDS = {0: "C", 1: "A", 2: "D"}


def commit(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.cli.meter import Waiting, terminal
    from wherry.cli.transfer import split_tag

    repository, tag = split_tag(args[1]) if len(args) > 1 else ("", "")
    pause = options.on("pause") and not options.on("no-pause")
    with Waiting(f"Committing {args[0]}", terminal()):
        reply = ctx.client.post(
            "/commit",
            container=args[0],
            repo=repository,
            tag=tag,
            comment=options.text("message"),
            author=options.text("author"),
            changes=options.many("change"),
            # False is left out of a query, and the default is to pause.
            pause="1" if pause else "0",
        )
    ctx.say(reply["Id"])


def diff(ctx: Context, options: Options, args: list[str]) -> None:
    for change in ctx.client.get(f"/containers/{args[0]}/changes") or []:
        ctx.say(f"{_KINDS.get(change['Kind'], '?')} {change['Path']}")


def export(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.cli.transfer import check_output, save_to

    target = options.text("output")
    if target:
        check_output(target, "export")
    elif sys.stdout.isatty():
        raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    save_to(ctx, ctx.client.send("GET", f"/containers/{args[0]}/export"), target)


_NO_PAUSE = switch("no-pause", "Do not pause container during commit")

COMMIT = Command(
    commit,
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    [
        text("author", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', short="a"),
        many("change", "Apply Dockerfile instruction to the created image", short="c"),
        text("message", "Commit message", short="m"),
        switch("pause", "Pause container during commit", short="p", default=True),
        _NO_PAUSE,
    ],
    (1, 2),
    complete="containers images",
)
DIFF = Command(diff, "CONTAINER", (), (1, 1), complete="containers")
EXPORT = Command(
    export,
    "[OPTIONS] CONTAINER",
    [text("output", "Write to a file, instead of STDOUT", short="o", complete="files")],
    (1, 1),
    complete="containers",
)
