"""``top`` and ``port``."""

from __future__ import annotations

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import parse_uint16
from wherry.cli.format import natural, tabulate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options


def top(ctx: Context, options: Options, args: list[str]) -> None:
    found = ctx.client.get(f"/containers/{args[0]}/top", ps_args=" ".join(args[1:]))
    ctx.out.write(tabulate([found["Titles"], *(found["Processes"] or [])], least=20))


def port(ctx: Context, options: Options, args: list[str]) -> None:
    found = ctx.client.get(f"/containers/{args[0]}/json")
    ports = (found.get("NetworkSettings") or {}).get("Ports") or {}
    if len(args) == 1:
        for line in port_lines(ports):
            ctx.say(line)
        return
    wanted, _, proto = args[1].partition("/")
    try:
        parse_uint16(wanted)
    except ValueError as error:
        raise CliError(f"Error: invalid port ({wanted}): {error}") from None
    bindings = bound(ports.get(f"{wanted}/{proto or 'tcp'}"))
    if not bindings:
        raise CliError(f"Error: No public port '{args[1]}' published for {args[0]}")
    for line in sorted(map(address, bindings), key=natural):
        ctx.say(line)


def port_lines(ports: dict[str, Any]) -> list[str]:
    """``80/tcp -> 0.0.0.0:8080`` for every binding, in Docker's order: numbers in it count."""
    lines = [
        f"{key} -> {address(binding)}"
        for key, bindings in ports.items()
        for binding in bound(bindings)
    ]
    return sorted(lines, key=natural)


def bound(bindings: list[dict[str, str]] | None) -> list[dict[str, str]]:
    """Those with a port of the host; in gateway mode routed there is none."""
    return [each for each in bindings or () if each.get("HostPort")]


def address(binding: dict[str, str]) -> str:
    host = binding.get("HostIp", "")
    return f"{f'[{host}]' if ':' in host else host}:{binding.get('HostPort', '')}"


TOP = Command(
    top,
    "CONTAINER [ps OPTIONS]",
    (),
    (1, None),
    complete="running none",
    interspersed=False,
)
PORT = Command(port, "CONTAINER [PRIVATE_PORT[/PROTO]]", (), (1, 2), complete="running none")
