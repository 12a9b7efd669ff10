"""``wherry context``: named daemons, in Docker's own store."""

from __future__ import annotations

import json
import os
import sys

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import many, switch, text
from wherry.cli.format import LIST_HELP, ellipsis, html_safe, unescape, write_list
from wherry.cli.inspect import FORMAT
from wherry.client.contexts import DEFAULT, ENDPOINT, PARTS, ContextStore, check_name
from wherry.client.errors import BadHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options

    Row = dict[str, Any]

_DEFAULT_TEXT = "Current DOCKER_HOST based configuration"
_KEYS = ("from", "host", *PARTS, "skip-tls-verify")
_SCHEMES = ("unix", "tcp", "http", "https", "ssh")
_IN_MEMORY = "<IN MEMORY>"
HEADERS = {
    "Name": "NAME",
    "Current": "CURRENT",
    "Description": "DESCRIPTION",
    "DockerEndpoint": "DOCKER ENDPOINT",
    "Error": "ERROR",
}


def _store(ctx: Context) -> ContextStore:
    return ContextStore(ctx.config.folder)


def _stored(ctx: Context, name: str) -> tuple[Row, dict[str, dict[str, bytes]]]:
    """Metadata and TLS files of any context, ``default`` included."""
    if name != DEFAULT:
        return _store(ctx).read(name), _store(ctx).material(name)
    here = ctx.choice.default()
    endpoint = {"Host": here.host, "SkipTLSVerify": bool(here.tls and not here.tls.verify)}
    files: dict[str, bytes] = {}
    if here.tls is not None:
        for part in PARTS:
            path = getattr(here.tls, part)
            if path and os.path.exists(path):
                files[f"{part}.pem"] = _read(path)
    meta = {"Name": DEFAULT, "Metadata": {}, "Endpoints": {ENDPOINT: endpoint}}
    return meta, {ENDPOINT: files} if files else {}


def _read(path: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read()
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or str(error)).lower()}") from None


def _endpoint(ctx: Context, given: dict[str, str]) -> tuple[Row, dict[str, bytes]]:
    """The docker endpoint that ``--docker key=value,...`` describes, and its TLS files."""
    for key in given:
        if key not in _KEYS:
            raise CliError(f"unrecognized config key: {key}")
    if "from" in given:
        meta, tls = _stored(ctx, given["from"])
        endpoint = meta["Endpoints"].get(ENDPOINT)
        if not isinstance(endpoint, dict):
            raise CliError(f'unable to get endpoint from context "{given["from"]}"')
        return endpoint, tls.get(ENDPOINT, {})
    endpoint = {"Host": given.get("host", ""), "SkipTLSVerify": _truth(given)}
    if not endpoint["Host"]:
        del endpoint["Host"]
    else:
        _check_host(endpoint["Host"])
    if bool(given.get("cert")) != bool(given.get("key")):
        raise CliError("a client certificate needs both cert and key")
    files = {f"{part}.pem": _read(given[part]) for part in PARTS if given.get(part)}
    if files:
        from wherry.client.config import Tls
        from wherry.client.tls import client_context

        ca, cert, key = (os.path.expanduser(given.get(part, "")) for part in PARTS)
        client_context(Tls(ca, cert, key))
    return endpoint, files


def _check_host(host: str) -> None:
    from wherry.client.config import normal_host
    from wherry.client.transport import split_address

    scheme, _, rest = normal_host(host).partition("://")
    if scheme not in _SCHEMES:
        raise CliError(f"unable to parse docker host `{host}`: unknown scheme {scheme!r}")
    if scheme != "unix":
        address = rest.split("/", 1)[0].rpartition("@")[2]
        if not address:
            raise CliError(f"unable to parse docker host `{host}`: it names no machine")
        split_address(address, 0)


def _truth(given: dict[str, str]) -> bool:
    from wherry.cli.flags import parse_bool

    word = given.get("skip-tls-verify", "")
    try:
        return bool(word) and parse_bool(word)
    except ValueError as error:
        raise CliError(f"skip-tls-verify: {error}") from None


def _described(ctx: Context, options: Options) -> tuple[Row, dict[str, bytes]]:
    try:
        return _endpoint(ctx, dict(pair for pairs in options.value("docker") for pair in pairs))
    except (CliError, BadHost) as error:
        raise CliError(f"unable to create docker endpoint config: {error.message}") from None


def create(ctx: Context, options: Options, args: list[str]) -> None:
    name, store = args[0], _store(ctx)
    check_name(name)
    if store.exists(name):
        raise CliError(f'context "{name}" already exists')
    source = options.text("from")
    if source and options.many("docker"):
        raise CliError("cannot use --docker flag when --from is set")
    if options.many("docker"):
        endpoint, files = _described(ctx, options)
        meta: Row = {"Name": name, "Metadata": {}, "Endpoints": {ENDPOINT: endpoint}}
        tls = {ENDPOINT: files} if files else {}
    else:
        meta, tls = _stored(ctx, source or ctx.choice.name)
        meta = {**meta, "Name": name}
    if options.text("description"):
        meta["Metadata"] = {**(meta.get("Metadata") or {})}
        meta["Metadata"]["Description"] = options.text("description")
    store.write(meta, tls)
    _done(ctx, name, f'Successfully created context "{name}"')


def _done(ctx: Context, name: str, message: str) -> None:
    ctx.say(name)
    ctx.out.flush()
    ctx.warn(message)


def update(ctx: Context, options: Options, args: list[str]) -> None:
    name, store = args[0], _store(ctx)
    check_name(name)
    meta = store.read(name)
    tls = None
    if options.changed("description"):
        meta["Metadata"] = {**(meta.get("Metadata") or {})}
        meta["Metadata"]["Description"] = options.text("description")
    if options.many("docker"):
        endpoint, files = _described(ctx, options)
        meta["Endpoints"][ENDPOINT] = endpoint
        tls = {**store.material(name), ENDPOINT: files}
    store.write(meta, tls)
    _done(ctx, name, f'Successfully updated context "{name}"')


def listing(ctx: Context, options: Options, args: list[str]) -> None:
    current = ctx.choice.name
    names = sorted({DEFAULT, current, *_store(ctx).names()})
    if options.on("quiet"):
        for name in names:
            ctx.say(name)
        return
    format = options.text("format")
    rows = [_row(ctx, name, current) for name in names]
    if format.strip() in ("", "table"):
        # The plain table marks the current one; its heading is that of the name.
        for row in rows:
            row["Name"] += " *" if row["Current"] else ""
            row["Description"] = ellipsis(row["Description"], 45)
            row["Error"] = ellipsis(row["Error"], 45)
    columns = ["Name", "Description", "DockerEndpoint", "Error"]
    write_list(ctx.out, rows, HEADERS, columns, format)
    ctx.out.flush()
    if current == DEFAULT and ctx.choice.variable:
        ctx.warn(
            f"Warning: {ctx.choice.variable} environment variable overrides the active context. "
            "To use a context, either set the global --context flag, or unset "
            f"{ctx.choice.variable} environment variable."
        )


def _row(ctx: Context, name: str, current: str) -> Row:
    row = {"Name": name, "Current": name == current, "Description": "", "DockerEndpoint": ""}
    row["Error"] = ""
    if name == DEFAULT:
        return row | {"Description": _DEFAULT_TEXT, "DockerEndpoint": ctx.choice.default().host}
    try:
        meta = _store(ctx).read(name)
        row["Description"] = str((meta.get("Metadata") or {}).get("Description") or "")
        endpoint = meta["Endpoints"].get(ENDPOINT) or {}
        row["DockerEndpoint"] = str(endpoint.get("Host") or "")
    except BadHost as error:
        row["Error"] = error.message
    return row


def use(ctx: Context, options: Options, args: list[str]) -> None:
    name = args[0]
    if name != DEFAULT:
        check_name(name)
        _store(ctx).read(name)
    ctx.config.choose_context("" if name == DEFAULT else name)
    _done(ctx, name, f'Current context is now "{name}"')
    if name != DEFAULT and ctx.choice.variable:
        ctx.warn(
            f"Warning: {ctx.choice.variable} environment variable overrides the active context. "
            f'To use "{name}", either set the global --context flag, or unset '
            f"{ctx.choice.variable} environment variable."
        )


def show(ctx: Context, options: Options, args: list[str]) -> None:
    ctx.say(ctx.choice.name)


def remove(ctx: Context, options: Options, args: list[str]) -> int:
    store, problems = _store(ctx), []
    for name in args:
        current = ctx.config.current_context() == name
        if name == DEFAULT:
            problems.append(f'context "{DEFAULT}" cannot be removed')
        elif not store.exists(name) and not options.on("force"):
            problems.append(f'context "{name}" does not exist')
        elif not options.on("force") and (current or ctx.choice.name == name):
            problems.append(f'context "{name}" is in use, set -f flag to force remove')
        else:
            if current:
                ctx.config.choose_context("")
            store.remove(name)
            ctx.say(name)
    ctx.out.flush()
    for problem in problems:
        ctx.warn(problem)
    return 1 if problems else 0


def inspect(ctx: Context, options: Options, args: list[str]) -> int:
    found: list[Row] = []
    problems: list[str] = []
    for name in args or [ctx.choice.name]:
        try:
            found.append(_whole(ctx, name))
        except (BadHost, CliError) as error:
            problems.append(error.message)
    format = options.text("format")
    if not format:
        ctx.say(html_safe(json.dumps(found, indent=4, ensure_ascii=False)))
    elif format == "json":
        ctx.say(html_safe(json.dumps(found, separators=(",", ":"), ensure_ascii=False)))
    else:
        from wherry.cli.templates import compiled, render

        compiled(unescape(format))
        for one in found:
            ctx.say(render(unescape(format), one, strict=True))
        if not found:
            ctx.say("")
    ctx.out.flush()
    for problem in problems:
        ctx.warn(problem)
    return 1 if problems else 0


def _whole(ctx: Context, name: str) -> Row:
    meta, tls = _stored(ctx, name)
    store = _store(ctx)
    kept = name != DEFAULT
    return {
        "Name": meta.get("Name", name),
        "Metadata": meta.get("Metadata") or {},
        "Endpoints": meta["Endpoints"],
        "TLSMaterial": {endpoint: list(files) for endpoint, files in tls.items()},
        "Storage": {
            "MetadataPath": store.meta_folder(name) if kept else _IN_MEMORY,
            "TLSPath": store.tls_folder(name) if kept else _IN_MEMORY,
        },
    }


def export(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.client.contextfile import pack

    name = args[0]
    target = args[1] if len(args) > 1 else f"{name}.dockercontext"
    if target == "-" and sys.stdout.isatty():
        raise CliError("cowardly refusing to export to a terminal, specify a file path")
    if name != DEFAULT:
        check_name(name)
    data = pack(*_stored(ctx, name))
    if target == "-":
        ctx.raw_out.write(data)
        ctx.raw_out.flush()
        return
    try:
        # It holds private keys: for its owner alone, and never over something else.
        with open(target, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(data)
    except OSError as error:
        raise CliError(f"open {target}: {(error.strerror or str(error)).lower()}") from None
    ctx.warn(f'Written file "{target}"')


def import_(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.client.contextfile import unpack

    name, source = args
    check_name(name)
    store = _store(ctx)
    if store.exists(name):
        raise CliError(f'context "{name}" already exists')
    data = sys.stdin.buffer.read() if source == "-" else _read(source)
    store.write(*unpack(data, name))
    _done(ctx, name, f'Successfully imported context "{name}"')


def _pairs(word: str) -> list[tuple[str, str]]:
    """``a=1,b=2`` with CSV's quotes, as the flag takes it."""
    import csv

    pairs = []
    for field in next(csv.reader([word], strict=True), []):
        key, equals, value = field.partition("=")
        if not equals:
            raise ValueError(f"{field} must be formatted as key=value")
        pairs.append((key, value))
    return pairs


_DESCRIPTION = text("description", "Description of the context")
_DOCKER = many("docker", "set the docker endpoint", parse=_pairs, shown="stringToString")
_LONG = """Docker endpoint config:

NAME                DESCRIPTION
from                Copy named context's Docker endpoint configuration
host                Docker endpoint on which to connect
ca                  Trust certs signed only by this CA
cert                Path to TLS certificate file
key                 Path to TLS key file
skip-tls-verify     Skip TLS certificate validation"""

CREATE = Command(
    create,
    "[OPTIONS] CONTEXT",
    [_DESCRIPTION, _DOCKER, text("from", "create context from a named context")],
    (1, 1),
    long=_LONG,
)
UPDATE = Command(
    update,
    "[OPTIONS] CONTEXT",
    [_DESCRIPTION, _DOCKER],
    (1, 1),
    long=_LONG,
    complete="contexts",
)
LS = Command(
    listing,
    "[OPTIONS]",
    [text("format", LIST_HELP), switch("quiet", "Only show context names", short="q")],
)
USE = Command(use, "CONTEXT", (), (1, 1), complete="contexts")
SHOW = Command(show)
RM = Command(
    remove,
    "CONTEXT [CONTEXT...]",
    [switch("force", "Force the removal of a context in use", short="f")],
    (1, None),
    complete="contexts",
)
INSPECT = Command(
    inspect, "[OPTIONS] [CONTEXT] [CONTEXT...]", [FORMAT], (0, None), complete="contexts"
)
EXPORT = Command(export, "[OPTIONS] CONTEXT [FILE|-]", (), (1, 2), complete="contexts files")
IMPORT = Command(import_, "CONTEXT FILE|-", (), (2, 2), complete="none files")
