"""Options of the drivers that send, checked. Pure, but for files that syslog's TLS names.

Raises ``Invalid`` in Docker's words; option names and rules are those of its driver pages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry.errors import Invalid, NotImplementedYet, WherryError
from wherry.wire.durations import parse_duration, parse_ram

if TYPE_CHECKING:
    from wherry.wire.template import Template  # loaded when a log has a tag

Options = Mapping[str, str]
JOURNAL = "/run/systemd/journal/socket"
DETAILS = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_SYSLOG = DETAILS | {
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
}
_GELF = DETAILS | {
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
}
_FLUENTD = DETAILS | {
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
}
KNOWN: Mapping[str, frozenset[str]] = {
    "syslog": frozenset(_SYSLOG),
    "gelf": frozenset(_GELF),
    "fluentd": frozenset(_FLUENTD),
    "journald": DETAILS,
}
DRIVERS = tuple(KNOWN)

_NAMES = ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron")
FACILITIES = {
    **{name: number for number, name in enumerate((*_NAMES, "authpriv", "ftp"))},
    **{f"local{number}": 16 + number for number in range(8)},
}
_FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_TRANSPORT = re.compile(r"(tcp|tcp\+tls|udp|unix|unixgram)://")


@dataclass(frozen=True)
class Address:
    """Where to send: ``scheme`` is udp, tcp, tcp+tls, unix or unixgram."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True)
class Syslog:
    address: Address | None
    """None: the host's own syslog."""
    facility: int
    format: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


@dataclass(frozen=True)
class Gelf:
    address: Address
    compression: str
    """gzip, zlib or none; of UDP alone."""
    level: int


@dataclass(frozen=True)
class Fluentd:
    address: Address
    ack: bool
    """Wait for the server's word that it has each batch."""
    precise: bool
    """Times with nanoseconds."""


@dataclass(frozen=True)
class Journald:
    pass


Target = Syslog | Gelf | Fluentd | Journald


def target(driver: str, options: Options) -> Target:
    """``driver`` is one of ``DRIVERS``."""
    for name in options:
        if name not in KNOWN[driver]:
            raise Invalid(f"unknown log opt '{name}' for {driver} log driver")
    if driver == "syslog":
        return _syslog(options)
    if driver == "gelf":
        return _gelf(options)
    if driver == "fluentd":
        return _fluentd(options)
    return Journald()


def check_present(driver: str | None) -> None:
    """Raises ``NotImplementedYet`` for journald on a host without it."""
    if driver == "journald" and not os.path.exists(JOURNAL):
        raise NotImplementedYet("journald is not enabled on this host")


def tag_template(options: Options) -> Template:
    from wherry.wire.template import Template

    text = options.get("tag", "") or "{{.ID}}"
    try:
        return Template(text)
    except WherryError as error:
        raise Invalid(f"invalid value for tag: {text}: {error.message}") from None


def _syslog(options: Options) -> Syslog:
    style = options.get("syslog-format", "")
    if style not in _FORMATS:
        raise Invalid(f"Invalid syslog format: {style} for syslog-format")
    address = _syslog_address(options.get("syslog-address", ""))
    files = {}
    for name in ("ca-cert", "cert", "key"):
        path = files[name] = options.get(f"syslog-tls-{name}", "")
        if (
            path
            and address is not None
            and address.scheme == "tcp+tls"
            and not os.path.exists(path)
        ):
            raise Invalid(f"syslog-tls-{name}: stat {path}: no such file or directory")
    if bool(files["cert"]) != bool(files["key"]):
        raise Invalid("syslog-tls-cert and syslog-tls-key belong together: one of them is missing")
    return Syslog(
        address,
        _facility(options.get("syslog-facility", "")),
        style,
        files["ca-cert"],
        files["cert"],
        files["key"],
        # As in Docker, any value switches the check off.
        verify=not options.get("syslog-tls-skip-verify", ""),
    )


def _facility(text: str) -> int:
    if not text:
        return FACILITIES["daemon"]
    if text in FACILITIES:
        return FACILITIES[text]
    if text.isascii() and text.isdigit() and int(text) <= 23:
        return int(text)
    raise Invalid(f"invalid syslog facility: {text} for syslog-facility")


def _syslog_address(text: str) -> Address | None:
    if not text:
        return None
    if not _TRANSPORT.match(text):
        raise Invalid(f"syslog-address should be in form proto://address, got {text}")
    scheme, _, rest = text.partition("://")
    if scheme in ("unix", "unixgram"):
        if not os.path.exists(rest):
            raise Invalid(f"syslog-address: stat {rest}: no such file or directory")
        return Address(scheme, path=rest)
    return _network(scheme, rest, 514, "syslog-address", text)


def _network(scheme: str, rest: str, default: int, name: str, text: str) -> Address:
    """``host[:port]``, IPv6 in brackets."""
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or parts.path not in ("", "/") or parts.query or parts.username:
        raise Invalid(f"invalid value for {name}: {text}: it needs a host and a port")
    return Address(scheme, host, port or default)


def _gelf(options: Options) -> Gelf:
    text = options.get("gelf-address", "")
    if not text:
        raise Invalid("gelf-address is a required parameter")
    scheme, _, rest = text.partition("://")
    if scheme not in ("udp", "tcp"):
        raise Invalid(f"gelf-address should be in form proto://address, got {text}")
    if not re.search(r":\d+/?$", rest):
        raise Invalid(f"gelf: please provide gelf-address as {scheme}://host:port, got {text}")
    address = _network(scheme, rest, 0, "gelf-address", text)
    for name in ("gelf-compression-level", "gelf-compression-type"):
        if name in options and scheme != "udp":
            raise Invalid(f"compression is only supported on UDP: {name}")
    for name in ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"):
        if name in options:
            if scheme != "tcp":
                raise Invalid(f'"{name}" is only valid for TCP')
            if not (options[name].isascii() and options[name].isdigit()):
                raise Invalid(f'"{name}" must be a positive integer')
    kind = options.get("gelf-compression-type", "gzip")
    level = options.get("gelf-compression-level", "1")
    if kind not in ("gzip", "zlib", "none"):
        raise _unknown_value(kind, "gelf-compression-type")
    if not re.fullmatch(r"-1|[0-9]", level):
        raise _unknown_value(level, "gelf-compression-level")
    return Gelf(address, kind, int(level))


def _unknown_value(value: str, name: str) -> Invalid:
    return Invalid(f'unknown value "{value}" for log opt "{name}" for gelf log driver')


def _fluentd(options: Options) -> Fluentd:
    for name in ("fluentd-async", "fluentd-async-connect", "fluentd-request-ack"):
        switch(options, name)
    for name in (
        "fluentd-retry-wait",
        "fluentd-async-reconnect-interval",
        "fluentd-read-timeout",
        "fluentd-write-timeout",
    ):
        _duration(options, name)
    _buffer(options, "fluentd-buffer-limit")
    retries = options.get("fluentd-max-retries", "")
    if retries and not (retries.isascii() and retries.isdigit()):
        raise Invalid(f"invalid value for fluentd-max-retries: {retries}")
    return Fluentd(
        _fluentd_address(options.get("fluentd-address", "")),
        switch(options, "fluentd-request-ack"),
        switch(options, "fluentd-sub-second-precision"),
    )


def _fluentd_address(text: str) -> Address:
    if not text:
        return Address("tcp", "127.0.0.1", 24224)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "tcp", text
    if scheme == "unix":
        if not rest.strip("/"):
            raise Invalid(f"invalid fluentd-address ({text}): path is empty")
        return Address("unix", path=rest)
    if scheme != "tcp":
        raise Invalid(f"invalid fluentd-address ({text}): unsupported scheme: '{scheme}'")
    return _network("tcp", rest, 24224, "fluentd-address", text)


def _duration(options: Options, name: str) -> None:
    text = options.get(name, "")
    try:
        good = not text or parse_duration(text) >= 0
    except Invalid:
        good = False
    if not good:
        raise Invalid(f"invalid value for {name}: {text}")


def _buffer(options: Options, name: str) -> None:
    text = options.get(name, "")
    try:
        if text:
            parse_ram(text)
    except Invalid:
        raise Invalid(f"invalid value for {name}: {text}") from None


def switch(options: Options, name: str, *, default: bool = False) -> bool:
    """A value of Go's ``strconv.ParseBool``; empty for the default."""
    text = options.get(name, "")
    if not text:
        return default
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise Invalid(f"invalid value for {name}: {text}")
