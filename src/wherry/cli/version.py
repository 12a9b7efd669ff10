"""``wherry version``."""

from __future__ import annotations

import platform

from wherry.cli.command import Command
from wherry.cli.flags import text
from wherry.cli.format import ONE_HELP, tabulate, write_one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options


def version(ctx: Context, options: Options, args: list[str]) -> int:
    from wherry import __version__
    from wherry.client.engine import API_VERSION
    from wherry.client.errors import ClientError

    client: dict[str, Any] = {
        "Version": __version__,
        "ApiVersion": API_VERSION,
        "APIVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "Python": platform.python_version(),
        "Os": platform.system().lower(),
        "Arch": _arch(platform.machine()),
        "Context": ctx.endpoint.context,
        "Platform": {"Name": "Wherry"},
    }
    server: dict[str, Any] | None = None
    failure = ""
    try:
        server = ctx.client.get("/version")
        client["ApiVersion"] = client["APIVersion"] = ctx.client.version
        # Docker's templates say {{.Server.APIVersion}}, its JSON says ApiVersion.
        server["APIVersion"] = server.get("ApiVersion")
    except ClientError as error:
        failure = error.message
    if format := options.text("format"):
        write_one(ctx.out, {"Client": client, "Server": server}, format)
    else:
        ctx.out.write(_text(client, server))
    if failure:
        ctx.warn(failure)
        return 1
    return 0


def _arch(machine: str) -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _text(client: dict[str, Any], server: dict[str, Any] | None) -> str:
    lines = [
        ["Client: Wherry"],
        [" Version:", client["Version"]],
        [" API version:", client["ApiVersion"]],
        [" Python version:", client["Python"]],
        [" OS/Arch:", f"{client['Os']}/{client['Arch']}"],
        [" Context:", client["Context"]],
    ]
    if server is None:
        return tabulate(lines, padding=1, least=20)
    name = (server.get("Platform") or {}).get("Name") or "Wherry"
    lines += [[""], [f"Server: {name}"]]
    components = server.get("Components") or [
        {"Name": "Engine", "Version": server.get("Version"), "Details": server}
    ]
    for component in components:
        lines += _component(component, server)
    return tabulate(lines, padding=1, least=20)


def _component(component: dict[str, Any], server: dict[str, Any]) -> list[list[str]]:
    details = component.get("Details") or {}
    lines = [[f" {component.get('Name', '')}:"], ["  Version:", str(component.get("Version", ""))]]
    if component.get("Name") == "Engine":
        api = details.get("ApiVersion") or server.get("ApiVersion", "")
        least = details.get("MinAPIVersion") or server.get("MinAPIVersion", "")
        lines.append(["  API version:", f"{api} (minimum version {least})"])
        rest = [
            ("Go version", details.get("GoVersion") or server.get("GoVersion")),
            ("Python version", details.get("PythonVersion")),
            ("Git commit", details.get("GitCommit")),
            ("Built", details.get("BuildTime")),
            ("OS/Arch", f"{server.get('Os', '')}/{server.get('Arch', '')}"),
            ("Kernel version", details.get("KernelVersion") or server.get("KernelVersion")),
            ("Experimental", details.get("Experimental")),
        ]
    else:
        rest = [(key, value) for key, value in sorted(details.items())]
    return lines + [[f"  {key}:", str(value)] for key, value in rest if value]


VERSION = Command(version, "[OPTIONS]", [text("format", ONE_HELP, short="f")])
