"""Names of members, where an archive is unpacked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.errors import Invalid
from wherry.trees import tarfmt, tarwrite
from wherry.trees.incoming import Chunks, Incoming
from wherry.trees.unpack import Target, Unpacker


def unpack(folder: Path, name: bytes) -> None:
    def opened(path: str) -> int:
        return os.open(folder / path, os.O_RDONLY | os.O_DIRECTORY)

    def refusal(error: OSError, path: str) -> Exception:
        return error

    archive = tarwrite.member(name, tarfmt.REGULAR, tarwrite.Attributes()) + tarwrite.END
    target = Target("/d", opened, refusal, (os.getuid(), os.getgid()))
    Unpacker(Incoming(Chunks(iter([archive]))), target).run()


@pytest.mark.parametrize("name", [b"..a", b"..a/b", b"a/../..b", b"...", b"a..", b"/../a"])
def test_two_dots_in_a_name_are_no_way_out(tmp_path: Path, name: bytes) -> None:
    unpack(tmp_path, name)
    assert any(tmp_path.iterdir())


@pytest.mark.parametrize("name", [b"../a", b"a/../../b", b".."])
def test_a_way_out_is_refused(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(Invalid, match="is outside of"):
        unpack(tmp_path, name)
