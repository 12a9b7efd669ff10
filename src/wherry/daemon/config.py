"""The daemon's configuration: flags over ``daemon.json`` over defaults.

A key that is in both places is an error, as in dockerd, and so is one that nobody knows: a typing
mistake must not silently leave a daemon open. Every failure is one ``Invalid`` with a text for a
person.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from wherry import __version__
from wherry.daemon import sockets
from wherry.daemon.options import HARMLESS, OPTIONS, Effect, Option
from wherry.daemon.sockets import LimitedSocket
from wherry.errors import Invalid
from wherry.store.paths import DEFAULT_DATA_ROOT, DEFAULT_RUN_DIR, Paths

DEFAULT_CONFIG = Path("/etc/wherry/daemon.json")
LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}


@dataclass(frozen=True)
class Config:
    """What ``wherryd`` was asked to be."""

    paths: Paths
    hosts: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Every option that was given, by its name with underscores."""
    notes: tuple[str, ...] = ()
    """Warnings for the log."""
    sockets: tuple[LimitedSocket, ...] = ()
    """Further sockets whose callers may do less."""
    flags: frozenset[str] = frozenset()
    """Names of the options that came by flag; a reload of the file does not change them."""

    def text(self, name: str) -> str:
        return str(self.settings.get(name) or "")

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.settings.get(name, default))

    def listed(self, name: str) -> list[str]:
        return [str(each) for each in self.settings.get(name) or ()]

    @property
    def level(self) -> int:
        """Of the ``logging`` module."""
        return 10 if self.flag("debug") else LEVELS[self.text("log_level") or "info"]

    @property
    def pidfile(self) -> Path:
        return Path(self.text("pidfile")) if self.text("pidfile") else self.paths.pidfile

    @property
    def runtimes(self) -> dict[str, str]:
        """Configured further runtimes: name -> path."""
        return dict(self.settings.get("runtimes") or {})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Invalid(f"{message}. See 'wherryd --help'.")


def _parser() -> _Parser:
    parser = _Parser(
        prog="wherryd",
        description="The Wherry daemon: serves the Docker Engine API.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for option in OPTIONS:
        if not option.flags:
            continue
        shown = option.help if option.effect is Effect.APPLIES else argparse.SUPPRESS
        if option.kind == "bool":
            parser.add_argument(
                *option.flags, dest=option.dest, help=shown, nargs="?", const=True, type=_truth
            )
        elif option.kind in ("list", "map"):
            parser.add_argument(*option.flags, dest=option.dest, help=shown, action="append")
        else:
            kind = int if option.kind == "int" else str
            parser.add_argument(*option.flags, dest=option.dest, help=shown, type=kind)
    version = f"Wherry version {__version__}"
    parser.add_argument("-v", "--version", action="version", version=version)
    return parser


def _truth(text: str) -> bool:
    if text.lower() in ("1", "t", "true", "yes"):
        return True
    if text.lower() in ("0", "f", "false", "no"):
        return False
    raise argparse.ArgumentTypeError(f"not true or false: {text}")


def parse(arguments: Sequence[str]) -> Config:
    """Flags and the file they name (or the default one, if it is there) as one ``Config``."""
    parsed = vars(_parser().parse_args(_attached(arguments)))
    flags = {option.dest: parsed[option.dest] for option in OPTIONS if option.dest in parsed}
    for option in OPTIONS:
        if option.kind == "map" and option.dest in flags:
            flags[option.dest] = _pairs(option, flags[option.dest])
    if "config" in flags:
        held = read_file(Path(flags["config"]), must_exist=True)
    else:
        held = read_file(DEFAULT_CONFIG, must_exist=False)
    return combine(flags, held)


def _attached(arguments: Sequence[str]) -> list[str]:
    """``--debug tcp://x`` must not swallow the next word: bools take ``--debug=false`` only."""
    bools = {flag for option in OPTIONS if option.kind == "bool" for flag in option.flags}
    return [
        f"{each}=true" if each in bools and each.startswith("--") else each for each in arguments
    ]


def _pairs(option: Option, values: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name or not rest:
            raise Invalid(f'invalid value "{value}" for {option.flags[-1]}: it is NAME=VALUE')
        pairs[name] = rest
    return pairs


def read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    """The settings of a ``daemon.json``, by option name."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        if must_exist:
            raise Invalid(f"the configuration file {path} does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read the configuration file {path}: {error}") from error
    try:
        data = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the configuration file {path} is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise Invalid(f"the configuration file {path} does not hold a JSON object")
    known = {option.key: option for option in OPTIONS if option.key}
    unknown = sorted(key for key in data if key not in known)
    if unknown:
        raise Invalid(
            f"the configuration file {path} has keys that wherryd does not know: "
            + ", ".join(unknown)
        )
    return {
        known[key].dest: _checked(known[key], value, path)
        for key, value in data.items()
        if value is not None
    }


_TYPES: dict[str, tuple[type, str]] = {
    "text": (str, "a text"),
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "list": (list, "a list"),
    "map": (dict, "an object"),
}


_LISTS_OF_OBJECTS = frozenset({"default-address-pools", "sockets"})


def _checked(option: Option, value: Any, path: Path) -> Any:
    kind, words = _TYPES[option.kind]
    held: Any = value
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Invalid(f'the configuration file {path}: the value of "{option.key}" is not {words}')
    texts = kind is list and option.key not in _LISTS_OF_OBJECTS
    if texts and not all(isinstance(each, str) for each in held):
        raise Invalid(
            f'the configuration file {path}: the value of "{option.key}" is not a list of texts'
        )
    if option.key == "runtimes":
        return {name: _runtime_path(name, each, path) for name, each in held.items()}
    return held


def _runtime_path(name: str, value: Any, path: Path) -> str:
    if not name:
        raise Invalid(f"the configuration file {path}: a runtime has no name")
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        extra = sorted(set(value) - {"path"})
        if extra and any(value[key] for key in extra):
            raise Invalid(f"the configuration file {path}: runtime {name}: {extra[0]} is not known")
        return str(value["path"])
    raise Invalid(f"the configuration file {path}: runtime {name} needs a path")


def combine(flags: Mapping[str, Any], held: Mapping[str, Any]) -> Config:
    """Flags and file as one, checked. Neither may repeat the other (maps and lists included)."""
    both = sorted(set(flags) & set(held) - {"runtimes"})
    if both:
        shown = ", ".join(
            f"{name.replace('_', '-')}: (from flag: {flags[name]}, from file: {held[name]})"
            for name in both
        )
        raise Invalid(
            "the following directives are specified both as a flag and in the configuration "
            f"file: {shown}"
        )
    settings = {**held, **flags}
    if "runtimes" in flags and "runtimes" in held:
        settings["runtimes"] = {**held["runtimes"], **flags["runtimes"]}
    notes = _effects(settings)
    if settings.get("log_level", "info") not in LEVELS:
        raise Invalid(f"invalid log level: {settings['log_level']} (one of {', '.join(LEVELS)})")
    _check_labels(settings.get("labels") or ())
    paths = Paths(
        _directory(settings, "data_root", DEFAULT_DATA_ROOT),
        _directory(settings, "run_dir", DEFAULT_RUN_DIR),
    )
    hosts = tuple(settings.get("hosts") or (f"unix://{paths.socket}",))
    for host in hosts:
        if hosts.count(host) > 1:
            raise Invalid(f"the host {host} is there twice")
    limited = sockets.parse(settings.get("sockets") or (), hosts)
    return Config(paths, hosts, settings, tuple(notes), limited, frozenset(flags))


def _check_labels(labels: Sequence[str]) -> None:
    held: dict[str, str] = {}
    for label in labels:
        key, equals, _ = label.partition("=")
        if not key or not equals:
            raise Invalid(f"bad attribute format: {label} (a label is key=value)")
        if held.setdefault(key, label) != label:
            raise Invalid(f"conflict labels for {held[key]} and {label}")


def _directory(settings: Mapping[str, Any], name: str, default: Path) -> Path:
    path = Path(settings.get(name) or default)
    if not path.is_absolute():
        path = Path.cwd() / path
    return path


def _effects(settings: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    for option in OPTIONS:
        if option.dest not in settings:
            continue
        name = option.key or option.flags[-1]
        if option.effect is Effect.NO_EFFECT:
            notes.append(f"option {name} is accepted but has no effect")
        elif option.effect is Effect.REFUSED and HARMLESS.get(option.dest) != settings[option.dest]:
            raise Invalid(f"option {name} is not supported by this version of wherryd")
    return notes
