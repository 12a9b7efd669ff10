"""The attach socket's stream, over a pair of sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from wherry.linux.tasks import spawn
from wherry.runtime.attach import SocketStream

MUCH = bytes(range(256)) * 40_000


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


async def full(stream: SocketStream) -> None:
    """Until a write waits for room."""
    for _ in range(100_000):
        if stream._writing is not None:
            return
        await asyncio.sleep(0)
    raise AssertionError("it never waited")


async def test_much_is_written_in_packets(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    stream = SocketStream(ours)
    writing = spawn(stream.write(MUCH), name="write", awaited=True)
    await full(stream)
    got = bytearray()
    while len(got) < len(MUCH):
        packet = await asyncio.get_running_loop().sock_recv(theirs, 1 << 16)
        assert 0 < len(packet) <= 8192
        got += packet
    await writing
    await stream.close()
    assert got == MUCH


@pytest.mark.parametrize("park", [False, True])
async def test_a_write_ends_when_the_stream_is_closed(
    pair: tuple[socket.socket, socket.socket], park: bool
) -> None:
    stream = SocketStream(pair[0], park=park)
    writing = spawn(stream.write(MUCH), name="write", awaited=True)
    await full(stream)
    await stream.close()
    async with asyncio.timeout(60):
        await writing
    pair[1].close()


async def test_a_write_to_what_has_ended_is_lost(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    stream = SocketStream(pair[0])
    writing = spawn(stream.write(MUCH), name="write", awaited=True)
    await full(stream)
    pair[1].close()
    async with asyncio.timeout(60):
        await writing
    await stream.close()
