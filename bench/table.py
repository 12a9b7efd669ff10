"""What the bench prints."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.case import Case

Results = Mapping[str, Sequence[float]]
"""Engine name -> figures of one case."""


def machine_line() -> str:
    """What the figures were made on."""
    cpu = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"load {load:.2f} at the start"
    )


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def row(case: Case, results: Results, part: str = "") -> tuple[str, ...]:
    """Title, Docker's and Wherry's median, ratio, aim, and whether it is reached."""
    medians = {name: statistics.median(values) for name, values in results.items() if values}
    docker, wherry = medians.get("docker"), medians.get("wherry")
    ratio = wherry / docker if docker and wherry is not None else None
    judged = wherry if case.absolute else ratio
    aim = ""
    if case.budget is not None:
        aim = f"<= {case.budget:.3g}" + (f" {case.unit}" if case.absolute else "")
    met = ""
    if case.budget is not None and judged is not None:
        met = "yes" if judged <= case.budget else "NO"
    return (
        f"{case.title}: {part}" if part else case.title,
        _figure(docker, case.unit),
        _figure(wherry, case.unit),
        "-" if ratio is None else f"{ratio:.2f}",
        aim,
        met,
    )


HEAD = ("what", "Docker", "Wherry", "ratio", "aim", "met")


def render(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need; figures to the right."""
    table = [HEAD, *rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    lines = []
    for line in table:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
