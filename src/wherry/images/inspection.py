"""``inspect`` and ``history``: one image as the Engine API shows it."""

from __future__ import annotations

from typing import Any

from wherry.images.catalogue import Catalogue, Named
from wherry.oci import digest as digests
from wherry.wire.durations import ZERO_TIME, parse_rfc3339, rfc3339


def created_ns(text: str | None) -> int | None:
    """A configuration's ``created`` in nanoseconds; None when absent or malformed."""
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except Exception:
        return None


def repository_texts(catalogue: Catalogue, image_id: str) -> tuple[list[str], list[str]]:
    """``RepoTags`` and ``RepoDigests``."""
    found = catalogue.references_of(image_id)
    tags = [each.familiar() for each in found if not each.digest]
    return tags, [each.without_tag().familiar() for each in found if each.digest]


def default_config() -> dict[str, Any]:
    """The fields that Docker always shows in ``Config``."""
    return {
        "Hostname": "",
        "Domainname": "",
        "User": "",
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": None,
        "Cmd": None,
        "Image": "",
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "OnBuild": None,
        "Labels": None,
    }


def inspect(catalogue: Catalogue, named: Named) -> dict[str, Any]:
    """The body of ``GET /images/{name}/json``."""
    row = named.rows[0]
    image = catalogue.image(row)
    config = image.config
    tags, repo_digests = repository_texts(catalogue, image.id)
    tagged = catalogue.tables.last_tagged(image.id)
    created = created_ns(config.created)
    kinds = {
        found.kind
        for diff_id in image.layers
        if (found := catalogue.tables.layer(diff_id)) is not None
    }
    result: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": repo_digests,
        "Parent": catalogue.tables.parent(image.id),
        "Comment": config.history[-1].comment or "" if config.history else "",
        "Created": rfc3339(created) if created is not None else ZERO_TIME,
        "Container": config.container or "",
        "ContainerConfig": default_config() | (config.container_config or {}),
        "DockerVersion": config.docker_version or "",
        "Author": config.author,
        "Config": default_config() | (config.config or {}),
        "Architecture": config.architecture or row.architecture,
        "Variant": config.variant,
        "Os": config.os or row.os,
        "OsVersion": config.os_version,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {
            "Name": "overlayfs",
            "Data": {"Layers": ", ".join(sorted(kinds))} if kinds else None,
        },
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"LastTagTime": rfc3339(tagged) if tagged else ZERO_TIME},
    }
    for name in ("Variant", "OsVersion"):
        if not result[name]:
            del result[name]
    return result


def history(catalogue: Catalogue, named: Named) -> list[dict[str, Any]]:
    """Rows of ``GET /images/{name}/history``, newest first.

    Only the topmost row has an id, unless a parent kept on this machine is known.
    """
    image = catalogue.image(named.rows[0])
    sizes = [catalogue.layers.size(diff_id) for diff_id in image.layers]
    rows: list[dict[str, Any]] = []
    at = 0
    for entry in image.config.history or []:
        size = 0
        if not entry.empty_layer and at < len(sizes):
            size = sizes[at]
            at += 1
        created = created_ns(entry.created)
        rows.append(
            {
                "Id": "<missing>",
                "Created": created // 1_000_000_000 if created is not None else 0,
                "CreatedBy": entry.created_by or "",
                "Tags": None,
                "Size": size,
                "Comment": entry.comment or "",
            }
        )
    if not rows:
        rows = [
            {
                "Id": "<missing>",
                "Created": (created_ns(image.config.created) or 0) // 1_000_000_000,
                "CreatedBy": "",
                "Tags": None,
                "Size": size,
                "Comment": "",
            }
            for size in sizes or [0]
        ]
    rows.reverse()
    _name_parents(catalogue, image.id, rows)
    return rows


def _name_parents(catalogue: Catalogue, image_id: str, rows: list[dict[str, Any]]) -> None:
    """Give a row the id of the image that ended there: this one and its known parents."""
    following = image_id
    known = {len(rows): image_id}
    while parent := catalogue.tables.parent(following):
        try:
            known[len(catalogue.config(parent).history or [])] = parent
        except Exception:
            break
        following = parent
    for place, row in enumerate(rows):
        owner = known.get(len(rows) - place)
        if owner is not None:
            tags, _ = repository_texts(catalogue, owner)
            row["Id"], row["Tags"] = owner, tags or None


def chain_ids(layers: tuple[str, ...]) -> list[str]:
    """ChainID of every depth, base first."""
    return [digests.chain_id(list(layers[: depth + 1])) for depth in range(len(layers))]
