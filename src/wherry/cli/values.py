"""Words of flags to values: pure. Each raises ``ValueError`` in Docker's words."""

from __future__ import annotations

import os
import re

from wherry.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


def memory(word: str) -> int:
    """``512m`` to bytes."""
    from wherry.wire.durations import parse_ram

    return _invalid_to_value(parse_ram, word)


def memory_swap(word: str) -> int:
    """As :func:`memory`; ``-1`` means without limit."""
    return -1 if word == "-1" else memory(word)


def duration(word: str) -> int:
    """``1m30s`` to nanoseconds."""
    from wherry.wire.durations import parse_duration

    if re.fullmatch(r"[+-]?\d+(\.\d*)?", word) and word.lstrip("+-") != "0":
        raise ValueError(f'time: missing unit in duration "{word}"')
    return _invalid_to_value(parse_duration, word)


def _invalid_to_value(parse: Callable[[str], int], word: str) -> int:
    try:
        return parse(word)
    except Invalid as error:
        raise ValueError(error.message) from None


def cpus(word: str) -> int:
    """``1.5`` to nano CPUs."""
    from fractions import Fraction

    try:
        nano = Fraction(word) * 1_000_000_000
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {word} as a rational number") from None
    if nano.denominator != 1:
        raise ValueError("value is too precise")
    return int(nano)


def label(word: str) -> str:
    key, equals, _ = word.partition("=")
    if not key.strip():
        if equals:
            raise ValueError(f"invalid label '{word}': empty name")
        raise ValueError("invalid label: empty name" if not word else f"invalid label '{word}'")
    return word


def pair(word: str) -> tuple[str, str]:
    """``key=value``; no ``=`` means an empty value."""
    key, _, text = word.partition("=")
    return key, text


def environment(word: str) -> str:
    """``VAR=value``; ``VAR`` alone takes the value of our environment where there is one."""
    name, equals, _ = word.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {word}")
    if equals or name not in os.environ:
        return word
    return f"{name}={os.environ[name]}"


def stream(word: str) -> str:
    if word.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return word.lower()


def ip_address(word: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(word.strip()))
    except ValueError:
        raise ValueError(f"IP address is not correctly formatted: {word}") from None


def dns_search(word: str) -> str:
    word = word.strip()
    if word == ".":
        return word
    if not re.search(r"[a-zA-Z]", word) or not re.fullmatch(
        r"(?i)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*\.?", word
    ):
        raise ValueError(f"{word} is not a valid domain")
    return word


def extra_host(word: str) -> str:
    """``name:ip``, ``name=ip``, ``name:host-gateway``; IPv6 may stand in brackets."""
    import ipaddress

    separator = "=" if "=" in word else ":"
    name, found, address = word.partition(separator)
    if not found or not name:
        raise ValueError(f'bad format for add-host: "{word}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway":
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ValueError(f'invalid IP address in add-host: "{address}"') from None
    return f"{name}:{address}"


def link(word: str) -> str:
    parts = word.split(":")
    if not word or len(parts) > 2 or not parts[0]:
        raise ValueError(
            f"bad format for links: {word}" if word else "empty string specified for links"
        )
    return word


def key_value(word: str) -> tuple[str, str]:
    """``key=value`` for map flags."""
    key, equals, text = word.partition("=")
    if not key:
        raise ValueError(f"invalid key=value: {word}")
    return key, text if equals else ""


def throttle_bytes(word: str) -> dict[str, Any]:
    path, rate = _device_pair(word)
    try:
        amount = memory(rate)
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {word}. The correct format is "
            "<device-path>:<number>[<unit>]. Number must be a positive integer. "
            "Unit is optional and can be kb, mb, or gb"
        ) from None
    return {"Path": path, "Rate": amount}


def throttle_iops(word: str) -> dict[str, Any]:
    path, rate = _device_pair(word)
    if not rate.isdigit():
        raise ValueError(
            f"invalid rate for device: {word}. The correct format is "
            "<device-path>:<number>. Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(rate)}


def weight_device(word: str) -> dict[str, Any]:
    path, weight = _device_pair(word)
    if not weight.isdigit() or (int(weight) and not 10 <= int(weight) <= 1000):
        raise ValueError(f"invalid weight for device: {word}")
    return {"Path": path, "Weight": int(weight)}


def _device_pair(word: str) -> tuple[str, str]:
    path, colon, rest = word.rpartition(":")
    if not colon or ":" in path:
        raise ValueError(f"bad format: {word}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {word}")
    return path, rest


_ULIMITS = {
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
    "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
}  # fmt: skip


def ulimit(word: str) -> dict[str, Any]:
    """``nofile=1024[:2048]``."""
    name, equals, limits = word.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {word}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    soft_text, colon, hard_text = limits.partition(":")
    try:
        soft = int(soft_text)
        hard = int(hard_text) if colon else soft
    except ValueError:
        raise ValueError(f"invalid ulimit value: {limits}") from None
    if hard != -1 and (soft == -1 or soft > hard):
        if soft == -1:
            raise ValueError(
                f"ulimit soft limit must be less than or equal to hard limit: soft: -1 "
                f"(unlimited), hard: {hard}"
            )
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return {"Name": name, "Soft": soft, "Hard": hard}


def device(word: str) -> dict[str, str]:
    """``/dev/x[:/dev/y][:rwm]``."""
    parts = word.split(":")
    if len(parts) > 3:
        raise ValueError(f"bad format for path: {word}")
    if not parts[0].startswith("/"):
        raise ValueError(f"{parts[0]} is not an absolute path")
    if len(parts) == 3 and not is_device_mode(parts[2]):
        raise ValueError(f"bad mode specified: {parts[2]}")
    mapping = {"PathOnHost": parts[0], "PathInContainer": parts[0], "CgroupPermissions": "rwm"}
    if len(parts) == 3:
        mapping["CgroupPermissions"] = parts[2]
    if len(parts) > 1:
        if is_device_mode(parts[1]) and len(parts) == 2:
            mapping["CgroupPermissions"] = parts[1]
        elif parts[1]:
            mapping["PathInContainer"] = parts[1]
    return mapping


def is_device_mode(word: str) -> bool:
    return bool(word) and set(word) <= set("rwm") and len(set(word)) == len(word)


def cdi_device(word: str) -> bool:
    """Is it a qualified CDI name: ``vendor.com/class=name``?"""
    return bool(re.fullmatch(r"[A-Za-z][\w.-]*/[A-Za-z][\w-]*=[A-Za-z0-9][\w.:-]*", word))


def device_rule(word: str) -> str:
    if not re.fullmatch(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", word):
        raise ValueError(f"invalid device cgroup format '{word}'")
    return word


def restart_policy(word: str) -> dict[str, Any]:
    """``no``, ``always``, ``unless-stopped``, ``on-failure[:N]``."""
    name, colon, count = word.partition(":")
    if not word:
        return {"Name": "no"}
    if colon and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    if not colon:
        return {"Name": name}
    try:
        return {"Name": name, "MaximumRetryCount": int(count)}
    except ValueError:
        raise ValueError(
            "invalid restart policy format: maximum retry count must be an integer"
        ) from None


def gpus(word: str) -> dict[str, Any]:
    """``all``, a count, or ``device=0,capabilities=utility``."""
    request: dict[str, Any] = {
        "Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {},
    }  # fmt: skip
    for field in csv_fields(word):
        key, equals, text = field.partition("=")
        if not equals:
            key, text = "count", field
        if key == "count":
            if text == "all":
                request["Count"] = -1
            elif text.lstrip("-").isdigit():
                request["Count"] = int(text)
            else:
                raise ValueError(
                    f'invalid count ({text}): value must be either "all" or an integer: '
                    "invalid syntax"
                )
        elif key == "driver":
            request["Driver"] = text
        elif key == "device":
            request["DeviceIDs"] = text.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [[*text.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = dict(key_value(one) for one in csv_fields(text))
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if not request["DeviceIDs"] and not request["Count"]:
        request["Count"] = -1 if word == "all" else 1
    return request


def csv_fields(word: str) -> list[str]:
    """One line of CSV: ``a,"b,c",d`` has three fields."""
    import csv

    try:
        rows = list(csv.reader([word], strict=True))
    except csv.Error as error:
        raise ValueError(f"parse error: {error}") from None
    return rows[0] if rows else []


def read_env_files(paths: Iterable[str], *, environ: bool) -> list[str]:
    """Lines of ``--env-file`` or ``--label-file``: ``#`` begins a comment, blank lines are
    skipped. With ``environ`` a bare name takes our value, or is skipped when we have none.

    Raises ``ValueError`` naming the file; ``OSError`` when it cannot be read.
    """
    found: list[str] = []
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        try:
            found += _env_lines(content, environ=environ)
        except ValueError as error:
            kind = "env" if environ else "label"
            raise ValueError(f"invalid {kind} file ({path}): {error}") from None
    return found


def _env_lines(content: bytes, *, environ: bool) -> list[str]:
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"invalid utf8 bytes at line {number}") from None
    found: list[str] = []
    for line in lines:
        line = line.rstrip("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, text = line.partition("=")
        if not name:
            raise ValueError(f"no variable name on line '{line}'")
        if re.search(r"\s", name):
            raise ValueError(f"variable '{name}' contains whitespaces")
        if equals:
            found.append(f"{name}={text}")
        elif not environ:
            found.append(name)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found
