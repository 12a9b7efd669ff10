"""A context in one file, as ``docker context export`` writes it: a tar, or a zip to import.

It holds ``meta.json`` and ``tls/<endpoint>/<file>``. Files of others are not trusted: names are
checked, sizes are bounded, nothing is unpacked to disk.
"""

from __future__ import annotations

import io
import json
import re

from wherry.client.errors import BadHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_MOST = 10 << 20
"""Bytes of a context, all files together."""
_TLS = re.compile(r"tls/([A-Za-z0-9_-][A-Za-z0-9_.-]*)/([A-Za-z0-9_-][A-Za-z0-9_.-]*)")


def pack(meta: Mapping[str, Any], tls: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """The tar of a context."""
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:

        def add(name: str, mode: int, content: bytes | None = None) -> None:
            member = tarfile.TarInfo(name)
            member.mode = mode
            if content is None:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

        text = json.dumps(meta, separators=(",", ":"), ensure_ascii=False)
        add("meta.json", 0o644, text.encode())
        add("tls", 0o700)
        for endpoint, files in tls.items():
            add(f"tls/{endpoint}", 0o700)
            for file, content in files.items():
                add(f"tls/{endpoint}/{file}", 0o600, content)
    return out.getvalue()


def unpack(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, dict[str, bytes]]]:
    """Metadata under another name, and TLS files. Raises :class:`BadHost`."""
    if len(data) > _MOST:
        raise BadHost(f"invalid context: it is larger than {_MOST} bytes")
    meta: Any = None
    tls: dict[str, dict[str, bytes]] = {}
    for path, content in _members(data):
        match = _TLS.fullmatch(path)
        if path == "meta.json":
            try:
                meta = json.loads(content)
            except ValueError as error:
                raise BadHost(f"invalid context: meta.json: {error}") from None
        elif match is not None:
            tls.setdefault(match[1], {})[match[2]] = content
        else:
            raise BadHost(f"invalid context: unexpected file {path!r}")
    if meta is None:
        raise BadHost("invalid context: no metadata found")
    if not isinstance(meta, dict) or not isinstance(meta.get("Endpoints"), dict):
        raise BadHost("invalid context: meta.json names no endpoints")
    metadata = meta.get("Metadata")
    kept = metadata if isinstance(metadata, dict) else {}
    return {"Name": name, "Metadata": kept, "Endpoints": meta["Endpoints"]}, tls


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The regular files of a tar or zip, whatever is compressed bounded as well."""
    import tarfile
    import zipfile

    left = _MOST
    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as box:
                for item in box.infolist():
                    if item.is_dir():
                        continue
                    with box.open(item) as opened:
                        content = opened.read(left + 1)
                    left -= _checked(len(content), left)
                    yield item.filename, content
            return
        # Docker's client leaves out the end of the archive, even the last file's padding.
        with tarfile.open(fileobj=io.BytesIO(data + bytes(1024)), mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                file = archive.extractfile(member) if member.isreg() else None
                if file is None:
                    raise BadHost(f"invalid context: {member.name!r} is no regular file")
                left -= _checked(member.size, left)
                yield member.name.removeprefix("./"), file.read()
    except (tarfile.TarError, zipfile.BadZipFile, OSError, RuntimeError, EOFError) as error:
        if isinstance(error, tarfile.ReadError) and not data.strip(b"\0"):
            return
        raise BadHost(f"invalid context: neither a tar nor a zip: {error}") from None


def _checked(size: int, left: int) -> int:
    if size > left:
        raise BadHost(f"invalid context: it is larger than {_MOST} bytes")
    return size
