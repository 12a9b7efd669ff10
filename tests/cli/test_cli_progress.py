"""Bars and counters of long work: on a terminal only, and gone when it is done."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.fake_daemon import Exchange, FakeDaemon
from tests.support.clients import ROOT, Terminal

from wherry.cli.main import main
from wherry.cli.meter import Meter, Waiting, size_of

SECONDS = 60.0
CLEAR = "\r\x1b[2K"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a fifth of a second after the one before."""
    now = [0.0]

    def tick() -> float:
        now[0] += 0.2
        return now[0]

    monkeypatch.setattr("wherry.cli.meter.time.monotonic", tick)


def test_a_bar_and_its_end(clock: None) -> None:
    out = io.StringIO()
    pieces = list(Meter("Sending x", 4000, out).through([b"a" * 1000] * 4))
    assert pieces == [b"a" * 1000] * 4
    lines = out.getvalue().split(CLEAR)
    assert lines.pop() == ""
    shown = [line for line in lines if line]
    assert shown
    assert all(line.startswith("Sending x [") and line.endswith("/s") for line in shown)
    assert "4kB/4kB" in shown[-1]


def test_a_counter_where_the_size_is_not_known(clock: None) -> None:
    out = io.StringIO()
    list(Meter("Writing x", out=out).through([b"a" * 1000] * 4))
    assert "Writing x  4kB  " in out.getvalue()
    assert out.getvalue().endswith(CLEAR)


def test_it_is_gone_after_a_failure(clock: None) -> None:
    out = io.StringIO()

    def broken() -> Iterator[bytes]:
        yield b"a"
        yield b"b"
        raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        list(Meter("x", out=out).through(broken()))
    assert out.getvalue().endswith(CLEAR)


def test_nothing_without_a_terminal() -> None:
    assert list(Meter("x", 1).through([b"a"])) == [b"a"]
    with Waiting("x", None):
        pass


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as file:
        assert size_of(file) == 3
    with open("/dev/null", "rb") as device:
        assert size_of(device) == 0


class Slow:
    """An answer that takes until the test has seen what it wants."""

    def __init__(self) -> None:
        self.seen = threading.Event()

    def body(self, exchange: Exchange) -> None:
        exchange.start_chunks(Content_Type="application/x-tar")
        exchange.chunk(b"begin")
        for _ in range(600):
            exchange.chunk(b"more")
            if self.seen.wait(0.1):
                break
        exchange.chunk(b"end")
        exchange.chunk(b"")

    def reply(self, exchange: Exchange) -> None:
        self.seen.wait(SECONDS)
        exchange.reply(201, {"Id": "sha256:abc"})


def watched(daemon: FakeDaemon, words: list[str], line: str, slow: Slow) -> str:
    """The whole output on a terminal; ``line`` must appear before the answer ends."""
    code = "import sys; from wherry.cli.main import main; sys.exit(main())"
    env = {"PYTHONPATH": str(ROOT / "src"), "WHERRY_HOST": daemon.host, "TERM": "xterm"}
    with Terminal([sys.executable, "-c", code, *words], env, 24, 100) as terminal:
        terminal.expect(line, SECONDS)
        slow.seen.set()
        assert terminal.wait(SECONDS) == 0
        return terminal.text.decode()


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["save", "-o", "FILE", "img"], "/images/get"),
        (["export", "-o", "FILE", "web"], "/containers/web/export"),
        (["volume", "export", "-o", "FILE", "v"], "/wherry/volumes/v/export"),
    ],
)
def test_writing_a_file(daemon: FakeDaemon, tmp_path: Path, words: list[str], path: str) -> None:
    slow = Slow()
    daemon.on("GET", path, slow.body)
    file = tmp_path / "out.tar"
    words = [str(file) if word == "FILE" else word for word in words]
    shown = watched(daemon, words, "Writing out.tar", slow)
    assert shown.endswith(CLEAR)
    assert file.read_bytes().startswith(b"beginmore")
    assert file.read_bytes().endswith(b"end")


def test_committing(daemon: FakeDaemon) -> None:
    slow = Slow()
    daemon.on("POST", "/commit", slow.reply)
    shown = watched(daemon, ["commit", "web"], r"Committing web \.\.\. \d", slow)
    assert shown.endswith(f"{CLEAR}sha256:abc\r\n")


def test_loading_a_file(
    daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()

    def body(exchange: Exchange) -> bytes:
        """Read slowly until the bar was seen."""
        while size := int(exchange.rfile.readline().split(b";")[0], 16):
            exchange.rfile.read(size)
            exchange.rfile.readline()
            slow.seen.wait(0.05)
        exchange.rfile.readline()
        return b""

    original = Exchange._body
    chunked = "Transfer-Encoding"
    monkeypatch.setattr(
        Exchange, "_body", lambda self: (body if self.headers.get(chunked) else original)(self)
    )
    daemon.on("POST", "/images/load", {"stream": "Loaded image: x\n"})
    image = tmp_path / "image.tar"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    shown = watched(daemon, ["load", "-i", str(image)], r"Sending image.tar \[", slow)
    assert "Loaded image: x" in shown


QUIET: list[tuple[list[str], Callable[[FakeDaemon, Slow], None]]] = [
    (["save", "-o", "FILE", "img"], lambda fake, slow: fake.on("GET", "/images/get", slow.body)),
    (["commit", "web"], lambda fake, slow: fake.on("POST", "/commit", slow.reply)),
]


@pytest.mark.parametrize(("words", "prepare"), QUIET, ids=["save", "commit"])
def test_nothing_is_drawn_elsewhere(
    daemon: FakeDaemon,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    prepare: Callable[[FakeDaemon, Slow], None],
) -> None:
    slow = Slow()
    prepare(daemon, slow)
    threading.Timer(0.8, slow.seen.set).start()
    assert main([str(tmp_path / "o") if word == "FILE" else word for word in words]) == 0
    assert capsys.readouterr().err == ""
