"""``wherry events``."""

from __future__ import annotations

import time

from wherry.cli.command import Command
from wherry.cli.flags import filter_flag, text
from wherry.cli.format import ONE_HELP, filters, json_line, unescape
from wherry.cli.times import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.command import Context
    from wherry.cli.flags import Options


def events(ctx: Context, options: Options, args: list[str]) -> None:
    now = time.time_ns()
    query = {
        "since": timestamp(options.text("since"), now, "since"),
        "until": timestamp(options.text("until"), now, "until"),
        "filters": filters(options.many("filter")),
    }
    format = unescape(options.text("format"))
    if format and format != "json":
        from wherry.cli.templates import compiled

        compiled(format)
    response = ctx.client.send("GET", "/events", query)
    for event in ctx.client.messages(response):
        actor = event.get("Actor") or {}
        if actor.get("Attributes"):
            actor["Attributes"] = dict(sorted(actor["Attributes"].items()))
        if format == "json":
            ctx.say(json_line(event))
        elif format:
            from wherry.cli.templates import render

            # Both ways to write the fields are in use: those of the message and of its type.
            fields = {
                **event,
                "ID": lambda event=event: event.get("id", ""),
                "Status": lambda event=event: event.get("status", ""),
                "From": lambda event=event: event.get("from", ""),
                "TimeNano": lambda event=event: event.get("timeNano", 0),
                "Time": lambda event=event: event.get("time", 0),
                "Scope": lambda event=event: event.get("scope", ""),
            }
            ctx.say(render(format, fields))
        else:
            ctx.say(event_line(event))
        ctx.out.flush()


def event_line(event: dict[str, Any]) -> str:
    """``TIME TYPE ACTION ID (key=value, ...)`` with the local time in nanoseconds."""
    nano = int(event.get("timeNano") or 0) or int(event.get("time") or 0) * 1_000_000_000
    seconds, part = divmod(nano, 1_000_000_000)
    local = time.localtime(seconds)
    offset = time.strftime("%z", local)
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{part:09d}{zone}"
    actor = event.get("Actor") or {}
    line = f"{moment} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    attributes = actor.get("Attributes") or {}
    if attributes:
        shown = ", ".join(f"{key}={value}" for key, value in sorted(attributes.items()))
        line += f" ({shown})"
    return line


EVENTS = Command(
    events,
    "[OPTIONS]",
    [
        filter_flag("Filter output based on conditions provided", short="f"),
        text("format", ONE_HELP),
        text("since", "Show all events created since timestamp"),
        text("until", "Stream events until this timestamp"),
    ],
)
