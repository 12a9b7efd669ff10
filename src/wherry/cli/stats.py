"""``wherry stats``: a live table of what containers use.

One thread for each container reads its stream and keeps the last sample; the main thread draws.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import threading
import time

from wherry.cli.command import Command
from wherry.cli.flags import switch, text
from wherry.cli.format import LIST_HELP, write_list
from wherry.client.errors import ClientError
from wherry.wire.human import bytes_size, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from wherry.cli.command import Context
    from wherry.cli.flags import Options

    Row = dict[str, Any]

HEADERS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
COLUMNS = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"]
_REDRAW = 0.5
_FIRST = 10.0
"""Seconds to wait for the first sample of a named container before its row shows dashes."""


class Watcher:
    """Keeps the last sample of one container."""

    def __init__(self, ctx: Context, identity: str, *, stream: bool) -> None:
        self.identity = identity
        self.sample: Row | None = None
        self.failure: ClientError | None = None
        self.first = threading.Event()
        self.ended = False
        self._client = ctx.another_client()
        self._stream = stream
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            response = self._client.send(
                "GET",
                f"/containers/{self.identity}/stats",
                {"stream": "1" if self._stream else "0"},
            )
            for message in self._client.messages(response):
                self.sample = message
                self.first.set()
        except ClientError as error:
            self.failure = error
        except (OSError, json.JSONDecodeError):
            pass
        finally:
            self.ended = True
            self.first.set()


class Changes:
    """Watches for containers that come and go, so that the list is only asked for when it must."""

    def __init__(self, ctx: Context) -> None:
        self._client = ctx.another_client()
        self._pending = threading.Event()
        self._pending.set()
        self._ended = False
        filters = {
            "type": {"container": True},
            "event": dict.fromkeys(("create", "start", "die", "destroy", "rename"), True),
        }
        # Subscribed before the first list is asked for: nothing falls in between.
        self._response = self._client.send("GET", "/events", {"filters": filters})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for _ in self._client.messages(self._response):
                self._pending.set()
        except (ClientError, OSError, ValueError):
            pass
        self._ended = True
        self._pending.set()

    def any(self) -> bool:
        """Has something changed since this was asked? Always so once the events have ended: the
        next list then says what is wrong."""
        found = self._pending.is_set()
        if not self._ended:
            self._pending.clear()
        return found


class Screen:
    """A table that is drawn again in place: no flicker, and never larger than the terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun = False

    def show(self, text: str) -> None:
        columns, rows = shutil.get_terminal_size()
        lines = text.splitlines()
        if len(lines) >= rows > 1:
            lines = [*lines[: rows - 2], f"... and {len(lines) - rows + 2} more"]
        start = "\x1b[H" if self._begun else "\x1b[2J\x1b[H"
        self._begun = True
        body = "".join(f"{line[:columns]}\x1b[K\r\n" for line in lines)
        self._out.write(f"{start}{body}\x1b[J")
        self._out.flush()


def stats(ctx: Context, options: Options, args: list[str]) -> int:
    if options.on("no-stream"):
        names = args or _listed(ctx, options.on("all"))
        ctx.client.negotiate()
        watchers = {name: Watcher(ctx, name, stream=False) for name in names}
        for watcher in watchers.values():
            watcher.first.wait()
        failed = _failures(ctx, watchers)
        # A container that ended since the list was made is no failure of those that go on.
        if not (failed and args):
            ctx.out.write(_table(ctx, options, watchers))
        return failed if args else 0
    ctx.client.negotiate()
    changes = None if args else Changes(ctx)
    watchers = {name: Watcher(ctx, name, stream=True) for name in args}
    for watcher in watchers.values():
        watcher.first.wait(_FIRST)
    if _failures(ctx, watchers):
        return 1
    screen = Screen(ctx.out) if sys.stdout.isatty() else None
    while not args or not all(watcher.ended for watcher in watchers.values()):
        if changes is not None and changes.any():
            _follow(ctx, watchers, options.on("all"))
        text = _table(ctx, options, watchers)
        if screen is not None:
            screen.show(text)
        else:
            ctx.out.write(text)
            ctx.out.flush()
        time.sleep(_REDRAW)
    return _failures(ctx, watchers)


def _failures(ctx: Context, watchers: dict[str, Watcher]) -> int:
    problems = [one.failure.message for one in watchers.values() if one.failure]
    ctx.out.flush()
    for problem in problems:
        ctx.warn(problem)
    return 1 if problems else 0


def _listed(ctx: Context, every: bool) -> list[str]:
    return [one["Id"] for one in ctx.client.get("/containers/json", all=every)]


def _follow(ctx: Context, watchers: dict[str, Watcher], every: bool) -> None:
    """New containers appear, ended ones go. What has started anew is watched anew."""
    names = _listed(ctx, every)
    for name in [name for name in watchers if name not in names or watchers[name].ended]:
        del watchers[name]
    for name in names:
        if name not in watchers:
            watchers[name] = Watcher(ctx, name, stream=True)


def _table(ctx: Context, options: Options, watchers: dict[str, Watcher]) -> str:
    trunc = not options.on("no-trunc")
    rows = [
        row(name, watcher.sample, trunc=trunc)
        for name, watcher in watchers.items()
        if watcher.failure is None
    ]
    out = io.StringIO()
    format = options.text("format") or ctx.config.text("statsFormat")
    write_list(out, rows, HEADERS, COLUMNS, format)
    return out.getvalue()


def row(name: str, sample: Row | None, *, trunc: bool = True) -> Row:
    """One line; dashes where there is no sample yet."""
    if sample is None:
        values = {"Container": name, "ID": name[:12] if trunc else name, "MemUsage": "-- / --"}
        return {**dict.fromkeys(HEADERS, "--"), **values}
    memory = sample.get("memory_stats") or {}
    used, limit = used_memory(memory), int(memory.get("limit") or 0)
    received, sent = network(sample.get("networks") or {})
    read, written = block(sample.get("blkio_stats") or {})
    identity = str(sample.get("id") or name)
    return {
        "Container": name,
        "ID": identity[:12] if trunc else identity,
        "Name": str(sample.get("name") or "").removeprefix("/"),
        "CPUPerc": f"{cpu_percent(sample):.2f}%",
        "MemUsage": f"{bytes_size(float(used))} / {bytes_size(float(limit))}",
        "MemPerc": f"{used * 100 / limit if limit else 0:.2f}%",
        "NetIO": f"{human_size(float(received), 3)} / {human_size(float(sent), 3)}",
        "BlockIO": f"{human_size(float(read), 3)} / {human_size(float(written), 3)}",
        "PIDs": str((sample.get("pids_stats") or {}).get("current") or 0),
    }


def cpu_percent(sample: Row) -> float:
    """Share of the machine's time since the sample before, 100 for one whole CPU."""
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    usage = _total(now) - _total(before)
    whole = int(now.get("system_cpu_usage") or 0) - int(before.get("system_cpu_usage") or 0)
    cpus = int(now.get("online_cpus") or 0) or len(
        (now.get("cpu_usage") or {}).get("percpu_usage") or []
    )
    return usage / whole * cpus * 100 if usage > 0 and whole > 0 else 0.0


def _total(cpu: Row) -> int:
    return int((cpu.get("cpu_usage") or {}).get("total_usage") or 0)


def used_memory(memory: Row) -> int:
    """Usage without the page cache that can be dropped (cgroup v1 and v2 name it differently)."""
    usage, details = int(memory.get("usage") or 0), memory.get("stats") or {}
    for key in ("total_inactive_file", "inactive_file"):
        cached = int(details.get(key) or 0)
        if key in details and cached < usage:
            return usage - cached
    return usage


def network(networks: Row) -> tuple[int, int]:
    values = networks.values()
    return sum(one.get("rx_bytes", 0) for one in values), sum(
        one.get("tx_bytes", 0) for one in values
    )


def block(blkio: Row) -> tuple[int, int]:
    read = written = 0
    for entry in blkio.get("io_service_bytes_recursive") or []:
        if entry.get("op", "")[:1].lower() == "r":
            read += entry.get("value", 0)
        elif entry.get("op", "")[:1].lower() == "w":
            written += entry.get("value", 0)
    return read, written


STATS = Command(
    stats,
    "[OPTIONS] [CONTAINER...]",
    [
        switch("all", "Show all containers (default shows just running)", short="a"),
        text("format", LIST_HELP),
        switch("no-stream", "Disable streaming stats and only pull the first result"),
        switch("no-trunc", "Do not truncate output"),
    ],
    (0, None),
    complete="running",
)
