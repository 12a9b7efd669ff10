"""Short commands."""

from __future__ import annotations

import os

import pytest

from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import RecordingSyscalls
from wherry.runtime.commands import Commands


async def test_no_descriptor_is_left_when_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.memfd_create
    made: list[int] = []

    def last(name: str) -> int:
        if made:
            raise OSError(24, "Too many open files")
        made.append(real(name))
        return made[0]

    monkeypatch.setattr(os, "memfd_create", last)
    with pytest.raises(OSError, match="Too many open files"):
        await Commands(PrivateMounts(RecordingSyscalls())).run(["/bin/true"])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])
