"""``wherry logs``."""

from __future__ import annotations

import sys

from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from wherry.cli.command import Context
    from wherry.cli.flags import Options


def logs(ctx: Context, options: Options, args: list[str]) -> None:
    if options.on("clear"):
        ctx.client.delete(f"/containers/{args[0]}/logs")
        return
    found = ctx.client.get(f"/containers/{args[0]}/json")
    pieces = ctx.client.stream(
        "GET",
        f"/containers/{found['Id']}/logs",
        stdout=True,
        stderr=True,
        follow=options.on("follow"),
        timestamps=options.on("timestamps"),
        details=options.on("details"),
        tail=options.text("tail"),
        since=_moment(options, "since"),
        until=_moment(options, "until"),
    )
    tty = (found.get("Config") or {}).get("Tty")
    copy_stream(pieces, ctx.raw_out, sys.stderr.buffer, raw=bool(tty))


def _moment(options: Options, flag: str) -> str:
    word = options.text(flag)
    if not word:
        return ""
    import time

    from wherry.cli.times import timestamp

    return timestamp(word, time.time_ns(), flag)


def copy_stream(pieces: Iterable[bytes], out: BinaryIO, err: BinaryIO, *, raw: bool) -> None:
    """A log or output stream to its two ends; ``raw`` has no frames. Raises :class:`CliError`
    for an error of the daemon in it."""
    from wherry.wire.frames import STDERR, SYSTEM_ERROR, Decoder

    decoder = Decoder()
    for piece in pieces:
        if raw:
            out.write(piece)
        else:
            for number, payload in decoder.feed(piece):
                if number == SYSTEM_ERROR:
                    out.flush()
                    problem = payload.decode(errors="replace")
                    raise CliError(f"error from daemon in stream: {problem}")
                (err if number == STDERR else out).write(payload)
            err.flush()
        out.flush()


LOGS = Command(
    logs,
    "[OPTIONS] CONTAINER",
    [
        switch("clear", "Remove what was logged so far, and print nothing"),
        switch("details", "Show extra details provided to logs"),
        switch("follow", "Follow log output", short="f"),
        text(
            "since",
            'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" '
            "for 42 minutes)",
        ),
        text("tail", "Number of lines to show from the end of the logs", short="n", default="all"),
        switch("timestamps", "Show timestamps", short="t"),
        text(
            "until",
            'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" '
            "for 42 minutes)",
        ),
    ],
    (1, 1),
    complete="containers",
)
