"""``wherry exec``."""

from __future__ import annotations

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import many, switch, text
from wherry.cli.values import environment, read_env_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options


def exec_(ctx: Context, options: Options, args: list[str]) -> int:
    name, command = args[0], args[1:]
    tty, stdin, detach = options.on("tty"), options.on("interactive"), options.on("detach")
    body = exec_body(options, command)
    if not detach:
        from wherry.cli.terminal import check_tty

        check_tty(stdin, tty)
    keys = options.text("detach-keys") or ctx.config.text("detachKeys")
    if keys:
        body["DetachKeys"] = keys
    console = _console(tty)
    if console:
        body["ConsoleSize"] = console
    identity = ctx.client.post(f"/containers/{name}/exec", body)["Id"]
    start: dict[str, Any] = {"Detach": detach, "Tty": tty}
    if console:
        start["ConsoleSize"] = console
    if detach:
        ctx.client.post(f"/exec/{identity}/start", start)
        return 0
    return _attached(ctx, identity, start, tty=tty, stdin=stdin, keys=keys)


def _console(tty: bool) -> list[int] | None:
    if not tty:
        return None
    from wherry.cli.terminal import size

    found = size()
    return list(found) if found else None


def _attached(
    ctx: Context, identity: str, start: dict[str, Any], *, tty: bool, stdin: bool, keys: str
) -> int:
    from wherry.cli.attach import Plan, converse
    from wherry.cli.session import Detached

    stream = ctx.client.hijack(f"/exec/{identity}/start", start)
    plan = Plan(
        identity,
        tty=tty,
        stdin=stdin,
        detach_keys=keys,
        sig_proxy=False,
        resize_path=f"/exec/{identity}",
    )
    try:
        converse(ctx, plan, stream, None)
    except Detached:
        raise CliError("read escape sequence") from None
    finally:
        stream.sock.close()
    return int(ctx.another_client().get(f"/exec/{identity}/json").get("ExitCode") or 0)


def exec_body(options: Options, command: list[str]) -> dict[str, Any]:
    """The body of ``POST /containers/NAME/exec``. Raises :class:`CliError` for env files."""
    detach = options.on("detach")
    try:
        env = read_env_files(options.many("env-file"), environ=True) + options.many("env")
    except ValueError as error:
        raise CliError(str(error)) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CliError(f"open {error.filename}: {reason}") from None
    return {
        "User": options.text("user"),
        "Privileged": options.on("privileged"),
        "Tty": options.on("tty"),
        "AttachStdin": options.on("interactive") and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Env": env or None,
        "WorkingDir": options.text("workdir"),
        "Cmd": command,
    }


EXEC = Command(
    exec_,
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    [
        switch("detach", "Detached mode: run command in the background", short="d"),
        text("detach-keys", "Override the key sequence for detaching a container"),
        many("env", "Set environment variables", short="e", parse=environment),
        many("env-file", "Read in a file of environment variables", complete="files"),
        switch("interactive", "Keep STDIN open even if not attached", short="i"),
        switch("privileged", "Give extended privileges to the command"),
        switch("tty", "Allocate a pseudo-TTY", short="t"),
        text("user", 'Username or UID (format: "<name|uid>[:<group|gid>]")', short="u"),
        text("workdir", "Working directory inside the container", short="w"),
    ],
    (2, None),
    complete="running",
    interspersed=False,
)
