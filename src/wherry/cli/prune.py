"""``prune`` of containers, images, networks, volumes and the whole system, and ``--dry-run``.

A dry run is the daemon's work, as only it knows what holds what. It is asked for with a query
parameter that another daemon would ignore, and really remove things: so only prunes that the
daemon announces in ``Wherry-Dry-Run`` are sent one.
"""

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

_FILTER = (
    'Provide filter values (e.g. "until=<timestamp>", "label=<key>[=<value>]", "label!=...", '
    '"name=<pattern>", "name!=...")'
)
_ANNOUNCED = "wherry-dry-run"


def confirm(question: str) -> bool:
    """Ask on the terminal; anything but y or yes is no."""
    print(f"{question}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class Pruner:
    """The prunes of one command: their filters, their output, and the space they free (bytes)."""

    def __init__(self, ctx: Context, options: Options) -> None:
        self._ctx = ctx
        self._dry_run = options.on("dry-run")
        self._forced = options.on("force")
        self._containers: list[str] = []
        self.filters = with_configured(
            filters(options.many("filter")), ctx.config.values.get("pruneFilters")
        )
        self.freed = 0

    def agreed(self, question: str) -> bool:
        """Nothing is asked where nothing is removed, or with ``--force``."""
        return self._dry_run or self._forced or confirm(question)

    def check(self, *kinds: str) -> None:
        """Refuse a dry run of what the daemon would really remove."""
        if not self._dry_run:
            return
        announced = self._ctx.client.announced(_ANNOUNCED).replace(",", " ").split()
        for kind in kinds:
            if kind not in announced:
                raise CliError(
                    f"--dry-run: the daemon at {self._ctx.endpoint.host} cannot tell which {kind} "
                    "it would remove, nothing was sent to it"
                )

    def prune(self, kind: str, key: str, chosen: dict[str, Any]) -> list[Any]:
        """Send one prune; what it removed, or would remove. ``kind``: ``containers`` ..."""
        query: dict[str, Any] = {"filters": chosen}
        if self._dry_run:
            query |= {"dry-run": True, "without": self._containers}
        found = self._ctx.client.post(f"/{kind}/prune", **query) or {}
        if self._dry_run and found.get("DryRun") is not True:
            raise CliError(f"--dry-run: the daemon did not confirm that it spared the {kind}")
        self.freed += int(found.get("SpaceReclaimed") or 0)
        return list(found.get(key) or [])

    def show(self, what: str, lines: list[str]) -> None:
        if lines:
            title = f"Would delete {what.lower()}:" if self._dry_run else f"Deleted {what}:"
            self._ctx.say("\n".join([title, *lines, ""]))

    def containers(self) -> None:
        removed = self.prune("containers", "ContainersDeleted", self.filters)
        if self._dry_run:
            self._containers = removed
            names = {
                one["Id"]: " ".join(name.removeprefix("/") for name in one.get("Names") or [])
                for one in self._ctx.client.get("/containers/json", all=True)
            }
            removed = [f"{identity}  {names.get(identity, '')}".rstrip() for identity in removed]
        self.show("Containers", removed)

    def images(self, every: bool) -> None:
        chosen = {**self.filters, "dangling": {"false" if every else "true": True}}
        rows = self.prune("images", "ImagesDeleted", chosen)
        lines = [
            f"untagged: {row['Untagged']}"
            if row.get("Untagged")
            else f"deleted: {row.get('Deleted', '')}"
            for row in rows
        ]
        self.show("Images", lines)

    def networks(self) -> None:
        self.show("Networks", self.prune("networks", "NetworksDeleted", self.filters))

    def volumes(self, every: bool) -> None:
        chosen = dict(self.filters)
        if every:
            if "all" in chosen:
                raise CliError("conflicting options: cannot specify both --all and --filter all=1")
            chosen["all"] = {"true": True}
        self.show("Volumes", self.prune("volumes", "VolumesDeleted", chosen))

    def total(self) -> None:
        word = "reclaimable" if self._dry_run else "reclaimed"
        self._ctx.say(f"Total {word} space: {human_size(float(self.freed))}")


def with_configured(chosen: dict[str, dict[str, bool]], configured: Any) -> dict[str, Any]:
    """Filters of the command line, then those of config.json's ``pruneFilters``; of two label
    filters that contradict each other the command line's holds."""
    found = {name: dict(values) for name, values in chosen.items()}
    for word in configured if isinstance(configured, list) else ():
        key, equals, value = str(word).partition("=")
        opposite = {"label": "label!", "label!": "label"}.get(key, "")
        if equals and value not in chosen.get(opposite, {}):
            found.setdefault(key, {})[value] = True
    return found


def containers(ctx: Context, options: Options, args: list[str]) -> None:
    pruner = Pruner(ctx, options)
    pruner.check("containers")
    if pruner.agreed("WARNING! This will remove all stopped containers."):
        pruner.containers()
        pruner.total()


def images(ctx: Context, options: Options, args: list[str]) -> None:
    pruner = Pruner(ctx, options)
    pruner.check("images")
    what = (
        "all images without at least one container associated to them"
        if options.on("all")
        else "all dangling images"
    )
    if pruner.agreed(f"WARNING! This will remove {what}."):
        pruner.images(options.on("all"))
        pruner.total()


def networks(ctx: Context, options: Options, args: list[str]) -> None:
    pruner = Pruner(ctx, options)
    pruner.check("networks")
    what = "all custom networks not used by at least one container"
    if pruner.agreed(f"WARNING! This will remove {what}."):
        pruner.networks()


def volumes(ctx: Context, options: Options, args: list[str]) -> None:
    pruner = Pruner(ctx, options)
    pruner.check("volumes")
    which = "all local volumes" if options.on("all") else "anonymous local volumes"
    if pruner.agreed(f"WARNING! This will remove {which} not used by at least one container."):
        pruner.volumes(options.on("all"))
        pruner.total()


def system(ctx: Context, options: Options, args: list[str]) -> None:
    pruner = Pruner(ctx, options)
    every, with_volumes = options.on("all"), options.on("volumes")
    if with_volumes and "until" in pruner.filters and not ctx.client.announced(_ANNOUNCED):
        raise CliError('ERROR: The "until" filter is not supported with "--volumes"')
    kinds = ("containers", "networks", *(("volumes",) if with_volumes else ()), "images")
    pruner.check(*kinds)
    if not pruner.agreed(_warning(every, with_volumes, options)):
        return
    steps: dict[str, Callable[[], None]] = {
        "containers": pruner.containers,
        "networks": pruner.networks,
        "volumes": lambda: pruner.volumes(False),
        "images": lambda: pruner.images(every),
    }
    for kind in kinds:
        try:
            steps[kind]()
        except ApiError as error:
            if error.status != 501:
                raise
            ctx.warn(error.message)
    pruner.total()


def _warning(every: bool, with_volumes: bool, options: Options) -> str:
    lines = [
        "WARNING! This will remove:",
        "  - all stopped containers",
        "  - all networks not used by at least one container",
    ]
    if with_volumes:
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


_FLAGS: tuple[Flag, ...] = (
    switch("dry-run", "Only show what would be removed, and how much space that would free"),
    filter_flag(_FILTER),
    switch("force", "Do not prompt for confirmation", short="f"),
)

CONTAINER_PRUNE = Command(containers, "[OPTIONS]", _FLAGS)
IMAGE_PRUNE = Command(
    images,
    "[OPTIONS]",
    [switch("all", "Remove all unused images, not just dangling ones", short="a"), *_FLAGS],
)
NETWORK_PRUNE = Command(networks, "[OPTIONS]", _FLAGS)
VOLUME_PRUNE = Command(
    volumes,
    "[OPTIONS]",
    [switch("all", "Remove all unused volumes, not just anonymous ones", short="a"), *_FLAGS],
)
SYSTEM_PRUNE = Command(
    system,
    "[OPTIONS]",
    [
        switch("all", "Remove all unused images not just dangling ones", short="a"),
        switch("volumes", "Prune anonymous volumes"),
        *_FLAGS,
    ],
)
