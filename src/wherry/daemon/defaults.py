"""What containers get that ask for nothing else: dockerd's options for it, checked (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.containers import bounds, logoptions
from wherry.containers.shipping.options import check_present
from wherry.daemon.config import Config
from wherry.errors import Invalid, WherryError
from wherry.runtime import seccomp
from wherry.runtime.limits import ULIMITS
from wherry.wire.container import LogConfig, Ulimit
from wherry.wire.durations import parse_ram

_DEFAULT_SHM = 64 << 20


@dataclass(frozen=True)
class ContainerDefaults:
    """Sizes in bytes. ``seccomp_profile``: "" for the built-in one, ``unconfined`` or JSON."""

    log: LogConfig
    ulimits: Sequence[Ulimit] = ()
    init: bool = False
    cgroup_parent: str = ""
    shm_size: int = _DEFAULT_SHM
    ipc_mode: str = "private"
    cgroupns_mode: str = ""
    """"" for Docker's choice, which depends on the host's cgroup version."""
    no_new_privileges: bool = False
    seccomp_profile: str = field(default="", repr=False)


def container_defaults(config: Config) -> ContainerDefaults:
    """Raises ``Invalid`` that names the option."""
    settings = config.settings
    return ContainerDefaults(
        log=_log(config.text("log_driver"), settings.get("log_opts") or {}),
        ulimits=tuple(
            _ulimit(name, value)
            for name, value in sorted((settings.get("default_ulimits") or {}).items())
        ),
        init=config.flag("init"),
        cgroup_parent=_cgroup_parent(config.text("cgroup_parent")),
        shm_size=_size(config.text("default_shm_size")),
        ipc_mode=_word(config, "default_ipc_mode", ("private", "shareable")) or "private",
        cgroupns_mode=_word(config, "default_cgroupns_mode", ("private", "host")),
        no_new_privileges=config.flag("no_new_privileges"),
        seccomp_profile=_profile(config.text("seccomp_profile")),
    )


def _cgroup_parent(path: str) -> str:
    try:
        bounds.check_cgroup_parent(path)
    except Invalid as error:
        raise Invalid(f"cgroup-parent: {error.message}") from error
    return path


def _log(driver: str, options: Mapping[str, Any]) -> LogConfig:
    for name, value in options.items():
        if not isinstance(value, str):
            raise Invalid(f'log-opts: the value of "{name}" is not a text')
    log = LogConfig(type=driver or "json-file", config=dict(options))
    try:
        logoptions.policy(log)
        check_present(log.type)
    except WherryError as error:
        raise Invalid(f"log-driver {log.type}: {error.message}") from error
    return log


def _ulimit(name: str, value: Any) -> Ulimit:
    """``name=soft[:hard]`` of the flag, or daemon.json's ``{"Name", "Soft", "Hard"}``."""
    if name not in ULIMITS:
        raise Invalid(f"default-ulimits: invalid ulimit type: {name}")
    if isinstance(value, str):
        soft, colon, hard = value.partition(":")
        numbers: tuple[Any, Any] = (_number(soft), _number(hard) if colon else _number(soft))
    elif isinstance(value, dict):
        if value.get("Name", name) != name:
            raise Invalid(f"default-ulimits: {name} has the name {value['Name']}")
        numbers = (value.get("Soft"), value.get("Hard"))
    else:
        numbers = (None, None)
    if any(not isinstance(each, int) or isinstance(each, bool) for each in numbers):
        raise Invalid(f"default-ulimits: {name} needs whole numbers Soft and Hard")
    made = Ulimit(name=name, soft=numbers[0], hard=numbers[1])
    if made.hard != -1 and (made.soft == -1 or made.soft > made.hard):
        raise Invalid(f"default-ulimits: {name}: soft {made.soft} is above hard {made.hard}")
    return made


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _size(text: str) -> int:
    if not text:
        return _DEFAULT_SHM
    try:
        size = parse_ram(text)
    except Invalid:
        size = 0
    if size <= 0:
        raise Invalid(f"default-shm-size: {text} is not a size such as 64M")
    return size


def _word(config: Config, name: str, words: Sequence[str]) -> str:
    value = config.text(name)
    if value and value not in words:
        raise Invalid(f"{name.replace('_', '-')} is {value}: it must be {' or '.join(words)}")
    return value


def _profile(value: str) -> str:
    if value in ("", "builtin"):
        return ""
    if value == "unconfined":
        return value
    try:
        text = Path(value).read_text()
        seccomp.parse_profile(text)
    except (OSError, ValueError, WherryError) as error:
        raise Invalid(f"seccomp-profile {value} cannot be read: {error}") from error
    return text
