"""``inspect`` of anything, and of containers, images, networks, volumes by their groups."""

from __future__ import annotations

import json

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import Flag, switch, text
from wherry.cli.format import ONE_HELP, unescape
from wherry.client.errors import ApiError, ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry.cli.command import Context, Run
    from wherry.cli.flags import Options

PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
"""What can be looked up, in the order in which ``inspect`` tries."""


def inspect(ctx: Context, options: Options, args: list[str]) -> int:
    kind = options.text("type")
    if options.changed("type") and not kind:
        raise CliError("type is empty: must be one of " + _kinds())
    if kind and kind not in PATHS:
        raise CliError(f'unknown type: "{kind}": must be one of {_kinds()}')
    return inspect_names(ctx, options, args, [kind] if kind else list(PATHS))


def _kinds() -> str:
    return ", ".join(f'"{kind}"' for kind in PATHS)


def inspect_names(
    ctx: Context,
    options: Options,
    names: Sequence[str],
    kinds: Sequence[str],
    *,
    platform: str = "",
) -> int:
    """Print what is found as an array (or each through ``--format``); missing names are errors
    at the end and exit code 1."""
    queries: dict[str, dict[str, Any]] = {}
    if "container" in kinds:
        queries["container"] = {"size": options.on("size")}
    if platform:
        from wherry.cli.transfer import platform_json

        queries["image"] = {"platform": platform_json(platform)}
    found: list[tuple[str, Any]] = []
    problems: list[str] = []
    for name in names:
        try:
            found.append(_one(ctx, name, kinds, queries))
        except ClientError as error:
            problems.append(error.message)
    format = options.text("format")
    plain = [one for _kind, one in found]
    if not format:
        ctx.say(json.dumps(plain, indent=4, ensure_ascii=False))
    elif format == "json":
        ctx.say(json.dumps(plain, separators=(",", ":"), ensure_ascii=False))
    else:
        _templated(ctx, found, unescape(format))
    ctx.out.flush()
    for problem in problems:
        ctx.warn(problem)
    return 1 if problems else 0


def _templated(ctx: Context, found: Sequence[tuple[str, Any]], template: str) -> None:
    """As Docker: over the object with all its fields, else, for the error's words, as it came."""
    from wherry.cli.templates import compiled, render
    from wherry.cli.zeros import typed

    # A malformed template is an error even where nothing was found.
    compiled(template)
    for kind, one in found:
        try:
            shown = render(template, typed(kind, one), strict=True)
        except CliError:
            try:
                shown = render(template, one, strict=True)
            except CliError:
                ctx.say("")
                raise
        ctx.say(shown)
    if not found:
        ctx.say("")


def _one(
    ctx: Context, name: str, kinds: Sequence[str], queries: dict[str, dict[str, Any]]
) -> tuple[str, Any]:
    """The kind of the object and the object. ``queries``: further parameters of some kinds."""
    for kind in kinds:
        query = queries.get(kind, {})
        try:
            return kind, ctx.client.get(PATHS[kind].format(name), **query)
        except ApiError as error:
            # 501: this kind does not exist in this daemon; another may.
            if len(kinds) == 1 or error.status not in (400, 404, 501):
                raise
    shown = name or '"": the name is empty'
    raise ClientError(f"Error: No such object: {shown}")


def inspector(kind: str) -> Run:
    """The ``run`` function of ``wherry <kind> inspect``."""

    def run(ctx: Context, options: Options, args: list[str]) -> int:
        platform = options.text("platform") if kind == "image" else ""
        return inspect_names(ctx, options, args, [kind], platform=platform)

    return run


FORMAT = text("format", ONE_HELP, short="f")
_SIZE = switch("size", "Display total file sizes if the type is container", short="s")
_TYPE: Flag = text("type", "Only inspect objects of the given type")

INSPECT = Command(
    inspect,
    "[OPTIONS] NAME|ID [NAME|ID...]",
    [FORMAT, _SIZE, _TYPE],
    (1, None),
    complete="objects",
)
CONTAINER_INSPECT = Command(
    inspector("container"),
    "[OPTIONS] CONTAINER [CONTAINER...]",
    [FORMAT, switch("size", "Display total file sizes", short="s")],
    (1, None),
    complete="containers",
)
IMAGE_INSPECT = Command(
    inspector("image"),
    "[OPTIONS] IMAGE [IMAGE...]",
    [
        FORMAT,
        text(
            "platform",
            "Inspect a specific platform of the multi-platform image. If the image or the server "
            "is not multi-platform capable, the command will error out if the platform does not "
            'match. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
        ),
    ],
    (1, None),
    complete="images",
)
