"""``wherry run`` and ``wherry create``."""

from __future__ import annotations

import os
import sys

from wherry.cli.command import PROGRAM, Command
from wherry.cli.createbody import create_body
from wherry.cli.createflags import CREATE_FLAGS, RUN_FLAGS
from wherry.cli.errors import CliError, Exit
from wherry.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options

DAEMON_ERROR = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
_PULL = ("always", "missing", "never")


def create(ctx: Context, options: Options, args: list[str]) -> None:
    body = _body(ctx, options, args)
    ctx.say(_create(ctx, options, body))


def run(ctx: Context, options: Options, args: list[str]) -> int:
    body = _body(ctx, options, args)
    detached = options.on("detach")
    if detached:
        if options.many("attach"):
            raise CliError("conflicting options: cannot specify both --attach and --detach")
        for key in ("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"):
            body[key] = False
    else:
        from wherry.cli.terminal import check_tty

        check_tty(body["AttachStdin"], body["Tty"])
    if body["Tty"]:
        from wherry.cli.terminal import size

        if found := size():
            body["HostConfig"]["ConsoleSize"] = list(found)
    identity = _create(ctx, options, body)
    if detached:
        try:
            _start(ctx, identity, options, path=ctx.path)
        finally:
            ctx.say(identity)
        return 0
    from wherry.cli.attach import Plan, run_attached

    plan = Plan(
        identity,
        tty=body["Tty"],
        stdin=body["AttachStdin"],
        stdout=body["AttachStdout"],
        stderr=body["AttachStderr"],
        detach_keys=options.text("detach-keys") or ctx.config.text("detachKeys"),
        sig_proxy=options.on("sig-proxy"),
        condition="removed" if options.on("rm") else "next-exit",
    )
    return run_attached(ctx, plan, lambda: _start(ctx, identity, options, path=ctx.path))


def _body(ctx: Context, options: Options, args: list[str]) -> dict[str, Any]:
    pull = options.text("pull")
    if pull not in _PULL:
        raise _flag_error(
            ctx, f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"'
        )
    try:
        return create_body(options, args, ctx.config.proxy_env(ctx.endpoint.host))
    except ValueError as error:
        raise _flag_error(ctx, str(error)) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _flag_error(ctx, f"open {error.filename}: {reason}") from None


def _flag_error(ctx: Context, message: str) -> CliError:
    return CliError(
        f"{PROGRAM}: {message}\n\nRun '{ctx.path} --help' for more information", DAEMON_ERROR
    )


class CidFile:
    """``--cidfile``: made before the container, taken back when there is none."""

    def __init__(self, ctx: Context, path: str) -> None:
        self._path = path
        self._written = False
        if not path:
            return
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            raise _flag_error(
                ctx,
                "container ID file found, make sure the other container isn't running or delete "
                f"{path}",
            ) from None
        except OSError as error:
            raise _flag_error(
                ctx,
                f"failed to create the container ID file: open {path}: "
                f"{(error.strerror or str(error)).lower()}",
            ) from None

    def __enter__(self) -> CidFile:
        return self

    def write(self, identity: str) -> None:
        if self._path:
            with open(self._path, "w", encoding="ascii") as file:
                file.write(identity)
            self._written = True

    def __exit__(self, *_: object) -> None:
        if self._path and not self._written:
            os.unlink(self._path)


def _create(ctx: Context, options: Options, body: dict[str, Any]) -> str:
    image, pull = body["Image"], options.text("pull")
    platform = options.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    query = {"name": options.text("name"), "platform": platform}
    with CidFile(ctx, options.text("cidfile")) as cidfile:
        if pull == "always":
            _pull(ctx, image, platform, options.on("quiet"))
        try:
            reply = ctx.client.post("/containers/create", body, **query)
        except ApiError as error:
            missing = error.status == 404 and "image" in error.daemon_message.lower()
            if not missing or pull != "missing":
                raise
            ctx.warn(f"Unable to find image '{with_tag(image)}' locally")
            _pull(ctx, image, platform, options.on("quiet"))
            reply = ctx.client.post("/containers/create", body, **query)
        for warning in reply.get("Warnings") or []:
            ctx.warn(f"WARNING: {warning}")
        identity = str(reply["Id"])
        cidfile.write(identity)
    return identity


def with_tag(image: str) -> str:
    """``busybox`` -> ``busybox:latest``; a digest or a tag stays."""
    if not image:
        raise CliError("invalid reference format: the image name is empty")
    if "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"


def _pull(ctx: Context, image: str, platform: str, quiet: bool) -> None:
    from wherry.cli.transfer import pull_image

    pull_image(ctx, image, platform=platform, quiet=quiet, out=sys.stderr)


def _start(ctx: Context, identity: str, options: Options, *, path: str) -> None:
    try:
        ctx.client.post(f"/containers/{identity}/start", detachKeys=options.value("detach-keys"))
    except ApiError as error:
        ctx.warn(f"{PROGRAM}: {error.message}\n\nRun '{path} --help' for more information")
        raise Exit(start_failure_code(error.daemon_message)) from None


def start_failure_code(message: str) -> int:
    """127 for a command that is not there, 126 for one that cannot run, else 125."""
    text = message.lower()
    if any(
        sign in text
        for sign in ("executable file not found", "no such file or directory", "command not found")
    ):
        return NOT_FOUND
    if any(sign in text for sign in ("permission denied", "is a directory")):
        return NOT_EXECUTABLE
    return DAEMON_ERROR


CREATE = Command(
    create,
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    CREATE_FLAGS,
    (1, None),
    complete="images none",
    interspersed=False,
)
RUN = Command(
    run,
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    RUN_FLAGS,
    (1, None),
    complete="images none",
    interspersed=False,
    failure=DAEMON_ERROR,
)
