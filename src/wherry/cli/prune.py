"""``prune`` of containers, images and the whole system."""

from __future__ import annotations

import sys

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import Flag, filter_flag, switch
from wherry.cli.format import filters
from wherry.client.errors import ApiError
from wherry.wire.human import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options


_FILTER = 'Provide filter values (e.g. "until=<timestamp>")'


def confirm(question: str) -> bool:
    """Ask on the terminal; anything but y or yes is no."""
    print(f"{question}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def force_flag() -> Flag:
    return switch("force", "Do not prompt for confirmation", short="f")


def reclaimed(size: int) -> str:
    return f"Total reclaimed space: {human_size(float(size))}"


def show_deleted(ctx: Context, title: str, lines: list[str]) -> None:
    if lines:
        ctx.say("\n".join([title, *lines, ""]))


def containers(ctx: Context, options: Options, args: list[str]) -> None:
    asked = options.on("force") or confirm("WARNING! This will remove all stopped containers.")
    if not asked:
        return
    ctx.say(reclaimed(_containers(ctx, filters(options.many("filter")))))


def _containers(ctx: Context, chosen: dict[str, Any]) -> int:
    found = ctx.client.post("/containers/prune", filters=chosen) or {}
    show_deleted(ctx, "Deleted Containers:", list(found.get("ContainersDeleted") or []))
    return int(found.get("SpaceReclaimed") or 0)


def images(ctx: Context, options: Options, args: list[str]) -> None:
    every = options.on("all")
    what = (
        "all images without at least one container associated to them"
        if every
        else "all dangling images"
    )
    if not (options.on("force") or confirm(f"WARNING! This will remove {what}.")):
        return
    ctx.say(reclaimed(_images(ctx, filters(options.many("filter")), every)))


def _images(ctx: Context, chosen: dict[str, Any], every: bool) -> int:
    wanted = {**chosen, "dangling": {"false" if every else "true": True}}
    found = ctx.client.post("/images/prune", filters=wanted) or {}
    lines = []
    for row in found.get("ImagesDeleted") or []:
        if row.get("Untagged"):
            lines.append(f"untagged: {row['Untagged']}")
        else:
            lines.append(f"deleted: {row.get('Deleted', '')}")
    show_deleted(ctx, "Deleted Images:", lines)
    return int(found.get("SpaceReclaimed") or 0)


def _networks(ctx: Context, chosen: dict[str, Any]) -> int:
    found = ctx.client.post("/networks/prune", filters=chosen) or {}
    show_deleted(ctx, "Deleted Networks:", list(found.get("NetworksDeleted") or []))
    return 0


def _volumes(ctx: Context, chosen: dict[str, Any]) -> int:
    found = ctx.client.post("/volumes/prune", filters=chosen) or {}
    show_deleted(ctx, "Deleted Volumes:", list(found.get("VolumesDeleted") or []))
    return int(found.get("SpaceReclaimed") or 0)


def system(ctx: Context, options: Options, args: list[str]) -> None:
    chosen = filters(options.many("filter"))
    every, volumes = options.on("all"), options.on("volumes")
    if volumes and "until" in chosen:
        raise CliError('ERROR: The "until" filter is not supported with "--volumes"')
    if not (options.on("force") or confirm(_warning(every, volumes, options))):
        return
    steps: list[Callable[[], int]] = [
        lambda: _containers(ctx, chosen),
        lambda: _networks(ctx, chosen),
        lambda: _images(ctx, chosen, every),
    ]
    if volumes:
        steps.insert(2, lambda: _volumes(ctx, chosen))
    total = 0
    for step in steps:
        try:
            total += step()
        except ApiError as error:
            if error.status != 501:
                raise
            ctx.warn(error.message)
    ctx.say(reclaimed(total))


def _warning(every: bool, volumes: bool, options: Options) -> str:
    lines = [
        "WARNING! This will remove:",
        "  - all stopped containers",
        "  - all networks not used by at least one container",
    ]
    if volumes:
        lines.append("  - all anonymous volumes not used by at least one container")
    if every:
        lines.append("  - all images without at least one container associated to them")
    else:
        lines.append("  - all dangling images")
    words = options.many("filter")
    if words:
        lines += ["", "  Items to be pruned will be filtered with:"]
        lines += [f"  - {word}" for word in words]
    return "\n".join([*lines, ""])


CONTAINER_PRUNE = Command(containers, "[OPTIONS]", [filter_flag(_FILTER), force_flag()])
IMAGE_PRUNE = Command(
    images,
    "[OPTIONS]",
    [
        switch("all", "Remove all unused images, not just dangling ones", short="a"),
        filter_flag(_FILTER),
        force_flag(),
    ],
)
SYSTEM_PRUNE = Command(
    system,
    "[OPTIONS]",
    [
        switch("all", "Remove all unused images not just dangling ones", short="a"),
        filter_flag(_FILTER),
        force_flag(),
        switch("volumes", "Prune anonymous volumes"),
    ],
)
