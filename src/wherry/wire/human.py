"""Durations and sizes in Docker's rough words (the ``go-units`` library).

Apart from ``durations``, because the command line prints these on its fastest way: no import here
costs anything.
"""

from __future__ import annotations

import time

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


def human_duration(nanoseconds: int) -> str:
    """Docker's rough words (go-units): ``Less than a second`` ... ``2 years``."""
    seconds = nanoseconds // SECOND
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = nanoseconds // MINUTE
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = (nanoseconds + HOUR // 2) // HOUR
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{nanoseconds // HOUR // 24 // 365} years"


def ago(then: int, now: int | None = None) -> str:
    """``5 minutes ago`` for a time in nanoseconds since 1970."""
    return human_duration((time.time_ns() if now is None else now) - then) + " ago"


_DECIMAL_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def human_size(size: float, precision: int = 4) -> str:
    """go-units ``HumanSize``: powers of 1000, ``12.3MB``."""
    return _sized(size, 1000.0, _DECIMAL_UNITS, precision)


def bytes_size(size: float) -> str:
    """go-units ``BytesSize``: powers of 1024, ``1.5GiB``."""
    return _sized(size, 1024.0, _BINARY_UNITS, 4)


def _sized(size: float, base: float, units: tuple[str, ...], precision: int) -> str:
    number, unit = float(size), 0
    while number >= base and unit < len(units) - 1:
        number /= base
        unit += 1
    return f"{number:.{precision}g}{units[unit]}"
