"""Where a line comes from: what every driver says of the container. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wherry.containers.shipping.options import Options, tag_template
from wherry.errors import Invalid, WherryError

_SHORT = 12


@dataclass(frozen=True)
class Origin:
    id: str
    name: str
    """Without the leading slash."""
    image_id: str
    image_name: str
    command: Sequence[str]
    created: str
    """RFC 3339."""
    hostname: str
    """The host's, not the container's."""
    tag: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Labels and variables that the options ask for."""


_SAMPLE = Origin("0" * 64, "name", "sha256:" + "0" * 64, "image", ["command"], "", "host")


def check_tag(options: Options) -> None:
    """Raises ``Invalid`` for a ``tag`` that is malformed or names a field that is not there.

    What else fails may depend on the container (an index, a slice): that is not judged here.
    """
    text = options.get("tag", "")
    if not text:
        return
    template = tag_template(options)
    try:
        template.render(_fields(_SAMPLE), struct="Info")
    except WherryError as error:
        if "can't evaluate field" in error.message:
            raise Invalid(f"invalid value for tag: {text}: {error.message}") from None


def tag_of(origin: Origin, options: Options) -> str:
    """The option ``tag`` over Docker's fields; the short id where it cannot be rendered."""
    try:
        return tag_template(options).render(_fields(origin), struct="Info")
    except WherryError:
        return origin.id[:_SHORT]


def _fields(origin: Origin) -> dict[str, Any]:
    short_image = origin.image_id.removeprefix("sha256:")[:_SHORT]
    return {
        "ID": origin.id[:_SHORT],
        "FullID": origin.id,
        "Name": origin.name,
        "ImageID": short_image,
        "ImageFullID": origin.image_id,
        "ImageName": origin.image_name,
        "Command": " ".join(origin.command),
        "Hostname": origin.hostname,
        "DaemonName": "wherry",
        "ContainerID": origin.id,
        "ContainerName": f"/{origin.name}",
        "ExtraAttributes": dict(origin.extra),
    }
