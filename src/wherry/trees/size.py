"""How much the files of a tree hold."""

from __future__ import annotations

import os
from pathlib import Path


def tree_size(root: Path | str) -> int:
    """Bytes of all files below ``root``, hard links counted once. What vanishes meanwhile, or
    cannot be read, counts nothing."""
    total, seen, pending = 0, set[tuple[int, int]](), [os.fspath(root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                entries = list(found)
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if info.st_nlink > 1:
                if (info.st_dev, info.st_ino) in seen:
                    continue
                seen.add((info.st_dev, info.st_ino))
            total += info.st_size
    return total
