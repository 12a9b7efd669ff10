"""``volume create|inspect|ls|prune|rm``, and ``update`` and ``rename``, which Docker has not."""

from __future__ import annotations

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.fields import post_update
from wherry.cli.flags import filter_flag, many, switch, text, value
from wherry.cli.format import LIST_HELP, PLAIN, filters, label_text, natural, write_list
from wherry.cli.inspect import FORMAT, inspector
from wherry.cli.several import each
from wherry.cli.values import key_value, label, memory
from wherry.wire.durations import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options
    from wherry.client.engine import Client

    Row = dict[str, Any]

HEADERS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Status": "STATUS",
    "Group": "GROUP",
    "Availability": "AVAILABILITY",
}


def labels_of(words: list[str]) -> dict[str, str]:
    """``k=v`` and bare ``k`` words."""
    return {key: text for key, _, text in (word.partition("=") for word in words)}


def create(ctx: Context, options: Options, args: list[str]) -> None:
    name = options.text("name")
    if args and name:
        raise CliError(
            "conflicting options: cannot specify a volume-name through both --name and "
            "as a positional arg"
        )
    found = ctx.client.post(
        "/volumes/create",
        {
            "Name": args[0] if args else name,
            "Driver": options.text("driver"),
            "DriverOpts": dict(options.value("opt")) or None,
            "Labels": labels_of(options.many("label")) or None,
        },
    )
    ctx.say(str(found["Name"]))


def ls(ctx: Context, options: Options, args: list[str]) -> None:
    format = options.text("format") or ctx.config.text("volumesFormat")
    found = ctx.client.get("/volumes", filters=filters(options.many("filter")))
    for warning in found.get("Warnings") or []:
        ctx.warn(f"WARNING: {warning}")
    volumes = sorted(found.get("Volumes") or [], key=lambda one: natural(str(one["Name"])))
    if options.on("quiet") and options.text("format") in PLAIN:
        for one in volumes:
            ctx.say(one["Name"])
        return
    columns = ["Driver", "Name"]
    usage: dict[str, Row] = {}
    if options.on("size") or ".Size" in format or ".Links" in format:
        whole = ctx.client.get("/system/df", type="volume", verbose=True)
        usage = {one["Name"]: one.get("UsageData") or {} for one in _volumes(whole)}
    if options.on("size"):
        columns += ["Links", "Size"]
    rows = [row(one, usage.get(one["Name"])) for one in volumes]
    write_list(ctx.out, rows, HEADERS, columns, format)


def _volumes(usage: Any) -> list[Row]:
    """Both shapes of ``/system/df``: the older list, and the one of API 1.52."""
    newer = (usage or {}).get("VolumeUsage") or {}
    return list((usage or {}).get("Volumes") or newer.get("Items") or [])


def row(one: Row, usage: Row | None = None) -> Row:
    """One volume with Docker's field names."""
    labels = one.get("Labels") or {}
    size = -1 if usage is None else int(usage.get("Size", -1))
    links = -1 if usage is None else int(usage.get("RefCount", -1))
    return {
        "Name": one["Name"],
        "Driver": one.get("Driver") or "",
        "Scope": one.get("Scope") or "",
        "Mountpoint": one.get("Mountpoint") or "",
        "Labels": label_text(labels),
        "Label": lambda name: labels.get(name, ""),
        "Links": "N/A" if links < 0 else str(links),
        "Size": "N/A" if size < 0 else human_size(float(size)),
        "Status": "N/A",
        "Group": "N/A",
        "Availability": "N/A",
    }


def rm(ctx: Context, options: Options, args: list[str]) -> int:
    force = options.on("force") or None

    def remove(client: Client, name: str) -> str:
        client.delete(f"/volumes/{name}", force=force)
        return name

    return each(ctx, args, remove)


def update(ctx: Context, options: Options, args: list[str]) -> None:
    body: Row = {}
    if options.changed("size"):
        body["Size"] = options.value("size")
    if options.many("label-add"):
        body["Labels"] = labels_of(options.many("label-add"))
    if options.many("label-rm"):
        body["RemoveLabels"] = options.many("label-rm")
    if not body:
        raise CliError("nothing to update: give --size, --label-add or --label-rm")
    flags = {"Labels": "--label-add", "RemoveLabels": "--label-rm"}
    reply = post_update(ctx.client, own_path(args[0], "update"), body, flags)
    ctx.say(args[0])
    for warning in reply["Warnings"]:
        ctx.warn(warning)


def rename(ctx: Context, options: Options, args: list[str]) -> None:
    ctx.client.post(own_path(args[0], "rename"), name=args[1])


def own_path(volume: str, *rest: str) -> str:
    """Where the daemon does with a volume what Docker's API has not. Raises :class:`CliError` for
    a name that would be a path of its own: there is no volume called so."""
    if "/" in volume:
        raise CliError(f"get {volume}: no such volume")
    return "/".join(("/wherry/volumes", volume, *rest))


CREATE = Command(
    create,
    "[OPTIONS] [VOLUME]",
    [
        text("driver", "Specify volume driver name", short="d", default="local"),
        many("label", "Set metadata for a volume", parse=label),
        text("name", "Specify volume name", hidden=True),
        many("opt", "Set driver specific options", short="o", parse=key_value, shown="map"),
    ],
    (0, 1),
)
INSPECT = Command(
    inspector("volume"), "[OPTIONS] VOLUME [VOLUME...]", [FORMAT], (1, None), complete="volumes"
)
LS = Command(
    ls,
    "[OPTIONS]",
    [
        filter_flag('Provide filter values (e.g. "dangling=true")', short="f"),
        text("format", LIST_HELP),
        switch("quiet", "Only display volume names", short="q"),
        switch("size", "Display how much each volume holds and how many containers use it"),
    ],
)
RM = Command(
    rm,
    "[OPTIONS] VOLUME [VOLUME...]",
    [switch("force", "Force the removal of one or more volumes", short="f")],
    (1, None),
    complete="volumes",
)
UPDATE = Command(
    update,
    "[OPTIONS] VOLUME",
    [
        many("label-add", "Add or replace a label", parse=label),
        many("label-rm", "Remove a label"),
        value("size", "Set the size limit (such as 10g)", memory, shown="bytes"),
    ],
    (1, 1),
    complete="volumes",
)
RENAME = Command(rename, "VOLUME NEW_NAME", (), (2, 2), complete="volumes none")
