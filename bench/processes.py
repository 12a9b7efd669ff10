"""Which processes belong to an engine, and what memory they take."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Sums over some processes, in MB (10**6 bytes)."""

    pss: float
    """Proportional: a page shared by n processes counts 1/n in each."""
    rss: float
    processes: int


def of_root(root: Path) -> list[int]:
    """Processes with ``root`` on their command line: daemons, monitors and shims of one engine.

    Every engine of the bench has a root of its own, and gives paths below it to all its helpers;
    the containers' own processes do not have it.
    """
    found = []
    needle = str(root).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if needle in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def memory(pids: list[int]) -> Memory:
    """What ``pids`` take together. A process that has just ended counts nothing."""
    pss = rss = count = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        count += 1
        for line in text.splitlines():
            key, _, rest = line.partition(":")
            if key == "Pss":
                pss += int(rest.split()[0])
            elif key == "Rss":
                rss += int(rest.split()[0])
    return Memory(pss * 1024 / 1e6, rss * 1024 / 1e6, count)


def cpu_seconds(pids: list[int], *, children: bool = False) -> dict[int, float]:
    """Processor time of each so far; with ``children``, also of those it has waited for."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[pid] = sum(int(each) for each in fields[11 : 15 if children else 13]) / ticks
    return found


def end_all(root: Path, *, seconds: float = 5.0) -> None:
    """Kill whatever an engine left behind, and wait until it is gone."""
    deadline = time.monotonic() + seconds
    while (pids := of_root(root)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
