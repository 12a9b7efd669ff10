"""Logs of real containers: rotation, following, attaching with the log so far."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from tests.engine.container_host import ContainerHost, container_host, read_until

from wherry.containers.service import AttachOptions, LogOptions
from wherry.linux.tasks import spawn
from wherry.wire.container import HostConfig, LogConfig

pytestmark = pytest.mark.root
LIMIT = 60.0


@pytest.fixture
async def host() -> AsyncIterator[ContainerHost]:
    async with container_host() as made:
        yield made


def log_host(**options: str) -> HostConfig:
    config = {name.replace("_", "-"): value for name, value in options.items()}
    return HostConfig(network_mode="none", log_config=LogConfig(type="json-file", config=config))


def counting(last: int) -> tuple[str, str, str]:
    text = "a" * 80
    script = f"i=0; while [ $i -lt {last} ]; do echo $i {text}; i=$((i+1)); done"
    return ("sh", "-c", script)


def numbers(text: str) -> list[int]:
    return [int(line.split()[0]) for line in text.splitlines()]


async def said(host: ContainerHost, container: str, data: bytes) -> None:
    """Until the log has this line."""
    async with aclosing(host.engine.logs(container, LogOptions(follow=True))) as batches:
        async for lines in batches:
            if any(line.data == data for line in lines):
                return


async def test_a_follower_gets_every_line_through_many_rotations(host: ContainerHost) -> None:
    container = await host.make(*counting(30_000), host=log_host(max_size="200k", max_file="3"))
    await host.engine.start(container)
    followed = b""
    async with asyncio.timeout(LIMIT):
        batches = host.engine.logs(container, LogOptions(follow=True))
        async for lines in batches:
            followed += b"".join(line.data for line in lines)
    assert numbers(followed.decode()) == list(range(30_000))
    # The oldest segment may begin with the rest of a line.
    kept = numbers((await host.log(container)).partition("\n")[2])
    assert kept == list(range(30_000 - len(kept), 30_000))
    assert kept
    root = host.paths.container(container).root
    await host.until(lambda: len(list(root.glob("*log*"))) <= 3)


async def test_older_segments_are_compressed_also_after_a_restart(host: ContainerHost) -> None:
    script = f"{counting(5000)[2]}; cat"
    container = await host.make("sh", "-c", script, host=log_host(max_size="100k"), open_stdin=True)
    await host.engine.start(container)
    root = host.paths.container(container).root
    await host.until(lambda: bool(list(root.glob("log.1*"))))
    await host.reopen()
    await host.until(lambda: bool(list(root.glob("log.1.gz"))))
    await host.until(lambda: not list(root.glob("log.[0-9]")))
    assert numbers(await host.log(container))[-1] == 4999


async def test_attach_with_logs_loses_and_repeats_nothing(host: ContainerHost) -> None:
    """Clients join at any moment of a busy container: each gets every byte once."""
    script = f"{counting(20_000)[2]}; echo 20000; cat"
    container = await host.make("sh", "-c", script, open_stdin=True)
    await host.engine.start(container)
    options = AttachOptions(logs=True, stream=True, stdout=True, stderr=True)

    async def one(delay: float) -> str:
        await asyncio.sleep(delay)
        session = await host.engine.attach(container, options)
        chunks: list[bytes] = []
        while chunks[-1:] != [b"20000\n"]:
            chunk = await session.read()
            assert chunk is not None
            chunks.append(chunk[1])
        await session.close()
        return b"".join(chunks).decode()

    async with asyncio.timeout(LIMIT):
        texts = await asyncio.gather(*(one(number / 50) for number in range(6)))
    assert [numbers(text) for text in texts] == [list(range(20_001))] * 6


async def test_attach_with_logs_and_input(host: ContainerHost) -> None:
    container = await host.make("sh", "-c", "echo before; cat", open_stdin=True, stdin_once=True)
    await host.engine.start(container)
    async with asyncio.timeout(LIMIT):
        await said(host, container, b"before\n")
        session = await host.engine.attach(
            container, AttachOptions(logs=True, stream=True, stdin=True, stdout=True)
        )
        assert await session.read() == (1, b"before\n")
        await session.write(b"typed\n")
        assert await session.read() == (1, b"typed\n")
        await session.close_stdin()
        assert await session.read() is None
        await session.close()


async def test_a_client_that_leaves_while_it_waits(host: ContainerHost) -> None:
    container = await host.run("sleep", "100")
    session = await host.engine.attach(
        container, AttachOptions(logs=True, stream=True, stdout=True)
    )
    reading = spawn(session.read(), name="read")
    await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT):
        await session.close()
        assert await reading is None


async def test_clear_forgets_what_was_and_keeps_what_comes(host: ContainerHost) -> None:
    container = await host.make("sh", "-c", "echo old; read x; echo new", open_stdin=True)
    await host.engine.start(container)
    async with asyncio.timeout(LIMIT):
        await said(host, container, b"old\n")
        follower = host.engine.logs(container, LogOptions(follow=True))
        assert [line.data for line in await anext(follower)] == [b"old\n"]
        await host.engine.clear_logs(container)
        assert await host.log(container) == ""
        session = await host.engine.attach(container, AttachOptions(stream=True, stdin=True))
        await session.write(b"\n")
        assert [line.data for lines in [await anext(follower)] for line in lines] == [b"new\n"]
        await session.close()
        assert [each async for each in follower] == []
    assert await host.log(container) == "new\n"


async def test_a_client_that_stops_reading_a_log_holds_nothing(host: ContainerHost) -> None:
    container = await host.make(*counting(3000), host=log_host(max_size="100k"))
    await host.engine.start(container)
    await host.engine.wait(container)
    log = host.paths.container(container).log
    batches = host.engine.logs(container, LogOptions())
    async with aclosing(batches):
        await anext(batches)
    held = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert not [each for each in held if each.startswith(f"{log.parent}/log")]


BATCH = """
while read word; do
    i=0
    while [ $i -lt 100 ]; do
        echo $word $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
        i=$((i+1))
    done
    echo $word end
done
"""


async def test_a_line_that_a_full_disk_cut_short_stays_alone(host: ContainerHost) -> None:
    small_file_system(host.paths.containers)
    container = await host.make("sh", "-c", BATCH, open_stdin=True)
    await host.engine.start(container)
    session = await host.engine.attach(
        container, AttachOptions(stream=True, stdin=True, stdout=True)
    )

    async def say(word: str) -> None:
        await session.write(f"{word}\n".encode())
        await read_until(session, f"{word} end\n")

    filler = host.paths.containers / "filler"
    async with asyncio.timeout(LIMIT):
        await say("a")
        fill(filler, spare=1)
        await say("b")
        filler.unlink()
        await say("c")
        await session.close()
    lines = (await host.log(container)).splitlines()
    assert [line for line in lines if not re.fullmatch(r"[abc]( end|( \d*( x*)?)?)", line)] == []
    whole = [line for line in lines if line.endswith("x" * 49)]
    assert [line.split()[1] for line in whole if line[0] == "a"] == [str(n) for n in range(100)]
    assert [line.split()[1] for line in whole if line[0] == "c"] == [str(n) for n in range(100)]
    assert len([line for line in whole if line[0] == "b"]) < 100


def small_file_system(folder: Path) -> None:
    """Half a megabyte; the host's end unmounts it."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=True)


def fill(filler: Path, *, spare: int) -> None:
    """Take all pages of a file system but some."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - spare * 4096)
