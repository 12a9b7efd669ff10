"""``wherry attach``, and the attached part of ``run`` and ``start -a``."""

from __future__ import annotations

import json
import sys

from wherry.cli import terminal
from wherry.cli.command import Command
from wherry.cli.errors import CliError, Exit
from wherry.cli.flags import switch, text
from wherry.cli.session import Detached, Session, Signals, caught
from wherry.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options
    from wherry.client.engine import Client, Hijacked
    from wherry.client.http import Response


class Plan:
    """What to attach of which container."""

    def __init__(
        self,
        identity: str,
        *,
        tty: bool,
        stdin: bool,
        stdout: bool = True,
        stderr: bool = True,
        detach_keys: str = "",
        sig_proxy: bool = True,
        condition: str = "next-exit",
        logs: bool = False,
        resize_path: str = "",
    ) -> None:
        self.identity = identity
        self.tty = tty
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.detach_keys = detach_keys
        self.sig_proxy = sig_proxy
        self.condition = condition
        self.logs = logs
        self.resize_path = resize_path or f"/containers/{identity}"


def run_attached(ctx: Context, plan: Plan, start: Callable[[], None]) -> int:
    """Attach, wait for the end, ``start`` in between; the container's exit code.

    Order as Docker's client: the stream and the wait exist before the container starts, so that
    no output and no exit code can be missed.
    """
    stream = open_stream(ctx.client, plan)
    waiter = ctx.another_client()
    response = waiter.send(
        "POST", f"/containers/{plan.identity}/wait", {"condition": plan.condition}
    )
    try:
        start()
    except Exit:
        # The daemon removes an auto-remove container by itself; wait for that to be done.
        # What it answers was said already.
        if plan.condition == "removed":
            response.read()
        raise
    try:
        converse(ctx, plan, stream, response)
    except Detached:
        ctx.err.write("\r\nread escape sequence\n" if plan.tty else "read escape sequence\n")
        return 0
    return exit_code(response)


def open_stream(client: Client, plan: Plan) -> Hijacked | None:
    """The attached stream; None when nothing is to be attached."""
    if not (plan.stdin or plan.stdout or plan.stderr):
        return None
    return client.hijack(
        f"/containers/{plan.identity}/attach",
        stream=True,
        stdin=plan.stdin,
        stdout=plan.stdout,
        stderr=plan.stderr,
        logs=plan.logs,
        detachKeys=plan.detach_keys,
    )


def converse(ctx: Context, plan: Plan, stream: Hijacked | None, response: Response | None) -> None:
    """Carry the streams until they end. Raises :class:`Detached`."""
    from wherry.errors import Invalid
    from wherry.wire import detach

    try:
        keys = detach.parse(plan.detach_keys) if plan.tty and plan.stdin else b""
    except Invalid as error:
        ctx.warn(f"invalid detach escape keys, using default: {error.message}")
        keys = detach.parse("")
    helper: list[Client] = []

    def side() -> Client:
        # Made on first need: most containers never get a signal.
        if not helper:
            helper.append(ctx.another_client())
        return helper[0]

    def on_signal(number: int) -> None:
        _on_signal(side(), plan, number)

    stdin = sys.stdin.fileno() if plan.stdin else None
    with (
        Signals(caught(proxy=plan.sig_proxy, tty=plan.tty), on_signal) as signals,
        terminal.RawTerminal(sys.stdin.fileno(), enabled=plan.tty and plan.stdin) as raw,
    ):
        signals.terminal = raw
        if plan.tty:
            resize(side(), plan.resize_path)
        Session(
            stream,
            raw=plan.tty,
            stdin=stdin,
            out=ctx.raw_out if plan.stdout or plan.tty else None,
            err=sys.stderr.buffer if plan.stderr else None,
            detach_keys=keys,
            signals=signals,
            until=_unread(response),
        ).run()


def _unread(response: Response | None) -> socket.socket | None:
    """The socket on which the answer of ``wait`` will come; None when it is here already."""
    if response is None or response.done or response.connection.buffered:
        return None
    return response.connection.sock


def _on_signal(client: Client, plan: Plan, number: int) -> None:
    import signal

    if number == signal.SIGWINCH:
        resize(client, plan.resize_path)
        return
    if not plan.sig_proxy:
        raise Exit(128 + number)
    from wherry.wire.signals import name

    try:
        client.post(f"/containers/{plan.identity}/kill", signal=name(number).removeprefix("SIG"))
    except ClientError:
        # It may have ended in this moment, which the stream is about to tell.
        pass


def resize(client: Client, path: str, extra: int = 0) -> None:
    """Tell the daemon our terminal's size; a failure is of no consequence to the session."""
    found = terminal.size()
    if found is None:
        return
    try:
        client.post(f"{path}/resize", h=found[0] + extra, w=found[1] + extra)
    except ClientError:
        pass


def exit_code(response: Response) -> int:
    """The answer of ``wait``: the container's code, 125 when the daemon could not tell."""
    try:
        answer: dict[str, Any] = json.loads(response.read() or b"{}")
    except ValueError:
        answer = {}
    finally:
        response.connection.close()
    failure = (answer.get("Error") or {}).get("Message")
    if failure:
        print(f"Error waiting for container: {failure}", file=sys.stderr)
        return 125
    if "StatusCode" not in answer:
        print("Error waiting for container: the daemon ended the connection", file=sys.stderr)
        return 125
    return int(answer["StatusCode"])


def attach(ctx: Context, options: Options, args: list[str]) -> int:
    client = ctx.client
    found = client.get(f"/containers/{args[0]}/json")
    state = found.get("State") or {}
    if not state.get("Running"):
        raise CliError("cannot attach to a stopped container, start it first")
    if state.get("Paused"):
        raise CliError("cannot attach to a paused container, unpause it first")
    if state.get("Restarting"):
        raise CliError("cannot attach to a restarting container, wait until it is running")
    config = found.get("Config") or {}
    stdin = bool(config.get("OpenStdin")) and not options.on("no-stdin")
    tty = bool(config.get("Tty"))
    from wherry.cli.terminal import check_tty

    check_tty(stdin, tty)
    plan = Plan(
        found["Id"],
        tty=tty,
        stdin=stdin,
        detach_keys=options.text("detach-keys") or ctx.config.text("detachKeys"),
        sig_proxy=options.on("sig-proxy") and not tty,
        condition="",
    )
    waiter = ctx.another_client()
    response = waiter.send("POST", f"/containers/{plan.identity}/wait")
    stream = open_stream(client, plan)
    if tty:
        # A program redraws only when the size changes; the session sets the right one.
        resize(client, plan.resize_path, extra=1)
    try:
        converse(ctx, plan, stream, response)
    except Detached:
        raise CliError("read escape sequence") from None
    return exit_code(response)


ATTACH = Command(
    attach,
    "[OPTIONS] CONTAINER",
    [
        text("detach-keys", "Override the key sequence for detaching a container"),
        switch("no-stdin", "Do not attach STDIN"),
        switch("sig-proxy", "Proxy all received signals to the process", default=True),
    ],
    (1, 1),
    complete="running",
)
