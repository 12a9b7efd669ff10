"""``images``, ``history``, ``rmi``, ``tag``."""

from __future__ import annotations

import time

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import filter_flag, many, switch, text
from wherry.cli.format import LIST_HELP, PLAIN, ellipsis, filters, label_text, short_id, write_list
from wherry.cli.ps import local_time
from wherry.client.errors import ClientError
from wherry.wire.human import ago, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options

    Row = dict[str, Any]

_SECOND = 1_000_000_000
_NEVER = -62135596800
"""Go's time zero, in seconds since 1970."""
NONE = "<none>"

HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}


def images(ctx: Context, options: Options, args: list[str]) -> None:
    chosen = filters(options.many("filter"))
    if args:
        chosen.setdefault("reference", {})[args[0]] = True
    found = ctx.client.get("/images/json", all=options.on("all"), filters=chosen)
    trunc, digests = not options.on("no-trunc"), options.on("digests")
    format = options.text("format")
    rows = [
        row
        for image in found
        for row in image_rows(
            image, trunc=trunc, digests=digests, format=format, now=time.time_ns()
        )
    ]
    if options.on("quiet") and format in PLAIN:
        for row in rows:
            ctx.say(row["ID"])
        return
    columns = ["Repository", "Tag", "ID", "CreatedSince", "Size"]
    if digests:
        columns.insert(2, "Digest")
    write_list(ctx.out, rows, HEADERS, columns, format or ctx.config.text("imagesFormat"))


def image_rows(image: Row, *, trunc: bool, digests: bool, now: int, format: str = "") -> list[Row]:
    """One image of ``/images/json``: a row for each of its names, or one of ``<none>``."""
    created = int(image.get("Created") or 0)
    size = int(image.get("Size") or 0)
    shared = int(image.get("SharedSize", -1))
    containers = int(image.get("Containers", -1))
    unknown = "N/A" if format in PLAIN else ""
    base = {
        "ID": short_id(image["Id"]) if trunc else image["Id"],
        "CreatedSince": ago(created * _SECOND, now) if created > _NEVER else unknown,
        "CreatedAt": local_time(created),
        "Size": human_size(float(size), 3),
        "VirtualSize": human_size(float(size)),
        "Containers": "N/A" if containers == -1 else str(containers),
        "SharedSize": "N/A" if shared == -1 else human_size(float(shared)),
        "UniqueSize": "N/A" if shared == -1 else human_size(float(size - shared)),
    }
    return [
        {**base, "Repository": repository, "Tag": tag, "Digest": digest}
        for repository, tag, digest in names(image, digests=digests, asked=".Digest" in format)
    ]


def names(image: Row, *, digests: bool, asked: bool = False) -> list[tuple[str, str, str]]:
    """(repository, tag, digest) for every row of an image, as Docker's client pairs them:
    ``digests`` for a column of digests, ``asked`` when only a template names them."""
    tags: dict[str, list[str]] = {}
    for reference in image.get("RepoTags") or []:
        if reference != f"{NONE}:{NONE}":
            repository, _, tag = reference.rpartition(":")
            tags.setdefault(repository, []).append(tag)
    pinned: dict[str, list[str]] = {}
    for reference in image.get("RepoDigests") or []:
        if reference != f"{NONE}@{NONE}":
            repository, _, digest = reference.partition("@")
            pinned.setdefault(repository, []).append(digest)
    found = []
    for repository, own in tags.items():
        known = pinned.pop(repository, []) if digests or asked else []
        pinned.pop(repository, None)
        found += [(repository, tag, digest) for digest in known or [NONE] for tag in own]
    for repository, known in pinned.items():
        found += [(repository, NONE, digest) for digest in (known if digests else [""])]
    return found or [(NONE, NONE, NONE)]


HISTORY_HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def history(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.cli.transfer import platform_json

    found = ctx.client.get(
        f"/images/{args[0]}/history", platform=platform_json(options.text("platform"))
    )
    trunc, format = not options.on("no-trunc"), options.text("format")
    rows = [history_row(one, trunc=trunc, human=options.on("human")) for one in found]
    if options.on("quiet") and format in PLAIN:
        for row in rows:
            ctx.say(row["ID"])
        return
    created = "CreatedSince" if options.on("human") else "CreatedAt"
    columns = ["ID", created, "CreatedBy", "Size", "Comment"]
    headers = {**HISTORY_HEADERS}
    if not options.on("human"):
        headers["CreatedAt"] = "CREATED AT"
    write_list(ctx.out, rows, headers, columns, format)


def history_row(item: Row, *, trunc: bool, human: bool) -> Row:
    created, size = int(item.get("Created") or 0), int(item.get("Size") or 0)
    by = str(item.get("CreatedBy") or "").replace("\t", " ")
    moment = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(created))
    moment = moment[:-2] + ":" + moment[-2:]
    # Go writes no offset for UTC but Z.
    moment = moment.replace("+00:00", "Z")
    return {
        "ID": item["Id"] if not trunc or item["Id"] == "<missing>" else short_id(item["Id"]),
        "CreatedAt": moment,
        "CreatedSince": "N/A" if created <= 0 else ago(created * _SECOND),
        "CreatedBy": ellipsis(by, 45) if trunc else by,
        "Size": human_size(float(size), 3) if human else str(size),
        "Comment": item.get("Comment") or "",
        "Tags": label_text(dict.fromkeys(item.get("Tags") or [], "")).replace("=", ""),
    }


def remove(ctx: Context, options: Options, args: list[str]) -> int:
    from wherry.cli.transfer import platform_json

    force = options.on("force")
    problems, fatal = [], False
    for name in args:
        try:
            rows = ctx.client.delete(
                f"/images/{name}",
                force=force,
                noprune=options.on("no-prune"),
                platforms=[platform_json(one) for one in options.many("platform")],
            )
        except ClientError as error:
            problems.append(error.message)
            fatal = fatal or getattr(error, "status", 0) != 404
            continue
        for row in rows or []:
            if row.get("Deleted"):
                ctx.say(f"Deleted: {row['Deleted']}")
            else:
                ctx.say(f"Untagged: {row['Untagged']}")
    ctx.out.flush()
    for problem in problems:
        ctx.warn(problem)
    return 1 if problems and (fatal or not force) else 0


def tag(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.cli.transfer import split_tag

    source, target = args
    if "@" in target:
        raise CliError("refusing to create a tag with a digest reference")
    repository, name = split_tag(target)
    ctx.client.post(f"/images/{source}/tag", repo=repository, tag=name or "latest")


IMAGES = Command(
    images,
    "[OPTIONS] [REPOSITORY[:TAG]]",
    [
        switch("all", "Show all images (default hides intermediate images)", short="a"),
        switch("digests", "Show digests"),
        filter_flag("Filter output based on conditions provided", short="f"),
        text("format", LIST_HELP),
        switch("no-trunc", "Don't truncate output"),
        switch("quiet", "Only show image IDs", short="q"),
    ],
    (0, 1),
    complete="images",
)
HISTORY = Command(
    history,
    "[OPTIONS] IMAGE",
    [
        text("format", LIST_HELP),
        switch("human", "Print sizes and dates in human readable format", short="H", default=True),
        switch("no-trunc", "Don't truncate output"),
        text(
            "platform",
            'Show history for the given platform. Formatted as "os[/arch[/variant]]" '
            '(e.g., "linux/amd64")',
        ),
        switch("quiet", "Only show image IDs", short="q"),
    ],
    (1, 1),
    complete="images",
)
RMI = Command(
    remove,
    "[OPTIONS] IMAGE [IMAGE...]",
    [
        switch("force", "Force removal of the image", short="f"),
        switch("no-prune", "Do not delete untagged parents"),
        many(
            "platform",
            'Remove only the given platform variant. Formatted as "os[/arch[/variant]]" '
            '(e.g., "linux/amd64")',
            shown="strings",
        ),
    ],
    (1, None),
    complete="images",
)
TAG = Command(tag, "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", (), (2, 2), complete="images")
