"""``wherry info`` and the helper behind ``ssh://`` hosts."""

from __future__ import annotations

import sys

from wherry.cli.command import Command
from wherry.cli.flags import text
from wherry.cli.format import ONE_HELP, write_one
from wherry.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options


def info(ctx: Context, options: Options, args: list[str]) -> int:
    from wherry import __version__

    failure = ""
    found: dict[str, Any] = {}
    try:
        found = ctx.client.get("/info")
    except ClientError as error:
        failure = error.message
    client = {"Version": __version__, "Context": ctx.endpoint.context, "Debug": ctx.debug}
    format = options.text("format")
    if format:
        whole = {**found, "ClientInfo": client}
        whole["ServerErrors"] = [failure] if failure else None
        write_one(ctx.out, whole, format)
    else:
        lines = ["Client: Wherry"]
        lines += [f" {name}:    {value}" for name, value in (("Version", __version__),)]
        lines += [f" Context:    {client['Context']}", f" Debug Mode: {_bool(ctx.debug)}"]
        lines += ["", "Server:"]
        lines += [f" {line}".rstrip() for line in server_lines(found)] if found else []
        ctx.say("\n".join(lines))
        ctx.out.flush()
        for warning in found.get("Warnings") or []:
            ctx.warn(warning)
    if failure:
        ctx.warn(failure)
        return 1
    return 0


def _bool(value: Any) -> str:
    return "true" if value else "false"


def server_lines(found: dict[str, Any]) -> list[str]:
    """The daemon's half, in Docker's order and words; what is empty is left out."""
    get = found.get
    lines = [f"Containers: {get('Containers', 0)}"]
    lines += [
        f" {state}: {get('Containers' + state, 0)}" for state in ("Running", "Paused", "Stopped")
    ]
    lines += [f"Images: {get('Images', 0)}", f"Server Version: {get('ServerVersion', '')}"]
    lines.append(f"Storage Driver: {get('Driver', '')}")
    lines += [f" {name}: {value}" for name, value in get("DriverStatus") or []]
    lines += _pairs(found, (("LoggingDriver", "Logging Driver"), ("CgroupDriver", "Cgroup Driver")))
    lines += _pairs(found, (("CgroupVersion", "Cgroup Version"),))
    plugins = get("Plugins") or {}
    if plugins:
        lines.append("Plugins:")
        for title in ("Volume", "Network", "Authorization", "Log"):
            if plugins.get(title):
                lines.append(f" {title}: {' '.join(plugins[title])}")
    swarm = (get("Swarm") or {}).get("LocalNodeState")
    lines += [f"Swarm: {swarm}"] if swarm else []
    if get("Runtimes"):
        lines.append(f"Runtimes: {' '.join(sorted(found['Runtimes']))}")
    lines += _pairs(found, (("DefaultRuntime", "Default Runtime"), ("InitBinary", "Init Binary")))
    for key, name in (
        ("ContainerdCommit", "containerd"),
        ("RuncCommit", "runc"),
        ("InitCommit", "init"),
    ):
        commit = (get(key) or {}).get("ID")
        lines += [f"{name} version: {commit}"] if commit else []
    if get("SecurityOptions"):
        lines.append("Security Options:")
        for option in found["SecurityOptions"]:
            lines += _security(option)
    lines += _machine(found)
    if get("Labels"):
        lines += ["Labels:", *(f" {label}" for label in found["Labels"])]
    lines.append(f"Experimental: {_bool(get('ExperimentalBuild'))}")
    lines += _registries(get("RegistryConfig") or {})
    lines.append(f"Live Restore Enabled: {_bool(get('LiveRestoreEnabled'))}")
    lines += _pairs(found, (("ProductLicense", "Product License"),))
    pools = get("DefaultAddressPools") or []
    if pools:
        lines.append("Default Address Pools:")
        lines += [f"  Base: {pool['Base']}, Size: {pool['Size']}" for pool in pools]
    return lines


def _pairs(found: dict[str, Any], names: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{title}: {found[key]}" for key, title in names if found.get(key)]


def _security(option: str) -> list[str]:
    """``name=seccomp,profile=builtin`` as two lines."""
    fields = dict(part.partition("=")[::2] for part in option.split(","))
    lines = [f" {fields.pop('name', option)}"]
    return lines + [f"  {key.capitalize()}: {value}" for key, value in fields.items()]


def _machine(found: dict[str, Any]) -> list[str]:
    from wherry.wire.human import bytes_size

    lines = _pairs(
        found,
        (
            ("KernelVersion", "Kernel Version"),
            ("OperatingSystem", "Operating System"),
            ("OSType", "OSType"),
            ("Architecture", "Architecture"),
            ("NCPU", "CPUs"),
        ),
    )
    if found.get("MemTotal"):
        lines.append(f"Total Memory: {bytes_size(float(found['MemTotal']))}")
    lines += _pairs(found, (("Name", "Name"), ("ID", "ID"), ("DockerRootDir", "Docker Root Dir")))
    lines.append(f"Debug Mode: {_bool(found.get('Debug'))}")
    return lines + _pairs(
        found, (("HttpProxy", "HTTP Proxy"), ("HttpsProxy", "HTTPS Proxy"), ("NoProxy", "No Proxy"))
    )


def _registries(config: dict[str, Any]) -> list[str]:
    lines = []
    insecure = [
        name
        for name, one in sorted((config.get("IndexConfigs") or {}).items())
        if not one["Secure"]
    ]
    insecure += config.get("InsecureRegistryCIDRs") or []
    if insecure:
        lines += ["Insecure Registries:", *(f" {name}" for name in insecure)]
    if config.get("Mirrors"):
        lines += ["Registry Mirrors:", *(f" {name}" for name in config["Mirrors"])]
    return lines


def dial_stdio(ctx: Context, options: Options, args: list[str]) -> None:
    """Carry standard input and output to the daemon's socket (the far end of ``ssh://``)."""
    from wherry.cli.session import Session
    from wherry.client.engine import Hijacked
    from wherry.client.transport import connect

    sock = connect(ctx.endpoint)
    Session(
        Hijacked(sock, b"", ""), raw=True, stdin=sys.stdin.fileno(), out=ctx.raw_out, err=None
    ).run()


INFO = Command(info, "[OPTIONS]", [text("format", ONE_HELP, short="f")])
DIAL_STDIO = Command(dial_stdio)
