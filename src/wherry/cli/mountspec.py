"""``-v``, ``--mount``, ``--tmpfs``: words to the API's fields. Pure but for the working folder."""

from __future__ import annotations

import os

from wherry.cli.flags import parse_bool
from wherry.cli.values import csv_fields, key_value, memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


def volumes(words: Iterable[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """``-v`` words: binds, and anonymous volumes. A source that begins with a dot is made
    absolute; what is wrong beyond that the daemon says. Raises ``ValueError``."""
    binds: list[str] = []
    anonymous: dict[str, dict[str, str]] = {}
    for word in words:
        if not word:
            raise ValueError("invalid empty volume spec")
        parts = word.split(":")
        if len(parts) == 1:
            anonymous[word] = {}
            continue
        if parts[0].startswith("."):
            parts[0] = os.path.abspath(parts[0])
        binds.append(":".join(parts))
    return binds, anonymous


def tmpfs(words: Iterable[str]) -> dict[str, str]:
    """``--tmpfs /path[:options]`` words."""
    return {path: options for path, _, options in (word.partition(":") for word in words)}


def mount(word: str) -> dict[str, Any]:
    """One ``--mount`` word, in CSV: ``type=bind,source=/a,target=/b,readonly``.

    Raises ``ValueError`` naming the field.
    """
    found: dict[str, Any] = {"Type": "volume"}
    for field in csv_fields(word):
        key, equals, text = field.partition("=")
        key = key.strip().lower()
        if not equals:
            if key in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"):
                text = "true"
            else:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
        _set(found, key, text, field)
    _check(found)
    return found


def _set(found: dict[str, Any], key: str, text: str, field: str) -> None:
    if key == "type":
        found["Type"] = text.lower()
    elif key in ("source", "src"):
        relative = text.startswith("." + os.sep) or text == "."
        found["Source"] = os.path.abspath(text) if relative else text
    elif key in ("target", "dst", "destination"):
        found["Target"] = text
    elif key in ("readonly", "ro"):
        found["ReadOnly"] = _bool(key, text)
    elif key == "consistency":
        found["Consistency"] = text.lower()
    elif key in _OPTIONS:
        part, name, parse = _OPTIONS[key]
        try:
            found.setdefault(part, {})[name] = parse(text)
        except ValueError:
            raise ValueError(f"invalid value for {key}: {text}") from None
    elif key == "bind-nonrecursive":
        found.setdefault("BindOptions", {})["NonRecursive"] = _bool(key, text)
    elif key == "bind-recursive":
        _recursive(found.setdefault("BindOptions", {}), text)
    elif key == "volume-label":
        name, value = key_value(text)
        found.setdefault("VolumeOptions", {}).setdefault("Labels", {})[name] = value
    elif key == "volume-driver":
        _driver(found)["Name"] = text
    elif key == "volume-opt":
        name, value = key_value(text)
        _driver(found).setdefault("Options", {})[name] = value
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _octal(text: str) -> int:
    return int(text, 8)


_OPTIONS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "idmap": ("BindOptions", "Idmap", str.lower),
    "bind-propagation": ("BindOptions", "Propagation", str.lower),
    "bind-create-src": ("BindOptions", "CreateMountpoint", parse_bool),
    "volume-nocopy": ("VolumeOptions", "NoCopy", parse_bool),
    "volume-subpath": ("VolumeOptions", "Subpath", str),
    "image-subpath": ("ImageOptions", "Subpath", str),
    "tmpfs-size": ("TmpfsOptions", "SizeBytes", memory),
    "tmpfs-mode": ("TmpfsOptions", "Mode", _octal),
}


def _bool(key: str, text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {text}") from None


def _driver(found: dict[str, Any]) -> dict[str, Any]:
    options = found.setdefault("VolumeOptions", {})
    driver: dict[str, Any] = options.setdefault("DriverConfig", {})
    return driver


def _recursive(options: dict[str, Any], text: str) -> None:
    if text == "enabled":
        return
    if text == "disabled":
        options["NonRecursive"] = True
    elif text == "writable":
        options["ReadOnlyNonRecursive"] = True
    elif text == "readonly":
        options["ReadOnlyForceRecursive"] = True
    else:
        raise ValueError(
            f'invalid value for bind-recursive: {text} (must be "enabled", "disabled", '
            '"writable", or "readonly")'
        )


def _check(found: dict[str, Any]) -> None:
    kind = found["Type"]
    if not kind:
        raise ValueError("type is required")
    if not found.get("Target"):
        raise ValueError("target is required")
    for part, owner in (
        ("BindOptions", "bind"),
        ("VolumeOptions", "volume"),
        ("ImageOptions", "image"),
        ("TmpfsOptions", "tmpfs"),
    ):
        if part in found and kind != owner:
            raise ValueError(f"cannot mix '{owner}-*' options with mount type '{kind}'")
