"""``volume clone|export|import|snapshot|restore``: beyond Docker."""

from __future__ import annotations

import os
import sys

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import many, switch, text
from wherry.cli.format import LIST_HELP, write_list
from wherry.cli.values import key_value, label
from wherry.cli.volumes import labels_of, own_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.command import Context
    from wherry.cli.flags import Options

_NAMELESS = "the name of the snapshot is empty"


def clone(ctx: Context, options: Options, args: list[str]) -> None:
    found = ctx.client.post(
        own_path(args[0], "clone"),
        {
            "Name": args[1],
            "DriverOpts": dict(options.value("opt")) or None,
            "Labels": labels_of(options.many("label")) or None,
        },
    )
    ctx.say(str(found["Name"]))


def export(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.cli.transfer import save_to

    target = options.text("output")
    if not target and sys.stdout.isatty():
        raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    save_to(ctx, ctx.client.send("GET", own_path(args[0], "export")), target)


def import_(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.cli.transfer import open_input, pieces

    path = own_path(args[0], "import")
    name = args[1] if len(args) > 1 else "-"
    with open_input(ctx, name) as file:
        response = ctx.client.send(
            "POST",
            path,
            {"overwrite": options.on("overwrite") or None},
            pieces(file, "" if name == "-" else f"Sending {os.path.basename(name)}"),
            {"Content-Type": "application/x-tar"},
        )
        response.read()


def snapshot(ctx: Context, options: Options, args: list[str]) -> None:
    path = own_path(args[0], "snapshots")
    if options.on("remove"):
        if not any(args[1:]):
            raise CliError("--remove needs the name of a snapshot")
        ctx.client.delete(_snapshot_path(*args))
        ctx.say(args[1])
    elif len(args) > 1:
        if not args[1]:
            raise CliError(_NAMELESS)
        ctx.say(str(ctx.client.post(path, name=args[1])["Name"]))
    else:
        rows = ctx.client.get(path)
        headers = {"Name": "SNAPSHOT", "CreatedAt": "CREATED AT"}
        write_list(ctx.out, rows, headers, list(headers), options.text("format"))


def restore(ctx: Context, options: Options, args: list[str]) -> None:
    ctx.client.post(f"{_snapshot_path(*args)}/restore")


def _snapshot_path(volume: str, name: str) -> str:
    path = own_path(volume, "snapshots", name)
    if not name:
        raise CliError(_NAMELESS)
    if "/" in name:
        raise CliError(f"volume {volume} has no snapshot {name}")
    return path


CLONE = Command(
    clone,
    "[OPTIONS] VOLUME NEW_NAME",
    [
        many("label", "Set metadata for the new volume (default: the old one's)", parse=label),
        many("opt", "Set driver specific options", short="o", parse=key_value, shown="map"),
    ],
    (2, 2),
    complete="volumes none",
)
EXPORT = Command(
    export,
    "[OPTIONS] VOLUME",
    [text("output", "Write to a file, instead of STDOUT", short="o", complete="files")],
    (1, 1),
    complete="volumes",
)
IMPORT = Command(
    import_,
    "[OPTIONS] VOLUME [file|-]",
    [switch("overwrite", "Replace what the volume holds")],
    (1, 2),
    complete="volumes files",
)
SNAPSHOT = Command(
    snapshot,
    "[OPTIONS] VOLUME [SNAPSHOT]",
    [
        text("format", LIST_HELP),
        switch("remove", "Remove the snapshot"),
    ],
    (1, 2),
    complete="volumes none",
)
RESTORE = Command(restore, "VOLUME SNAPSHOT", (), (2, 2), complete="volumes none")
