"""The watch on the event loop names what held it, and is not there unless asked for."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from wherry.daemon.loopwatch import VARIABLE, WatchedLoop, loop_factory


@pytest.mark.parametrize("text", ["", "0", "-5", "often"])
def test_nothing_is_watched_unless_asked_for(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert loop_factory() is None
    monkeypatch.delenv(VARIABLE)
    assert loop_factory() is None


def hold(loop: WatchedLoop) -> None:
    """Until the watch has seen it."""
    end = time.monotonic() + 30
    while not loop.seen and time.monotonic() < end:
        time.sleep(0.001)


def test_what_holds_the_loop_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, "50")
    factory = loop_factory()
    assert factory is not None

    async def work() -> int:
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchedLoop)
        hold(loop)
        await asyncio.to_thread(time.sleep, 0)
        return 7

    with (
        caplog.at_level(logging.WARNING, logger="wherryd.loop"),
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        assert runner.run(work()) == 7
    assert any(
        "held for" in each.getMessage() and " hold" in each.getMessage() for each in caplog.records
    )
