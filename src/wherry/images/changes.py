"""``--change`` of import and commit: Dockerfile instructions applied to a configuration (pure).

Docker allows CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME
and WORKDIR. ``config`` has the Engine API's keys; the result is a new dictionary.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wherry.errors import Invalid
from wherry.images.shellwords import expand, split
from wherry.wire import signals
from wherry.wire.durations import MILLISECOND, parse_duration

Config = dict[str, Any]

_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(\w+))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_HEALTH_FLAGS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def apply(config: Mapping[str, Any], changes: Sequence[str]) -> Config:
    """``Invalid``: an instruction that is not allowed or is malformed, in Docker's words."""
    result: Config = dict(config)
    commanded = False
    lines = _lines(changes)
    if not lines and any(each.strip() for each in changes):
        raise Invalid("file with no instructions")
    for line in lines:
        word, _, rest = line.partition(" ")
        name, rest = word.upper(), rest.strip()
        instruction = _INSTRUCTIONS.get(name)
        if instruction is None:
            raise Invalid(f"{word} is not a valid change command")
        if not rest:
            raise Invalid(f"{name} requires at least one argument")
        if name == "ENTRYPOINT" and not commanded:
            # The command of the parent made sense for the parent's entry point only.
            result["Cmd"] = None
        commanded = commanded or name == "CMD"
        try:
            instruction(result, rest)
        except RecursionError as error:
            raise Invalid(f"{name}: substitutions are nested too deeply") from error
    return result


def _lines(changes: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for change in changes:
        joined = re.sub(r"\\[ \t]*\r?\n", "", change)
        for line in joined.splitlines():
            text = line.strip().replace("\t", " ", 1)
            if text and not text.startswith("#"):
                lines.append(text)
    return lines


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """``Env`` as a mapping."""
    pairs = (each.partition("=") for each in config.get("Env") or [])
    return {name: value for name, _, value in pairs}


def _json_list(text: str) -> list[str] | None:
    """The exec form, or None when the text is not one."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    return None


def _command(config: Config, text: str) -> list[str]:
    listed = _json_list(text)
    if listed is not None:
        return listed
    return [*(config.get("Shell") or ["/bin/sh", "-c"]), text]


def _cmd(config: Config, rest: str) -> None:
    config["Cmd"] = _command(config, rest)


def _entrypoint(config: Config, rest: str) -> None:
    config["Entrypoint"] = _command(config, rest) or None


def _pairs(instruction: str, rest: str, env: Mapping[str, str]) -> list[tuple[str, str]]:
    """``K=V K2="V 2"``, or the old form ``K the rest of the line``."""
    words = split(rest)
    if "=" not in words[0]:
        if len(words) < 2:
            raise Invalid(f"{instruction} must have two arguments")
        key = words[0]
        value = rest[len(key) :].strip()
        return [(expand(key, env), expand(value, env))]
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise Invalid(
                f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        key = expand(key, env)
        if not key:
            raise Invalid(f"{instruction} names can not be blank")
        pairs.append((key, expand(value, env)))
    return pairs


def _env(config: Config, rest: str) -> None:
    known = environment(config)
    entries = list(config.get("Env") or [])
    for key, value in _pairs("ENV", rest, known):
        entry = f"{key}={value}"
        place = next((at for at, each in enumerate(entries) if each.partition("=")[0] == key), None)
        if place is None:
            entries.append(entry)
        else:
            entries[place] = entry
    config["Env"] = entries


def _label(config: Config, rest: str) -> None:
    labels = dict(config.get("Labels") or {})
    labels.update(_pairs("LABEL", rest, environment(config)))
    config["Labels"] = labels


def _expose(config: Config, rest: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in split(rest):
        text = expand(word, environment(config))
        found = _PORT.fullmatch(text)
        if found is None:
            raise Invalid(f"Invalid containerPort: {text}")
        first, last = int(found[1]), int(found[2] or found[1])
        protocol = (found[3] or "tcp").lower()
        if not 0 < first <= last <= 65535:
            raise Invalid(f"Invalid containerPort: {text}")
        if protocol not in _PROTOCOLS:
            raise Invalid(f"Invalid proto: {protocol}")
        for port in range(first, last + 1):
            ports[f"{port}/{protocol}"] = {}
    config["ExposedPorts"] = ports


def _healthcheck(config: Config, rest: str) -> None:
    if rest.upper() == "NONE":
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    health: dict[str, Any] = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        rest = rest.strip()
        name, equals, value = flag[2:].partition("=")
        if name == "retries" and equals:
            if not (value.isdecimal() and len(value) < 10):
                raise Invalid(f"--retries must be at least 1 (not {value})")
            health["Retries"] = int(value)
        elif name in _HEALTH_FLAGS and equals:
            duration = parse_duration(value)
            if duration and duration < MILLISECOND:
                raise Invalid(f"Interval {name!r} cannot be less than 1ms")
            health[_HEALTH_FLAGS[name]] = duration
        else:
            raise Invalid(f"unknown flag: --{name}")
    kind, _, command = rest.partition(" ")
    if kind.upper() != "CMD" or not command.strip():
        raise Invalid(f"Unknown type {kind!r} in HEALTHCHECK (try CMD)")
    listed = _json_list(command.strip())
    test = ["CMD", *listed] if listed is not None else ["CMD-SHELL", command.strip()]
    config["Healthcheck"] = {"Test": test, **health}


def _onbuild(config: Config, rest: str) -> None:
    trigger = rest.split()[0].upper()
    if trigger == "ONBUILD":
        raise Invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise Invalid(f"{trigger} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or []), rest]


def _stopsignal(config: Config, rest: str) -> None:
    text = expand(rest, environment(config))
    signals.parse(text)
    config["StopSignal"] = text


def _user(config: Config, rest: str) -> None:
    config["User"] = expand(rest, environment(config))


def _volume(config: Config, rest: str) -> None:
    volumes = dict(config.get("Volumes") or {})
    listed = _json_list(rest)
    for word in listed if listed is not None else split(rest):
        path = expand(word, environment(config)).strip()
        if not path:
            raise Invalid("VOLUME specified can not be an empty string")
        volumes[path] = {}
    config["Volumes"] = volumes


def _workdir(config: Config, rest: str) -> None:
    path = expand(rest, environment(config))
    base = config.get("WorkingDir") or "/"
    config["WorkingDir"] = posixpath.normpath(posixpath.join("/", base, path))


_INSTRUCTIONS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
