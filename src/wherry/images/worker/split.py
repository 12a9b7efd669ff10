"""The outer tar of ``load``: each member into a file of the job's folder, hashed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wherry.errors import Invalid
from wherry.images.worker.sink import Sink
from wherry.images.worker.stream import ForwardSource
from wherry.trees import tarfmt

_MEMBERS = 100_000


@dataclass(frozen=True)
class Piece:
    """One file of the archive, now ``path`` in the job's folder."""

    path: Path
    digest: str
    size: int


@dataclass
class Pieces:
    files: dict[str, Piece] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic and hard links between members, both sides as names in the archive."""

    def find(self, name: str) -> Piece | None:
        """The file called ``name``, through links."""
        for _ in range(8):
            if name in self.files:
                return self.files[name]
            if name not in self.links:
                return None
            name = self.links[name]
        return None

    def text(self, name: str, limit: int = 16 << 20) -> bytes | None:
        """A document's bytes; None when there is none of that name."""
        piece = self.find(name)
        if piece is None:
            return None
        if piece.size > limit:
            raise Invalid(f"{name} is too large: {piece.size} bytes")
        return piece.path.read_bytes()


def _join(base: str, link: str) -> str:
    """Target of a symbolic link in the folder ``base``, from the archive's root."""
    whole = link if link.startswith("/") else f"{base}/{link}"
    return tarfmt.clean(b"/" + whole.encode("utf-8", "surrogateescape")).decode(
        "utf-8", "surrogateescape"
    )


def split(chunks: Iterator[bytes], folder: Path) -> Pieces:
    """Write every regular member below ``folder``; a later member of a name replaces it."""
    source = ForwardSource(chunks)
    pieces = Pieces()
    for index, entry in enumerate(tarfmt.entries(source)):
        if index > _MEMBERS:
            raise Invalid(f"too many files in the archive: more than {_MEMBERS}")
        name = tarfmt.clean(entry.name).decode("utf-8", "surrogateescape")
        if entry.kind == tarfmt.REGULAR and entry.sparse is None:
            sink = Sink(folder / f"piece-{index}")
            try:
                for part in source.pieces(entry.stored):
                    sink.write(part)
            finally:
                digest = sink.close(sync=False)
            pieces.files[name] = Piece(sink.path, digest, sink.size)
            pieces.links.pop(name, None)
        elif entry.kind in (tarfmt.SYMLINK, tarfmt.LINK):
            link = entry.link.decode("utf-8", "surrogateescape")
            base = name.rpartition("/")[0] if entry.kind == tarfmt.SYMLINK else ""
            pieces.links[name] = _join(base, link)
    source.drain()
    return pieces
