"""What a user may ask to have mounted, as values (pure).

Four notations arrive here: ``HostConfig.Binds`` (``-v``), ``HostConfig.Mounts`` (``--mount``),
``HostConfig.Tmpfs`` (``--tmpfs``) and ``HostConfig.VolumesFrom``. Rules and messages are those of
moby's ``volume/mounts`` (API v1.24-v1.55).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wherry.errors import Invalid
from wherry.wire.container import BindOptions, Mount, TmpfsOptions

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
DEFAULT_PROPAGATION = "rprivate"
_CONSISTENCY = ("default", "consistent", "cached", "delegated")
_MODE_GROUPS: tuple[tuple[str, ...], ...] = (
    ("rw", "ro"),
    ("z", "Z"),
    PROPAGATIONS,
    ("nocopy",),
    _CONSISTENCY[1:],
)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_NAME_RULE = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME_LIMIT = 255


@dataclass(frozen=True)
class Wanted:
    """One mount as asked for. ``kind``: bind, volume, tmpfs or image."""

    kind: str
    target: str
    """Absolute, cleaned."""
    source: str = ""
    """Host path, volume name ('' is anonymous), or image reference."""
    read_only: bool = False
    mode: str = ""
    """The words of a bind's third part, as given."""
    propagation: str = ""
    non_recursive: bool = False
    read_only_recursion: str = ""
    """'' as far as the kernel can, ``none`` or ``force``."""
    create_source: bool = False
    idmap: str = ""
    """'' or ``match-user`` (beyond Docker)."""
    no_copy: bool = False
    subpath: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    driver: str = ""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    tmpfs_options: tuple[str, ...] = ()
    implicit: bool = False
    """From ``Config.Volumes`` (an image's VOLUME, ``-v /path``), not from a mount."""
    listed: bool = True
    """Whether inspect's ``Mounts`` shows it (``--tmpfs`` is not shown)."""


def volume_name(name: str) -> str:
    """Check a local volume's name; ``Invalid`` with Docker's words."""
    if len(name) == 1:
        raise Invalid(
            "volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        shown = json.dumps(name, ensure_ascii=False)
        raise Invalid(
            f'{shown} includes invalid characters for a local volume name, only "{_NAME_RULE}" '
            "are allowed. If you intended to pass a host directory, use absolute path"
        )
    if len(name) > _NAME_LIMIT:
        raise Invalid(f"volume name is too long, the limit is {_NAME_LIMIT} characters")
    return name


def valid_mode(mode: str) -> bool:
    """Whether the words of a mode are known, and at most one of each group."""
    if not mode:
        return True
    words = mode.split(",")
    for word in words:
        if not any(word in group for group in _MODE_GROUPS):
            return False
    return all(sum(word in group for word in words) <= 1 for group in _MODE_GROUPS)


def clean(path: str) -> str:
    """Go's ``path.Clean`` of an absolute path."""
    return "/" + posixpath.normpath(path).lstrip("/") if path.startswith("/") else path


def is_local(path: str) -> bool:
    """Go's ``filepath.IsLocal``: relative, not empty, and it stays inside."""
    if not path or path.startswith("/") or "\0" in path:
        return False
    return posixpath.normpath(path).split("/", 1)[0] != ".."


def parse_bind(raw: str, volume_driver: str = "") -> Wanted:
    """One ``Binds`` entry: ``[source:]target[:mode]``; ``Invalid`` with Docker's words."""
    parts = raw.split(":", 3)
    bad = f"invalid volume specification: '{raw}'"
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and valid_mode(parts[1])):
        raise Invalid(bad)
    mode = parts[2] if len(parts) == 3 else ""
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if not valid_mode(mode):
        raise Invalid(f"invalid mode: {mode}")
    words = mode.split(",")
    kind = "bind" if source.startswith("/") else "volume"
    propagation = next((word for word in words if word in PROPAGATIONS), "")
    try:
        _check_target(kind, target)
        if kind == "volume" and propagation:
            raise _config_error(kind, "field BindOptions must not be specified")
        if kind == "bind" and "nocopy" in words:
            raise _config_error(kind, "field VolumeOptions must not be specified")
        if kind == "volume" and not source and "ro" in words:
            raise _config_error(kind, "must not set ReadOnly mode when using anonymous volumes")
    except Invalid as error:
        raise Invalid(f"{bad}: {error.message}") from error
    return Wanted(
        kind,
        clean(target),
        clean(source),
        read_only="ro" in words,
        mode=mode,
        propagation=(propagation or DEFAULT_PROPAGATION) if kind == "bind" else "",
        create_source=True,
        no_copy="nocopy" in words,
        driver=volume_driver if kind == "volume" else "",
    )


def _config_error(kind: str, message: str) -> Invalid:
    return Invalid(f'invalid mount config for type "{kind}": {message}')


def _check_target(kind: str, target: str) -> None:
    if not target:
        raise _config_error(kind, "field Target must not be empty")
    if "\0" in target:
        raise _config_error(kind, "invalid mount path: it holds a NUL byte")
    if posixpath.normpath(target) in ("/", "//"):
        raise _config_error(kind, "invalid specification: destination can't be '/'")
    _check_absolute(kind, target)


def _check_absolute(kind: str, path: str) -> None:
    if not path.startswith("/"):
        raise _config_error(kind, f"invalid mount path: '{path}' mount path must be absolute")


def parse_mount(mount: Mount) -> Wanted:
    """One ``Mounts`` entry; whether a bind's source exists is checked by the planner.

    ``Invalid``: 'invalid mount config for type "bind": ...'.
    """
    kind = mount.type or ""
    _check_target(kind, mount.target or "")
    if kind not in ("bind", "volume", "tmpfs", "image"):
        raise _config_error(kind, "mount type unknown")
    _check_fields(kind, mount)
    consistency = mount.consistency or ""
    if consistency and consistency not in _CONSISTENCY:
        raise _config_error(kind, f"invalid consistency: {consistency}")
    target, source, read_only = clean(mount.target or ""), mount.source or "", bool(mount.read_only)
    if kind == "bind":
        return _bind_mount(mount, target, source, read_only)
    if kind == "volume":
        return _volume_mount(mount, target, source, read_only)
    if kind == "image":
        subpath = (mount.image_options and mount.image_options.subpath) or ""
        _check_subpath(kind, subpath)
        if not source:
            raise _config_error(kind, "field Source must not be empty")
        return Wanted(kind, target, source, read_only=True, subpath=subpath)
    if source:
        raise _config_error(kind, "field Source must not be specified")
    try:
        options = tmpfs_mount_options(mount.tmpfs_options, read_only)
    except Invalid as error:
        raise _config_error(kind, error.message) from error
    return Wanted(kind, target, read_only=read_only, tmpfs_options=options)


def _check_fields(kind: str, mount: Mount) -> None:
    for name, owner, value in (
        ("BindOptions", "bind", mount.bind_options),
        ("VolumeOptions", "volume", mount.volume_options),
        ("TmpfsOptions", "tmpfs", mount.tmpfs_options),
        ("ImageOptions", "image", mount.image_options),
    ):
        if value is not None and kind != owner:
            raise Invalid(f'{name} must not be specified on mount type "{kind}"')


def _check_subpath(kind: str, subpath: str) -> None:
    if subpath and not is_local(subpath):
        raise _config_error(kind, "subpath must be a relative path within the volume")


def _bind_mount(mount: Mount, target: str, source: str, read_only: bool) -> Wanted:
    if not source:
        raise _config_error("bind", "field Source must not be empty")
    options = mount.bind_options
    propagation = (options and options.propagation) or ""
    if propagation and propagation not in PROPAGATIONS:
        raise _config_error("bind", f"invalid propagation mode: {propagation}")
    _check_absolute("bind", source)
    recursion = ""
    if options is not None:
        if options.read_only_non_recursive and options.read_only_force_recursive:
            raise _config_error(
                "bind", "must not set both ReadOnlyNonRecursive and ReadOnlyForceRecursive"
            )
        for wanted, name in (
            (options.read_only_non_recursive, "ReadOnlyNonRecursive"),
            (options.read_only_force_recursive, "ReadOnlyForceRecursive"),
        ):
            if wanted and not read_only:
                raise _config_error("bind", f"{name} requires ReadOnly")
        if options.read_only_force_recursive:
            recursion = "force"
            if propagation not in ("", DEFAULT_PROPAGATION):
                raise _config_error("bind", "ReadOnlyForceRecursive requires rprivate propagation")
        elif options.read_only_non_recursive:
            recursion = "none"
    return Wanted(
        "bind",
        target,
        clean(source),
        read_only=read_only,
        propagation=propagation or DEFAULT_PROPAGATION,
        non_recursive=bool(options and options.non_recursive),
        read_only_recursion=recursion,
        create_source=bool(options and options.create_mountpoint),
        idmap=_idmap(options),
    )


def _idmap(options: BindOptions | None) -> str:
    idmap = (options and options.idmap) or ""
    if idmap not in ("", "match-user"):
        raise _config_error("bind", f"invalid idmap: {idmap} (only match-user is known)")
    return idmap


def _volume_mount(mount: Mount, target: str, source: str, read_only: bool) -> Wanted:
    options = mount.volume_options
    subpath = (options and options.subpath) or ""
    if subpath and not source:
        raise _config_error("volume", "must not set Subpath when using anonymous volumes")
    _check_subpath("volume", subpath)
    if read_only and not source:
        raise _config_error("volume", "must not set ReadOnly mode when using anonymous volumes")
    driver = options.driver_config if options else None
    return Wanted(
        "volume",
        target,
        source,
        read_only=read_only,
        no_copy=bool(options and options.no_copy),
        subpath=subpath,
        labels=dict((options and options.labels) or {}),
        driver=(driver and driver.name) or "",
        driver_options=dict((driver and driver.options) or {}),
    )


_TMPFS_FLAGS: tuple[tuple[str, ...], ...] = (
    ("exec", "noexec"),
    ("suid", "nosuid"),
    ("dev", "nodev"),
    ("ro", "rw"),
    ("atime", "noatime"),
    ("diratime", "nodiratime"),
    ("relatime", "norelatime"),
    ("strictatime", "nostrictatime"),
    ("sync", "async"),
    ("dirsync",),
    ("mand", "nomand"),
    ("defaults",),
    ("bind", "rbind"),
    ("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"),
)
_TMPFS_VALUES = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")


def merge_tmpfs(words: Iterable[str]) -> tuple[str, ...]:
    """Defaults noexec, nosuid, nodev and the user's words; the last one of each group wins.

    ``Invalid``: 'invalid tmpfs option ["x" "y"]'.
    """
    found: dict[str, str] = {}
    for word in (*_TMPFS_DEFAULTS, *words):
        key, equals, value = word.partition("=")
        group = next((each[0] for each in _TMPFS_FLAGS if word in each), "")
        if equals and key in _TMPFS_VALUES and value:
            group = key
        if not group:
            raise Invalid(f'invalid tmpfs option ["{key}" "{value}"]')
        found.pop(group, None)
        if word != "defaults":
            found[group] = word
    return tuple(found.values())


def tmpfs_mount_options(options: TmpfsOptions | None, read_only: bool) -> tuple[str, ...]:
    """Options of ``--mount type=tmpfs``: size in bytes, mode in octal, further pairs."""
    words = ["ro"] if read_only else []
    if options is not None:
        if options.mode:
            if not 0 < options.mode < 1 << 32:
                raise Invalid(f"invalid mode: {options.mode:o}")
            words.append(f"mode={options.mode:o}")
        if options.size_bytes:
            if options.size_bytes < 0:
                raise Invalid(f"invalid size: '{options.size_bytes}'")
            words.append(f"size={options.size_bytes}")
        for pair in options.options or ():
            if len(pair) not in (1, 2):
                raise Invalid("invalid option array length")
            words.append("=".join(pair))
    return merge_tmpfs(words)


def parse_tmpfs(tmpfs: Mapping[str, str] | None) -> list[Wanted]:
    """``HostConfig.Tmpfs``: path -> options separated by commas."""
    wanted = []
    for path, text in (tmpfs or {}).items():
        if clean(path) == "/":
            raise Invalid("invalid specification: destination can't be '/'")
        _check_target("tmpfs", path)
        options = merge_tmpfs(word for word in text.split(",") if word)
        wanted.append(
            Wanted(
                "tmpfs",
                clean(path),
                read_only="ro" in options,
                tmpfs_options=options,
                listed=False,
            )
        )
    return wanted


def parse_volumes_from(raw: str) -> tuple[str, str]:
    """``container[:mode]`` -> (container, mode); ``Invalid``: "invalid mode: x"."""
    if not raw:
        raise Invalid("volumes-from specification cannot be an empty string")
    container, _, mode = raw.partition(":")
    words = (mode or "rw").split(",")
    if not valid_mode(mode or "rw") or any(w in PROPAGATIONS or w == "nocopy" for w in words):
        raise Invalid(f"invalid mode: {mode}")
    if not container:
        raise Invalid(f"invalid volumes-from specification: {raw}")
    return container, mode or "rw"


def check_unique(wanted: Sequence[Wanted]) -> None:
    """``Invalid``: "Duplicate mount point: /x" when two explicit mounts share a target."""
    seen: set[str] = set()
    for each in wanted:
        if each.target in seen:
            raise Invalid(f"Duplicate mount point: {each.target}")
        seen.add(each.target)


def depth(target: str) -> int:
    """Parts of a path: shallower mounts go first, so that deeper ones are not covered."""
    return len([part for part in target.split("/") if part])
