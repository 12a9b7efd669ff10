"""Log drivers and their options: what a container's ``LogConfig`` means. Pure.

Both file drivers, ``json-file`` and ``local``, keep the same files; they differ in Docker's
defaults for size and number. Rotation is on unless it is switched off with ``max-size=-1``.
The drivers that send elsewhere keep a file beside, as Docker's cache for ``logs``; the options
that begin with ``cache-`` are for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wherry.containers.shipping import options as shipping
from wherry.containers.shipping.origin import check_tag
from wherry.errors import Invalid, NotImplementedYet
from wherry.wire.container import LogConfig
from wherry.wire.durations import parse_ram, parse_size
from wherry.wire.patterns import fault, found

FILE_DRIVERS = ("json-file", "local", "none")
DRIVERS = (*FILE_DRIVERS, *shipping.DRIVERS)
_ELSEWHERE = ("awslogs", "splunk", "gcplogs", "etwlogs")
_COMMON = frozenset({"mode", "max-buffer-size"})
_CACHE = frozenset({"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})
_FILE = frozenset({"max-size", "max-file", "compress"})
_OPTIONS = {"json-file": _FILE | shipping.DETAILS, "local": _FILE, "none": frozenset[str]()}
_SIZES = {"json-file": 10 << 20}
_COUNTS = {"json-file": 3}
_CACHE_SIZE, _CACHE_COUNT = 20 << 20, 5
_BUFFER = 1 << 20


@dataclass(frozen=True)
class LogPolicy:
    """How much of a log is kept. ``max_size`` in bytes, 0 for no limit."""

    keeps: bool
    max_size: int
    max_file: int
    compress: bool
    readable: bool = True
    """Whether ``logs`` may read it."""
    target: shipping.Target | None = None
    """Where the log is sent."""
    backlog: int = 0
    """Bytes that may wait to be sent, of ``mode=non-blocking``; 0: all that is kept."""


def policy(config: LogConfig | None) -> LogPolicy:
    """Raises ``Invalid`` in Docker's words for what is wrong."""
    driver = (config.type if config else "") or "json-file"
    options = (config.config if config else None) or {}
    if driver not in DRIVERS:
        if driver in _ELSEWHERE:
            raise NotImplementedYet(
                f"the logging driver {driver} is not there; use one of {', '.join(DRIVERS)}"
            )
        raise Invalid(f"logger: no log driver named '{driver}' is registered")
    backlog = _backlog(options)
    own = {name: value for name, value in options.items() if name not in _COMMON}
    for name in ("labels-regex", "env-regex"):
        _regex(name, options.get(name, ""))
    if driver in shipping.DRIVERS:
        return _sending(driver, own, backlog)
    for name in own:
        if name not in _OPTIONS[driver]:
            raise Invalid(f"unknown log opt '{name}' for {driver} log driver")
    check_tag(own)
    if driver == "none":
        return LogPolicy(False, 0, 1, False, readable=False)
    return LogPolicy(
        True,
        _size(own, "max-size", _SIZES.get(driver, _CACHE_SIZE)),
        _count(own, "max-file", _COUNTS.get(driver, _CACHE_COUNT)),
        shipping.switch(own, "compress", default=True),
    )


def _sending(driver: str, options: Mapping[str, str], backlog: int) -> LogPolicy:
    own = {name: value for name, value in options.items() if name not in _CACHE}
    target = shipping.target(driver, own)
    check_tag(own)
    return LogPolicy(
        True,
        _size(options, "cache-max-size", _CACHE_SIZE),
        _count(options, "cache-max-file", _CACHE_COUNT),
        shipping.switch(options, "cache-compress", default=True),
        readable=not shipping.switch(options, "cache-disabled"),
        target=target,
        backlog=backlog,
    )


def _backlog(options: Mapping[str, str]) -> int:
    mode = options.get("mode", "") or "blocking"
    if mode not in ("blocking", "non-blocking"):
        raise Invalid(f"logger: logging mode not supported: {mode}")
    size = options.get("max-buffer-size", "")
    if mode == "blocking":
        if size:
            raise Invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
            )
        return 0
    try:
        buffer = parse_ram(size) if size else _BUFFER
    except Invalid as error:
        raise Invalid(f"error parsing option max-buffer-size: {error.message}") from None
    if buffer <= 0:
        raise Invalid(f"error parsing option max-buffer-size: invalid size: '{size}'")
    return buffer


def _size(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, "")
    if not text:
        return default
    if text in ("-1", "0"):
        return 0
    try:
        size = parse_size(text)
    except Invalid:
        raise Invalid(f"invalid value for {name}: {text}") from None
    if size <= 0:
        raise Invalid(f"invalid value for {name}: {text}")
    return size


def _count(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, "")
    if not text:
        return default
    try:
        count = int(text)
    except ValueError:
        raise Invalid(f"invalid value for {name}: {text}") from None
    if count < 1:
        raise Invalid(f"{name} cannot be less than 1")
    return count


def _regex(name: str, text: str) -> None:
    wrong = fault(text)
    if wrong:
        raise Invalid(f"invalid value for {name}: {text}: {wrong}")


def details(
    config: LogConfig | None, labels: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """What ``logs --details`` shows: the labels and variables that the options name, sorted."""
    options = (config.config if config else None) or {}
    shown: dict[str, str] = {}
    for names, pattern, values in (
        (options.get("labels", ""), options.get("labels-regex", ""), labels),
        (options.get("env", ""), options.get("env-regex", ""), environment),
    ):
        wanted = {name.strip() for name in names.split(",")}
        for key, value in values.items():
            if key in wanted or (pattern and found(pattern, key)):
                shown[key] = value
    return dict(sorted(shown.items()))
