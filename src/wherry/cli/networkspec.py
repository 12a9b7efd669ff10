"""``--network`` and its companions: words to ``NetworkMode`` and ``EndpointsConfig``. Pure."""

from __future__ import annotations

from wherry.cli.values import csv_fields, key_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Options

_NAMES = {
    "alias": "aliases",
    "ip": "ip",
    "ip6": "ip6",
    "mac-address": "mac",
    "link-local-ip": "link_local",
    "driver-opt": "driver_opts",
    "gw-priority": "priority",
}


def network(word: str) -> dict[str, Any]:
    """``NAME`` or ``name=NAME,alias=A,ip=...,driver-opt=k=v``. Raises ``ValueError``."""
    if "=" not in word:
        return {"name": word}
    found: dict[str, Any] = {"name": ""}
    for field in csv_fields(word):
        key, equals, text = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise ValueError(f"invalid field {field}")
        if key == "name":
            found["name"] = text
        elif key in ("alias", "link-local-ip"):
            found.setdefault(_NAMES[key], []).append(text)
        elif key == "driver-opt":
            name, value = key_value(text)
            found.setdefault("driver_opts", {})[name.strip().lower()] = value.strip()
        elif key == "gw-priority":
            try:
                found["priority"] = int(text)
            except ValueError:
                raise ValueError(f"invalid gw-priority ({text}): not a number") from None
        elif key in _NAMES:
            found[_NAMES[key]] = text
        else:
            raise ValueError(f"invalid field key {key}")
    if not found["name"]:
        raise ValueError("network name/id is not specified")
    return found


def is_user_defined(name: str) -> bool:
    return name not in ("", "default", "bridge", "host", "none") and not name.startswith(
        "container:"
    )


def endpoints(options: Options) -> tuple[str, dict[str, dict[str, Any]]]:
    """``NetworkMode`` and ``EndpointsConfig`` from all network flags. Raises ``ValueError``."""
    wanted = options.value("network") + options.value("net")
    aliases = options.many("network-alias") + options.many("net-alias")
    networks = [dict(one) for one in wanted] or [{"name": "default"}]
    _merge_plain_flags(options, networks[0], aliases)
    found: dict[str, dict[str, Any]] = {}
    user = sum(is_user_defined(one["name"]) for one in networks)
    if len(networks) > 1 and user != len(networks):
        raise ValueError(
            "conflicting options: cannot attach both user-defined and non-user-defined "
            "network-modes"
        )
    for position, one in enumerate(networks):
        config = _endpoint(one, options if position == 0 else None)
        if one["name"] in found:
            raise ValueError(f'network "{one["name"]}" is specified multiple times')
        if not config and not is_user_defined(one["name"]):
            continue
        found[one["name"]] = config
    return networks[0]["name"], found


def _merge_plain_flags(options: Options, first: dict[str, Any], aliases: list[str]) -> None:
    """``--ip`` and the like belong to the first network; they may not be said twice."""
    for flag, key, given in (
        ("network-alias", "aliases", aliases),
        ("ip", "ip", options.text("ip")),
        ("ip6", "ip6", options.text("ip6")),
        ("mac-address", "mac", options.text("mac-address")),
        ("link-local-ip", "link_local", options.many("link-local-ip")),
    ):
        if given and first.get(key):
            raise ValueError(
                f"conflicting options: cannot specify both --{flag} and per-network {_title(flag)}"
            )
        if given:
            first[key] = given
    if first.get("aliases") and not is_user_defined(first["name"]):
        raise ValueError("network-scoped aliases are only supported for user-defined networks")


def _title(flag: str) -> str:
    return {
        "network-alias": "alias",
        "ip": "IPv4 address",
        "ip6": "IPv6 address",
        "mac-address": "MAC address",
        "link-local-ip": "link-local IP addresses",
    }[flag]


def _endpoint(one: dict[str, Any], options: Options | None) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if one.get("aliases"):
        config["Aliases"] = one["aliases"]
    if options is not None and options.many("link") and is_user_defined(one["name"]):
        config["Links"] = options.many("link")
    if one.get("ip") or one.get("ip6") or one.get("link_local"):
        config["IPAMConfig"] = {
            "IPv4Address": one.get("ip", ""),
            "IPv6Address": one.get("ip6", ""),
            "LinkLocalIPs": one.get("link_local"),
        }
    if one.get("mac"):
        config["MacAddress"] = one["mac"]
    if one.get("driver_opts"):
        config["DriverOpts"] = one["driver_opts"]
    if one.get("priority"):
        config["GwPriority"] = one["priority"]
    return config
