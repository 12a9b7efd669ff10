"""``wherry stats``: a live table of what containers use.

One thread for each container reads its stream and keeps the last sample; the main thread draws.
"""

from __future__ import annotations

import json
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
    from typing import Any

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


def stats(ctx: Context, options: Options, args: list[str]) -> int:
    every, once = options.on("all"), options.on("no-stream")
    ctx.client.negotiate()
    watchers = {name: Watcher(ctx, name, stream=not once) for name in args or _running(ctx, every)}
    for watcher in watchers.values():
        watcher.first.wait(10)
    if once:
        _draw(ctx, options, watchers)
        return _failures(ctx, watchers)
    if args and _failures(ctx, watchers):
        return 1
    tty = sys.stdout.isatty()
    while True:
        if tty:
            ctx.out.write("\x1b[2J\x1b[H")
        _draw(ctx, options, watchers)
        ctx.out.flush()
        if args and all(watcher.ended for watcher in watchers.values()):
            return 0
        time.sleep(_REDRAW)
        if not args:
            _follow(ctx, watchers, every)


def _failures(ctx: Context, watchers: dict[str, Watcher]) -> int:
    problems = [one.failure.message for one in watchers.values() if one.failure]
    ctx.out.flush()
    for problem in problems:
        ctx.warn(problem)
    return 1 if problems else 0


def _running(ctx: Context, every: bool) -> list[str]:
    return [one["Id"] for one in ctx.client.get("/containers/json", all=every)]


def _follow(ctx: Context, watchers: dict[str, Watcher], every: bool) -> None:
    """New containers appear, ended ones go."""
    names = _running(ctx, every)
    for name in names:
        if name not in watchers:
            watchers[name] = Watcher(ctx, name, stream=True)
    for name in [name for name in watchers if name not in names]:
        del watchers[name]


def _draw(ctx: Context, options: Options, watchers: dict[str, Watcher]) -> None:
    trunc = not options.on("no-trunc")
    rows = [
        row(name, watcher.sample, trunc=trunc)
        for name, watcher in watchers.items()
        if watcher.failure is None
    ]
    format = options.text("format") or ctx.config.text("statsFormat")
    write_list(ctx.out, rows, HEADERS, COLUMNS, format)


def row(name: str, sample: Row | None, *, trunc: bool = True) -> Row:
    """One line; dashes where there is no sample yet."""
    if sample is None or not sample.get("read") or str(sample["read"]).startswith("0001"):
        unknown = dict.fromkeys(HEADERS, "--")
        identity = str((sample or {}).get("id") or name)
        own = str((sample or {}).get("name") or "--").removeprefix("/")
        values = {"Container": name, "ID": identity[:12] if trunc else identity, "Name": own}
        return {**unknown, **values, "MemUsage": "-- / --"}
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
