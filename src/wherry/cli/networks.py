"""``wherry network ...``."""

from __future__ import annotations

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import filter_flag, many, number, switch, text
from wherry.cli.format import LIST_HELP, PLAIN, filters, label_text, natural, short_id, write_list
from wherry.cli.inspect import FORMAT, inspector
from wherry.cli.several import each, not_found
from wherry.cli.values import ip_address, key_value, label, link
from wherry.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options
    from wherry.client.engine import Client

HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def listing(ctx: Context, options: Options, args: list[str]) -> None:
    found = ctx.client.get("/networks", filters=filters(options.many("filter")))
    format = options.text("format")
    rows = [network_row(one, trunc=not options.on("no-trunc")) for one in found]
    rows.sort(key=lambda row: natural(str(row["Name"])))
    if options.on("quiet") and format in PLAIN:
        for row in rows:
            ctx.say(row["ID"])
        return
    chosen = format or ctx.config.text("networksFormat")
    write_list(ctx.out, rows, HEADERS, ["ID", "Name", "Driver", "Scope"], chosen)


def network_row(network: dict[str, Any], *, trunc: bool) -> dict[str, Any]:
    """One network as the list's templates see it."""
    identity = str(network["Id"])
    labels = network.get("Labels") or {}
    return {
        "ID": short_id(identity) if trunc else identity,
        "Name": network["Name"],
        "Driver": network["Driver"],
        "Scope": network["Scope"],
        "IPv4": _word(network.get("EnableIPv4", True)),
        "IPv6": _word(network.get("EnableIPv6")),
        "Internal": _word(network.get("Internal")),
        "Labels": label_text(labels),
        "CreatedAt": str(network.get("Created", "")).replace("T", " ").replace("Z", " +0000 UTC"),
        "Label": lambda name: labels.get(name, ""),
    }


def _word(value: Any) -> str:
    return "true" if value else "false"


def create(ctx: Context, options: Options, args: list[str]) -> None:
    body: dict[str, Any] = {
        "Name": args[0],
        "Driver": options.text("driver"),
        "Scope": options.text("scope"),
        "Internal": options.on("internal"),
        "Attachable": options.on("attachable"),
        "Ingress": options.on("ingress"),
        "ConfigOnly": options.on("config-only"),
        "IPAM": {
            "Driver": options.text("ipam-driver"),
            "Options": dict(options.value("ipam-opt")),
            "Config": pools(
                options.many("subnet"),
                options.many("ip-range"),
                options.many("gateway"),
                dict(options.value("aux-address")),
            ),
        },
        "Options": dict(options.value("opt")),
        "Labels": dict(each.partition("=")[::2] for each in options.many("label")),
    }
    for flag, key in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if options.changed(flag):
            body[key] = options.on(flag)
    if options.text("config-from"):
        body["ConfigFrom"] = {"Network": options.text("config-from")}
    found = ctx.client.post("/networks/create", body)
    if found.get("Warning"):
        ctx.warn(f"WARNING: {found['Warning']}")
    ctx.say(found["Id"])


def pools(
    subnets: Sequence[str], ranges: Sequence[str], gateways: Sequence[str], aux: dict[str, str]
) -> list[dict[str, Any]]:
    """``IPAM.Config``: each range, gateway and auxiliary address goes to the subnet it is in.

    Raises :class:`CliError` in Docker's words where there is none, or where subnets overlap.
    """
    import ipaddress

    def parsed(word: str) -> Any:
        try:
            return ipaddress.ip_network(word, strict=False)
        except ValueError:
            raise CliError(f"invalid CIDR address: {word}") from None

    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise CliError("every ip-range or gateway must have a corresponding subnet")
    found: list[tuple[Any, dict[str, Any]]] = []
    for word in subnets:
        network = parsed(word)
        for other, _ in found:
            if network.version == other.version and network.overlaps(other):
                raise CliError("multiple overlapping subnet configuration is not supported")
        found.append((network, {"Subnet": word, "AuxiliaryAddresses": {}}))
    given = [("IPRange", word, "ip-range") for word in ranges]
    given += [("Gateway", word, "gateway") for word in gateways]
    for key, word, what in given:
        inner = parsed(word)
        pool = next((row for net, row in found if _within(inner, net)), None)
        if pool is None:
            raise CliError(f"no matching subnet for {what} {word}")
        if key in pool:
            raise CliError(
                f"cannot configure multiple {what}s ({word}, {pool[key]}) on the "
                f"same subnet ({pool['Subnet']})"
            )
        pool[key] = word
    for name, word in aux.items():
        inner = parsed(word)
        pool = next((row for net, row in found if _within(inner, net)), None)
        if pool is None:
            raise CliError(f"no matching subnet for aux-address {word}")
        pool["AuxiliaryAddresses"][name] = word
    return [row for _, row in found]


def _within(inner: Any, outer: Any) -> bool:
    return bool(inner.version == outer.version and inner.subnet_of(outer))


def connect(ctx: Context, options: Options, args: list[str]) -> None:
    settings: dict[str, Any] = {
        "IPAMConfig": {
            "IPv4Address": options.text("ip"),
            "IPv6Address": options.text("ip6"),
            "LinkLocalIPs": options.many("link-local-ip"),
        },
        "Links": options.many("link"),
        "Aliases": options.many("alias"),
        "DriverOpts": dict(options.value("driver-opt")),
        "GwPriority": options.number("gw-priority"),
    }
    body = {"Container": args[1], "EndpointConfig": settings}
    ctx.client.post(f"/networks/{args[0]}/connect", body)


def disconnect(ctx: Context, options: Options, args: list[str]) -> None:
    body = {"Container": args[1], "Force": options.on("force")}
    ctx.client.post(f"/networks/{args[0]}/disconnect", body)


def remove(ctx: Context, options: Options, args: list[str]) -> int:
    force = options.on("force")

    def one(client: Client, name: str) -> str | None:
        try:
            client.delete(f"/networks/{name}")
        except ClientError as error:
            # Docker says nothing of it here, though of containers it does
            if force and not_found(error):
                return None
            raise
        return name

    return each(ctx, args, one)


LS = Command(
    listing,
    "[OPTIONS]",
    [
        filter_flag('Provide filter values (e.g. "driver=bridge")', short="f"),
        text("format", LIST_HELP),
        switch("no-trunc", "Do not truncate the output"),
        switch("quiet", "Only display network IDs", short="q"),
    ],
)
CREATE = Command(
    create,
    "[OPTIONS] NETWORK",
    [
        switch("attachable", "Enable manual container attachment"),
        many(
            "aux-address",
            "Auxiliary IPv4 or IPv6 addresses used by Network driver",
            parse=key_value,
            shown="map",
        ),
        text("config-from", "The network from which to copy the configuration"),
        switch("config-only", "Create a configuration only network"),
        text("driver", "Driver to manage the Network", short="d", default="bridge"),
        many("gateway", "IPv4 or IPv6 Gateway for the master subnet", shown="strings"),
        switch("ingress", "Create swarm routing-mesh network"),
        switch("internal", "Restrict external access to the network"),
        many("ip-range", "Allocate container ip from a sub-range", shown="strings"),
        text("ipam-driver", "IP Address Management Driver", default="default"),
        many("ipam-opt", "Set IPAM driver specific options", parse=key_value, shown="map"),
        switch("ipv4", "Enable or disable IPv4 address assignment", default=True),
        switch("ipv6", "Enable or disable IPv6 address assignment"),
        many("label", "Set metadata on a network", parse=label),
        many("opt", "Set driver specific options", short="o", parse=key_value, shown="map"),
        text("scope", "Control the network's scope"),
        many("subnet", "Subnet in CIDR format that represents a network segment", shown="strings"),
    ],
    (1, 1),
)
CONNECT = Command(
    connect,
    "[OPTIONS] NETWORK CONTAINER",
    [
        many("alias", "Add network-scoped alias for the container", shown="strings"),
        many("driver-opt", "driver options for the network", parse=key_value, shown="strings"),
        number(
            "gw-priority",
            "Highest gw-priority provides the default gateway. Accepts positive and negative "
            "values.",
        ),
        text("ip", 'IPv4 address (e.g., "172.30.100.104")'),
        text("ip6", 'IPv6 address (e.g., "2001:db8::33")'),
        many("link", "Add link to another container", parse=link),
        many(
            "link-local-ip",
            "Add a link-local address for the container",
            parse=ip_address,
            shown="strings",
        ),
    ],
    (2, 2),
    complete="networks containers",
)
DISCONNECT = Command(
    disconnect,
    "[OPTIONS] NETWORK CONTAINER",
    [switch("force", "Force the container to disconnect from a network", short="f")],
    (2, 2),
    complete="networks containers",
)
INSPECT = Command(
    inspector("network"),
    "[OPTIONS] NETWORK [NETWORK...]",
    [FORMAT, switch("verbose", "Verbose output for diagnostics", short="v")],
    (1, None),
    complete="networks",
)
RM = Command(
    remove,
    "NETWORK [NETWORK...]",
    [switch("force", "Do not error if the network does not exist", short="f")],
    (1, None),
    complete="networks",
)
