"""Archives as other tools write them, made in memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **more: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode, member.mtime = kind, link, 0o644, 1_600_000_000
    if kind == tarfile.DIRTYPE:
        member.mode = 0o755
    for key, value in more.items():
        setattr(member, key, value)
    return member


def files(content: Mapping[str, bytes]) -> bytes:
    """A tar of plain files; names that end in / are folders."""
    return tar(
        [
            (info(name, tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE), data)
            for name, data in content.items()
        ]
    )


def config(layers: Sequence[bytes], **more: Any) -> bytes:
    value = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-01T10:00:00.5Z",
        "config": {"Cmd": ["sh"], "Labels": {"kind": "test"}},
        "rootfs": {"type": "layers", "diff_ids": [sha(layer) for layer in layers]},
        "history": [
            {"created": "2024-05-01T10:00:00Z", "created_by": f"layer {n}"}
            for n in range(len(layers))
        ],
        **more,
    }
    return json.dumps(value).encode()


def docker_archive(
    layers: Sequence[bytes], names: Sequence[str], *, zipped: bool = False, **more: Any
) -> bytes:
    settings = config(layers, **more)
    config_name = sha(settings)[7:] + ".json"
    content = {config_name: settings}
    paths = []
    for index, layer in enumerate(layers):
        path = f"{index:064x}/layer.tar"
        content[path] = gzip.compress(layer, mtime=0) if zipped else layer
        paths.append(path)
    entry = {"Config": config_name, "RepoTags": list(names) or None, "Layers": paths}
    content["manifest.json"] = json.dumps([entry]).encode()
    return files(content)


class Layout:
    """An OCI layout under construction."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(self, data: bytes) -> str:
        self.content[f"blobs/sha256/{sha(data)[7:]}"] = data
        return sha(data)

    def descriptor(self, data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        return {"mediaType": kind, "digest": self.blob(data), "size": len(data), **more}

    def manifest(self, layers: Sequence[bytes], *, zipped: bool = True, **more: Any) -> bytes:
        prefix = "application/vnd.oci.image."
        value = {
            "schemaVersion": 2,
            "mediaType": prefix + "manifest.v1+json",
            "config": self.descriptor(config(layers, **more), prefix + "config.v1+json"),
            "layers": [
                self.descriptor(gzip.compress(layer, mtime=0), prefix + "layer.v1.tar+gzip")
                if zipped
                else self.descriptor(layer, prefix + "layer.v1.tar")
                for layer in layers
            ],
        }
        return json.dumps(value).encode()

    def finish(self, manifests: Sequence[dict[str, Any]]) -> bytes:
        self.content["index.json"] = json.dumps(
            {"schemaVersion": 2, "manifests": list(manifests)}
        ).encode()
        return files(self.content)


MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def oci_archive(layers: Sequence[bytes], name: str, **more: Any) -> bytes:
    layout = Layout()
    annotations = {"org.opencontainers.image.ref.name": name} if name else {}
    return layout.finish(
        [layout.descriptor(layout.manifest(layers, **more), MANIFEST, annotations=annotations)]
    )
