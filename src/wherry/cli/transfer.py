"""Images as streams: ``pull``, ``push``, ``load``, ``save``, ``import``."""

from __future__ import annotations

import os
import sys

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import many, switch, text
from wherry.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO, TextIO

    from wherry.cli.command import Context
    from wherry.cli.flags import Options
    from wherry.client.http import Response

_CHUNK = 1 << 20
_DEFAULT_DOMAIN = "docker.io"
_OF = {"save": "image", "export": "container"}
_PLATFORM = 'Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")'


def pull_image(ctx: Context, image: str, *, platform: str, quiet: bool, out: TextIO) -> None:
    """Pull one image, drawing its progress on ``out``."""
    from wherry.cli.run import with_tag

    name, at, digest = image.partition("@")
    query: dict[str, Any] = {"platform": platform}
    if at:
        query |= {"fromImage": image if ":" in name.rpartition("/")[2] else name, "tag": digest}
    else:
        name, _, tag = with_tag(image).rpartition(":")
        query |= {"fromImage": name, "tag": tag}
    headers = registry_auth(ctx, image)
    response = ctx.client.send("POST", "/images/create", query, None, headers)
    show_progress(ctx, response, out=None if quiet else out)


def registry_auth(ctx: Context, image: str) -> dict[str, str]:
    """The ``X-Registry-Auth`` header for an image's registry from config.json's ``auths``."""
    import base64
    import json

    host, _ = split_domain(image)
    address = "https://index.docker.io/v1/" if host == _DEFAULT_DOMAIN else host
    entry = ctx.config.table("auths").get(address)
    if not isinstance(entry, dict):
        return {}
    found: dict[str, str] = {"serveraddress": address}
    if entry.get("identitytoken"):
        found["identitytoken"] = str(entry["identitytoken"])
    elif entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except ValueError:
            return {}
        found |= {"username": user, "password": password}
    else:
        return {}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(found).encode()).decode()}


def show_progress(ctx: Context, response: Response, out: TextIO | None) -> list[dict[str, Any]]:
    """Draw a progress stream; the ``aux`` objects it held. Raises :class:`ClientError` for
    the error in it."""
    from wherry.cli.progress import Progress

    progress = Progress(out)
    aux = []
    try:
        for message in ctx.client.messages(response):
            failure = message.get("errorDetail") or {}
            if failure or message.get("error"):
                raise ClientError(str(failure.get("message") or message["error"]))
            if message.get("aux"):
                aux.append(message["aux"])
            progress.show(message)
    finally:
        progress.close()
        response.connection.close()
    return aux


def pull(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.cli.run import with_tag

    platform = options.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    if options.on("all-tags"):
        if with_tag(args[0]) == args[0]:
            raise CliError("tag can't be used with --all-tags/-a")
        query = {"fromImage": args[0], "platform": platform}
        headers = registry_auth(ctx, args[0])
        response = ctx.client.send("POST", "/images/create", query, None, headers)
        show_progress(ctx, response, None if options.on("quiet") else ctx.out)
        ctx.say(full_name(args[0]))
        return
    image = with_tag(args[0])
    if image != args[0] and not options.on("quiet"):
        ctx.say("Using default tag: latest")
    pull_image(ctx, image, platform=platform, quiet=options.on("quiet"), out=ctx.out)
    ctx.say(full_name(image))


def full_name(image: str) -> str:
    """``busybox:latest`` -> ``docker.io/library/busybox:latest``."""
    host, rest = split_domain(image)
    official = host == _DEFAULT_DOMAIN and "/" not in rest
    return f"{host}/library/{rest}" if official else f"{host}/{rest}"


def split_domain(image: str) -> tuple[str, str]:
    """The registry and the rest of a name; the first part is a registry only when it looks so."""
    first, slash, rest = image.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return _DEFAULT_DOMAIN, image
    return (_DEFAULT_DOMAIN if first == f"index.{_DEFAULT_DOMAIN}" else first), rest


def push(ctx: Context, options: Options, args: list[str]) -> None:
    from wherry.cli.run import with_tag

    name, _, tag = with_tag(args[0]).rpartition(":")
    if options.on("all-tags"):
        name, tag = args[0], ""
    elif with_tag(args[0]) != args[0] and not options.on("quiet"):
        ctx.say(f"Using default tag: {tag}")
    headers = registry_auth(ctx, name) or {"X-Registry-Auth": "e30="}
    query = {"tag": tag, "platform": platform_json(options.text("platform"))}
    response = ctx.client.send("POST", f"/images/{name}/push", query, None, headers)
    if not options.on("quiet"):
        ctx.say(f"The push refers to repository [{full_name(name)}]")
    show_progress(ctx, response, None if options.on("quiet") else ctx.out)
    if options.on("quiet"):
        ctx.say(full_name(f"{name}:{tag}" if tag else name))


def load(ctx: Context, options: Options, args: list[str]) -> None:
    name = options.text("input")
    quiet = options.on("quiet") or not sys.stdout.isatty()
    if not name and sys.stdin.isatty():
        raise CliError("requested load from stdin, but stdin is empty")
    with open_input(ctx, name or "-") as source:
        response = ctx.client.send(
            "POST",
            "/images/load",
            {"quiet": quiet, "platform": platform_json(options.text("platform"))},
            pieces(
                source,
                "" if options.on("quiet") else f"Sending {os.path.basename(name)}" if name else "",
            ),
            {"Content-Type": "application/x-tar"},
        )
        show_progress(ctx, response, ctx.out)


def save(ctx: Context, options: Options, args: list[str]) -> None:
    target = options.text("output")
    if not target and sys.stdout.isatty():
        raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if target:
        check_output(target, "save")
    response = ctx.client.send(
        "GET",
        "/images/get",
        {"names": args, "platform": platform_json(options.text("platform"))},
    )
    save_to(ctx, response, target)


def save_to(ctx: Context, response: Response, target: str) -> None:
    """Write a body to a file, which appears only when it is whole, or to standard output."""
    if not target or target == "-":
        out = ctx.raw_out
        for piece in response.chunks():
            out.write(piece)
        out.flush()
        return
    from wherry.cli.meter import Meter, terminal

    regular = not os.path.exists(target) or os.path.isfile(target)
    part = f"{target}.{os.getpid()}.part" if regular else target
    try:
        # An image may hold secrets: a new file is for its owner alone, as Docker's is.
        with open(part, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            for piece in Meter(f"Writing {os.path.basename(target)}", out=terminal()).through(
                response.chunks()
            ):
                file.write(piece)
        if regular:
            os.replace(part, target)
    except OSError as error:
        raise CliError(f"{target}: {(error.strerror or str(error)).lower()}") from None
    finally:
        if regular and os.path.exists(part):
            os.unlink(part)


def check_output(target: str, what: str) -> None:
    """Refuse a target that cannot be written, before anything is asked of the daemon."""
    folder = os.path.dirname(target) or "."
    if not os.path.isdir(folder):
        raise CliError(
            f"failed to {what} {_OF[what]}: invalid output path: stat {folder}: "
            "no such file or directory"
        )
    if os.path.isdir(target):
        raise CliError(
            f'failed to {what} {_OF[what]}: invalid output path: "{target}" is a directory'
        )


def import_(ctx: Context, options: Options, args: list[str]) -> None:
    source = args[0]
    repo, tag = split_tag(args[1]) if len(args) > 1 else ("", "")
    query: dict[str, Any] = {
        "message": options.text("message"),
        "changes": options.many("change"),
        "platform": options.text("platform"),
        "repo": repo,
        "tag": tag,
    }
    if source.startswith(("http://", "https://")):
        response = ctx.client.send("POST", "/images/create", {"fromSrc": source, **query})
        show_progress(ctx, response, ctx.out)
        return
    with open_input(ctx, source) as file:
        response = ctx.client.send(
            "POST",
            "/images/create",
            {"fromSrc": "-", **query},
            pieces(file, "" if source == "-" else f"Sending {os.path.basename(source)}"),
            {"Content-Type": "text/plain"},
        )
        show_progress(ctx, response, ctx.out)


def split_tag(reference: str) -> tuple[str, str]:
    """``name:tag`` to its parts; the tag may be empty."""
    last = reference.rpartition("/")[2]
    if ":" not in last:
        return reference, ""
    name, _, tag = reference.rpartition(":")
    return name, tag


def open_input(ctx: Context, name: str) -> BinaryIO:
    """A file, or standard input for ``-``."""
    if name == "-":
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        return open(name, "rb", buffering=0)
    except OSError as error:
        raise CliError(f"open {name}: {(error.strerror or str(error)).lower()}") from None


def pieces(source: BinaryIO, what: str = "") -> Iterator[bytes]:
    """A file as it is sent; ``what`` names it beside a bar on a terminal."""
    whole = iter(lambda: source.read(_CHUNK), b"")
    if not what:
        return whole
    from wherry.cli.meter import Meter, size_of, terminal

    return Meter(what, size_of(source), terminal()).through(whole)


def platform_json(word: str) -> str:
    """``linux/arm64/v8`` as the JSON that load and save take."""
    if not word:
        return ""
    import json

    names = ("os", "architecture", "variant")
    return json.dumps(dict(zip(names, word.split("/"), strict=False)))


PULL = Command(
    pull,
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    [
        switch("all-tags", "Download all tagged images in the repository", short="a"),
        switch("disable-content-trust", "Skip image verification", default=True, hidden=True),
        text("platform", "Set platform if server is multi-platform capable"),
        switch("quiet", "Suppress verbose output", short="q"),
    ],
    (1, 1),
    complete="images",
)
PUSH = Command(
    push,
    "[OPTIONS] NAME[:TAG]",
    [
        switch("all-tags", "Push all tags of an image to the repository", short="a"),
        switch("disable-content-trust", "Skip image signing", default=True, hidden=True),
        text("platform", f"Push a platform-specific manifest. {_PLATFORM}"),
        switch("quiet", "Suppress verbose output", short="q"),
    ],
    (1, 1),
    complete="images",
)
LOAD = Command(
    load,
    "[OPTIONS]",
    [
        text("input", "Read from tar archive file, instead of STDIN", short="i", complete="files"),
        text("platform", f"Load only the given platform variant. {_PLATFORM}"),
        switch("quiet", "Suppress the load output", short="q"),
    ],
)
SAVE = Command(
    save,
    "[OPTIONS] IMAGE [IMAGE...]",
    [
        text("output", "Write to a file, instead of STDOUT", short="o", complete="files"),
        text("platform", f"Save only the given platform variant. {_PLATFORM}"),
    ],
    (1, None),
    complete="images",
)
IMPORT = Command(
    import_,
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    [
        many("change", "Apply Dockerfile instruction to the created image", short="c"),
        text("message", "Set commit message for imported image", short="m"),
        text("platform", "Set platform if server is multi-platform capable"),
    ],
    (1, 2),
    complete="files images",
)
