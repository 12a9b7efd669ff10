"""Fields that the API leaves out when they are empty, for ``inspect --format``.

Docker's client renders typed objects: a field of theirs that did not come is null, empty, 0 or
false; only a field that no object has is an error. Pure; loaded when a template is used.
"""

from __future__ import annotations

from typing import Any


def _zeros(null: str = "", empty: str = "", zero: str = "", false: str = "") -> dict[str, Any]:
    """Names, separated by spaces, of the fields with each zero value."""
    kinds: list[tuple[str, Any]] = [(null, None), (empty, ""), (zero, 0), (false, False)]
    return {name: value for names, value in kinds for name in names.split()}


_CONFIG = _zeros(
    null="Cmd Entrypoint Env ExposedPorts Healthcheck Labels OnBuild Shell StopTimeout Volumes",
    empty="Domainname Hostname Image MacAddress StopSignal User WorkingDir",
    false="ArgsEscaped AttachStderr AttachStdin AttachStdout NetworkDisabled OpenStdin StdinOnce "
    "Tty",
)
_HEALTHCHECK = _zeros(null="Test", zero="Interval Retries StartInterval StartPeriod Timeout")
ZEROS = {
    "container": _zeros(null="ExecIDs ImageManifestDescriptor Mounts SizeRootFs SizeRw"),
    "container.State": _zeros(null="Health"),
    "container.Config": _CONFIG,
    "container.Config.Healthcheck": _HEALTHCHECK,
    "container.HostConfig": _zeros(
        null="Annotations DependsOn Init Mounts StorageOpt Sysctls Tmpfs",
        zero="KernelMemory KernelMemoryTCP",
    ),
    "container.HostConfig.Mounts": _zeros(
        null="BindOptions ImageOptions TmpfsOptions VolumeOptions",
        empty="Consistency Source Target Type",
        false="ReadOnly",
    ),
    "container.Mounts": _zeros(empty="Driver Name Source Type"),
    "image": _zeros(
        null="ContainerConfig Descriptor Manifests RepoDigests RepoTags",
        empty="Author Comment Container Created DockerVersion OsVersion Parent Variant",
        zero="VirtualSize",
    ),
    "image.Config": _CONFIG,
    "image.Config.Healthcheck": _HEALTHCHECK,
    "network": _zeros(null="Peers Services"),
    "volume": _zeros(null="ClusterVolume Status UsageData", empty="CreatedAt"),
}
"""By the place in the object of each kind; a list stands for its elements."""


class _Typed(dict[str, Any]):
    """An object whose zeros are found by name alone: as JSON, in loops, it is what came."""

    def __init__(self, came: dict[str, Any], zeros: dict[str, Any]) -> None:
        super().__init__(came)
        self._zeros = zeros

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._zeros

    def __missing__(self, name: str) -> Any:
        return self._zeros[name]


def typed(place: str, value: Any) -> Any:
    """``value`` as it came from the API, with its zeros. ``place`` begins with the kind."""
    if isinstance(value, list):
        return [typed(place, each) for each in value]
    if isinstance(value, dict):
        inner = {name: typed(f"{place}.{name}", each) for name, each in value.items()}
        return _Typed(inner, ZEROS.get(place, {}))
    return value
