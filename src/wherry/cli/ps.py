"""``wherry ps``: the list of containers."""

from __future__ import annotations

import time

from wherry.cli.command import Command
from wherry.cli.flags import filter_flag, number, switch, text
from wherry.cli.format import LIST_HELP, ellipsis, filters, label_text, write_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options

HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}
COLUMNS = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]


def ps(ctx: Context, options: Options, args: list[str]) -> None:
    format = options.text("format")
    # A row as JSON has them all.
    size = options.on("size") or ".Size" in format or "{{json .}}" in format
    last = 1 if options.on("latest") and not options.changed("last") else options.number("last")
    found = ctx.client.get(
        "/containers/json",
        all=options.on("all"),
        limit=last if last > 0 else None,
        size=size,
        filters=filters(options.many("filter")),
    )
    trunc = not options.on("no-trunc")
    if options.on("quiet"):
        if format:
            ctx.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.")
        for item in found:
            ctx.say(item["Id"][:12] if trunc else item["Id"])
        return
    now = time.time_ns()
    rows = [row(item, trunc=trunc, now=now) for item in found]
    columns = [*COLUMNS, "Size"] if size else COLUMNS
    write_list(ctx.out, rows, HEADERS, columns, format or ctx.config.text("psFormat"))


def row(item: dict[str, Any], *, trunc: bool = True, now: int) -> dict[str, Any]:
    """One container of ``/containers/json`` with Docker's field names. ``now`` in nanoseconds."""
    from wherry.wire.human import ago

    created = int(item.get("Created") or 0)
    names = [name.removeprefix("/") for name in item.get("Names") or []]
    if trunc:
        # Links add names like /other/alias; only the container's own is of interest.
        names = [name for name in names if "/" not in name]
    command = str(item.get("Command") or "")
    labels = item.get("Labels") or {}
    mounts = [mount.get("Name") or mount.get("Source") or "" for mount in item.get("Mounts") or []]
    settings = (item.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "ID": item["Id"][:12] if trunc else item["Id"],
        "Names": ",".join(names),
        "Image": image_name(item, trunc),
        "Command": quote(ellipsis(command, 20) if trunc else command),
        "CreatedAt": local_time(created),
        "RunningFor": ago(created * 1_000_000_000, now),
        "Ports": ports_text(item.get("Ports") or []),
        "State": item.get("State") or "",
        "Status": item.get("Status") or "",
        "Size": size_text(item),
        "Labels": label_text(labels),
        "Label": lambda name: labels.get(name, ""),
        "Mounts": ",".join(ellipsis(mount, 15) if trunc else mount for mount in mounts),
        "LocalVolumes": str(sum(m.get("Driver") == "local" for m in item.get("Mounts") or [])),
        "Networks": ",".join(sorted(settings)),
        "Platform": platform_text(item.get("ImageManifestDescriptor")),
    }


def image_name(item: dict[str, Any], trunc: bool) -> str:
    """The image as ``ps`` shows it: a short id for a nameless one, no digest beside a tag."""
    name = str(item.get("Image") or "")
    if not name:
        return "<no image>"
    if not trunc:
        return name
    identity = str(item.get("ImageID") or "").removeprefix("sha256:")
    if identity and name.removeprefix("sha256:") in (identity, identity[:12]):
        return identity[:12]
    tagged = name.partition("@")[0]
    return tagged.removeprefix("docker.io/").removeprefix("library/")


def quote(text: str) -> str:
    """Go's ``%q``: what a terminal would act upon, or not show, is written out."""
    return '"' + "".join(map(_quoted, text)) + '"'


_NAMED = dict(zip('\\"\a\b\f\n\r\t\v', '\\"abfnrtv', strict=True))


def _quoted(char: str) -> str:
    if char in _NAMED:
        return f"\\{_NAMED[char]}"
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def local_time(seconds: int) -> str:
    """``2026-01-02 15:04:05 +0000 UTC``, as Go prints a time."""
    moment = time.localtime(seconds)
    return f"{moment.tm_year:04}" + time.strftime("-%m-%d %H:%M:%S %z %Z", moment)


def platform_text(descriptor: dict[str, Any] | None) -> str:
    platform = (descriptor or {}).get("platform") or {}
    parts = [platform.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(part for part in parts if part)


def size_text(item: dict[str, Any]) -> str:
    """``12B (virtual 4.3MB)``."""
    from wherry.wire.human import human_size

    own = human_size(float(item.get("SizeRw") or 0), 3)
    whole = int(item.get("SizeRootFs") or 0)
    return f"{own} (virtual {human_size(float(whole), 3)})" if whole > 0 else own


def ports_text(ports: list[dict[str, Any]]) -> str:
    """``0.0.0.0:8080->80/tcp, 90-92/tcp``: neighbours are joined to ranges."""
    joined: list[str] = []
    ranges: dict[tuple[str, str], tuple[int, int]] = {}
    shifted: list[str] = []
    for port in sorted(ports, key=_port_order):
        private, public = int(port["PrivatePort"]), int(port.get("PublicPort") or 0)
        kind, address = str(port.get("Type") or "tcp"), str(port.get("IP") or "")
        if address and private != public:
            shifted.append(f"{_bracket(address)}:{public}->{private}/{kind}")
            continue
        key = (address, kind)
        first, last = ranges.get(key, (0, 0))
        if first and private == last + 1:
            ranges[key] = (first, private)
            continue
        if first:
            joined.append(_range_text(key, first, last))
        ranges[key] = (private, private)
    joined += [_range_text(key, first, last) for key, (first, last) in ranges.items()]
    return ", ".join([*joined, *shifted])


def _port_order(port: dict[str, Any]) -> tuple[int, str, int, str]:
    return (
        int(port["PrivatePort"]),
        str(port.get("IP") or ""),
        int(port.get("PublicPort") or 0),
        str(port.get("Type") or ""),
    )


def _bracket(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _range_text(key: tuple[str, str], first: int, last: int) -> str:
    address, kind = key
    span = str(first) if first == last else f"{first}-{last}"
    return f"{_bracket(address)}:{span}->{span}/{kind}" if address else f"{span}/{kind}"


PS = Command(
    ps,
    "[OPTIONS]",
    [
        switch("all", "Show all containers (default shows just running)", short="a"),
        filter_flag("Filter output based on conditions provided", short="f"),
        text("format", LIST_HELP),
        number(
            "last",
            "Show n last created containers (includes all states)",
            short="n",
            default=-1,
        ),
        switch("latest", "Show the latest created container (includes all states)", short="l"),
        switch("no-trunc", "Don't truncate output"),
        switch("quiet", "Only display container IDs", short="q"),
        switch("size", "Display total file sizes", short="s"),
    ],
)
