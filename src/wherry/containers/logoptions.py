"""Log drivers and their options: what a container's ``LogConfig`` means. Pure.

Both file drivers, ``json-file`` and ``local``, keep the same files; they differ in Docker's
defaults for size and number. Rotation is on unless it is switched off with ``max-size=-1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wherry.errors import Invalid, NotImplementedYet
from wherry.wire.container import LogConfig
from wherry.wire.durations import parse_size

DRIVERS = ("json-file", "local", "none")
_ELSEWHERE = ("syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "gcplogs", "etwlogs")
_COMMON = frozenset({"mode", "max-buffer-size"})
_FILE = frozenset({"max-size", "max-file", "compress"}) | _COMMON
_DETAILS = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_OPTIONS = {"json-file": _FILE | _DETAILS, "local": _FILE, "none": _COMMON}
_SIZES = {"json-file": 10 << 20, "local": 20 << 20}
_COUNTS = {"json-file": 3, "local": 5}


@dataclass(frozen=True)
class LogPolicy:
    """How much of a log is kept. ``max_size`` in bytes, 0 for no limit."""

    keeps: bool
    max_size: int
    max_file: int
    compress: bool


def policy(config: LogConfig | None) -> LogPolicy:
    """Raises ``Invalid`` in Docker's words for what is wrong."""
    driver = (config.type if config else "") or "json-file"
    options = (config.config if config else None) or {}
    if driver not in DRIVERS:
        if driver in _ELSEWHERE:
            raise NotImplementedYet(
                f"the logging driver {driver} is not there yet; use json-file, local or none"
            )
        raise Invalid(f"logger: no log driver named '{driver}' is registered")
    for name in options:
        if name not in _OPTIONS[driver]:
            raise Invalid(f"unknown log opt '{name}' for {driver} log driver")
    if options.get("mode", "blocking") not in ("", "blocking", "non-blocking"):
        raise Invalid(f"logger: logging mode not supported: {options['mode']}")
    if driver == "none":
        return LogPolicy(False, 0, 1, False)
    for name in ("labels-regex", "env-regex"):
        _regex(name, options.get(name, ""))
    return LogPolicy(
        True,
        _size(options.get("max-size", ""), _SIZES[driver]),
        _count(options.get("max-file", ""), _COUNTS[driver]),
        _switch(options.get("compress", ""), default=True),
    )


def _size(text: str, default: int) -> int:
    if not text:
        return default
    if text in ("-1", "0"):
        return 0
    try:
        size = parse_size(text)
    except Invalid:
        raise Invalid(f"invalid value for max-size: {text}") from None
    if size <= 0:
        raise Invalid(f"invalid value for max-size: {text}")
    return size


def _count(text: str, default: int) -> int:
    if not text:
        return default
    try:
        count = int(text)
    except ValueError:
        raise Invalid(f"invalid value for max-file: {text}") from None
    if count < 1:
        raise Invalid("max-file cannot be less than 1")
    return count


def _switch(text: str, *, default: bool) -> bool:
    if not text:
        return default
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false"):
        return False
    raise Invalid(f"invalid value for compress: {text}")


def _regex(name: str, text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise Invalid(f"invalid value for {name}: {text}: {error}") from None


def details(
    config: LogConfig | None, labels: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """What ``logs --details`` shows: the labels and variables that the options name, sorted."""
    options = (config.config if config else None) or {}
    found: dict[str, str] = {}
    for names, pattern, values in (
        (options.get("labels", ""), options.get("labels-regex", ""), labels),
        (options.get("env", ""), options.get("env-regex", ""), environment),
    ):
        wanted = {name.strip() for name in names.split(",")}
        for key, value in values.items():
            if key in wanted or (pattern and re.search(pattern, key)):
                found[key] = value
    return dict(sorted(found.items()))
