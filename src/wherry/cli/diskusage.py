"""``wherry system df``."""

from __future__ import annotations

import time

from wherry.cli.command import Command
from wherry.cli.flags import switch, text
from wherry.cli.format import LIST_HELP, PLAIN, json_line, unescape, write_list
from wherry.wire.human import ago, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options

    Row = dict[str, Any]

HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def df(ctx: Context, options: Options, args: list[str]) -> None:
    # The sums of newer daemons come without rows unless asked for.
    found = with_rows(ctx.client.get("/system/df", verbose=ctx.client.at_least("1.52")))
    format = options.text("format")
    if options.on("verbose"):
        _verbose(ctx, found, format)
        return
    write_list(ctx.out, summary(found), HEADERS, list(HEADERS), format)


def with_rows(found: Row) -> Row:
    """The answer with the keys it had before API 1.52, whichever way the daemon says it."""
    rows = dict(found)
    for key, usage in (
        ("Images", "ImageUsage"),
        ("Containers", "ContainerUsage"),
        ("Volumes", "VolumeUsage"),
        ("BuildCache", "BuildCacheUsage"),
    ):
        if key not in rows:
            rows[key] = (found.get(usage) or {}).get("Items")
    rows.setdefault("LayersSize", (found.get("ImageUsage") or {}).get("TotalSize", 0))
    return rows


def summary(found: Row) -> list[Row]:
    """The four rows: how many, in use, size, what a prune would free."""
    images, containers = found.get("Images") or [], found.get("Containers") or []
    volumes, cache = found.get("Volumes") or [], found.get("BuildCache") or []
    layers = int(found.get("LayersSize") or 0)
    used = [one for one in images if int(one.get("Containers") or 0) > 0]
    held = sum(int(one.get("Size") or 0) - max(int(one.get("SharedSize") or 0), 0) for one in used)
    rows = [
        row("Images", len(images), len(used), layers, max(layers - held, 0) if used else layers)
    ]
    running = [one for one in containers if one.get("State") in ("running", "paused", "restarting")]
    size = sum(int(one.get("SizeRw") or 0) for one in containers)
    idle = size - sum(int(one.get("SizeRw") or 0) for one in running)
    rows.append(row("Containers", len(containers), len(running), size, idle))
    in_use = [one for one in volumes if int((one.get("UsageData") or {}).get("RefCount") or 0) > 0]
    size = sum(_volume_size(one) for one in volumes)
    idle = size - sum(_volume_size(one) for one in in_use)
    rows.append(row("Local Volumes", len(volumes), len(in_use), size, idle))
    active = [one for one in cache if one.get("InUse")]
    size = sum(int(one.get("Size") or 0) for one in cache if not one.get("Shared"))
    idle = sum(
        int(one.get("Size") or 0) for one in cache if not one.get("Shared") and not one.get("InUse")
    )
    built = row("Build Cache", len(cache), len(active), size, idle)
    built["Reclaimable"] = human_size(float(idle))
    return [*rows, built]


def _volume_size(volume: Row) -> int:
    return max(int((volume.get("UsageData") or {}).get("Size") or 0), 0)


def _shown_size(volume: Row) -> str:
    known = int((volume.get("UsageData") or {}).get("Size", -1)) >= 0
    return human_size(float(_volume_size(volume))) if known else "N/A"


def row(kind: str, total: int, active: int, size: int, free: int) -> Row:
    text = human_size(float(free))
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": human_size(float(size)),
        "Reclaimable": f"{text} ({free * 100 // size}%)" if size > 0 else text,
    }


def _verbose(ctx: Context, found: Row, format: str) -> None:
    from wherry.cli import images as images_room
    from wherry.cli import ps as ps_room

    now = time.time_ns()
    trunc = format in PLAIN
    images = [
        one
        for image in found.get("Images") or []
        for one in images_room.image_rows(
            {**image, "RepoDigests": None}, trunc=trunc, digests=False, now=now
        )[:1]
    ]
    containers = []
    for item in found.get("Containers") or []:
        one = ps_room.row(item, trunc=trunc, now=now)
        one["Size"] = human_size(float(item.get("SizeRw") or 0), 3)
        containers.append(one)
    volumes = [
        {
            "Name": one["Name"],
            "Links": str((one.get("UsageData") or {}).get("RefCount", "N/A")),
            "Size": _shown_size(one),
        }
        for one in found.get("Volumes") or []
    ]
    whole = {
        "Images": images,
        "Containers": [{k: v for k, v in one.items() if not callable(v)} for one in containers],
        "Volumes": volumes,
        "BuildCache": found.get("BuildCache") or [],
    }
    if format == "json":
        ctx.say(json_line(whole))
        return
    if format and not format.startswith("table"):
        from wherry.cli.templates import render

        ctx.say(render(unescape(format), whole))
        return
    ctx.say("Images space usage:\n")
    headers = {**images_room.HEADERS, "Containers": "CONTAINERS"}
    columns = ["Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize"]
    write_list(ctx.out, images, headers, [*columns, "Containers"])
    ctx.say("\nContainers space usage:\n")
    headers = {**ps_room.HEADERS, "RunningFor": "CREATED"}
    columns = ["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"]
    write_list(ctx.out, containers, headers, columns)
    ctx.say("\nLocal Volumes space usage:\n")
    headers = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
    write_list(ctx.out, volumes, headers, list(headers))
    cache = [_cache_row(one, now) for one in found.get("BuildCache") or []]
    used = sum(int(one.get("Size") or 0) for one in found.get("BuildCache") or [])
    ctx.say(f"\nBuild cache usage: {human_size(float(used))}\n")
    write_list(ctx.out, cache, CACHE_HEADERS, list(CACHE_HEADERS))


CACHE_HEADERS = {
    "ID": "CACHE ID",
    "CacheType": "CACHE TYPE",
    "Size": "SIZE",
    "CreatedSince": "CREATED",
    "LastUsedSince": "LAST USED",
    "UsageCount": "USAGE",
    "Shared": "SHARED",
}


def _cache_row(record: Row, now: int) -> Row:
    def since(key: str) -> str:
        from wherry.wire.durations import parse_rfc3339

        return ago(parse_rfc3339(record[key]), now) if record.get(key) else ""

    return {
        "ID": str(record.get("ID") or "")[:12],
        "CacheType": record.get("Type") or "",
        "Size": human_size(float(record.get("Size") or 0), 3),
        "CreatedSince": since("CreatedAt"),
        "LastUsedSince": since("LastUsedAt"),
        "UsageCount": str(record.get("UsageCount") or 0),
        "Shared": record.get("Shared") or False,
    }


DF = Command(
    df,
    "[OPTIONS]",
    [
        text("format", LIST_HELP),
        switch("verbose", "Show detailed information on space usage", short="v"),
    ],
)
