"""Sizes of trees: of files alone, each once."""

from __future__ import annotations

import os
from pathlib import Path

from wherry.trees.size import tree_size


def test_files_count_once_and_directories_not(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "file").write_bytes(bytes(1000))
    os.link(below / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("a/b")
    os.mkfifo(tmp_path / "pipe")
    assert tree_size(tmp_path) == 1000 + len("a/b")


def test_what_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert tree_size(tmp_path / "none") == 0
