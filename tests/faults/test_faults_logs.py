"""Logs that go elsewhere while the daemon is killed, and containers that are gone at once."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.engine import Engine, eventually

pytestmark = pytest.mark.root
LIMIT = 60.0


class Collector:
    """A syslog server over TCP, in a thread: the last word of every message."""

    def __init__(self) -> None:
        self.words: list[str] = []
        collector = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    collector.words.append(line.decode().split()[-1])

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def log_config(self) -> dict[str, object]:
        port = self._server.server_address[1]
        return {"Type": "syslog", "Config": {"syslog-address": f"tcp://127.0.0.1:{port}"}}

    def wait_for(self, count: int) -> None:
        """Until so many different words have come."""
        eventually(lambda: len(set(self.words)) >= count, seconds=LIMIT)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


TALK = """
i=0
while [ $i -lt 3000 ]; do
    i=$((i + 1))
    echo $i
    [ $((i % 100)) = 0 ] && sleep 0.05
done
exec sleep 1000
"""


def test_a_killed_daemon_loses_no_line_that_is_to_be_sent(own_engine: Engine) -> None:
    with collecting() as collector:
        own_engine.run("sh", "-c", TALK, name="talk", LogConfig=collector.log_config)
        for least in (300, 900, 1500):
            collector.wait_for(least)
            own_engine.crash_and_start()
        collector.wait_for(3000)
        assert {int(word) for word in collector.words} == set(range(1, 3001))
        assert own_engine.logs("talk").split()[-1] == b"3000"
        own_engine.remove_containers()


def test_a_container_that_is_removed_at_its_end_has_its_lines_sent(engine: Engine) -> None:
    with collecting() as collector:
        name = engine.run(
            "sh", "-c", "echo first; echo last", AutoRemove=True, LogConfig=collector.log_config
        )
        eventually(lambda: engine.get(f"/containers/{name}/json").status == 404, seconds=LIMIT)
        eventually(lambda: collector.words == ["first", "last"], seconds=LIMIT)


def test_a_container_goes_on_while_its_server_is_away(engine: Engine) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{reserved.getsockname()[1]}"
        config = {"Type": "gelf", "Config": {"gelf-address": address}}
        name = engine.run("sh", "-c", "echo said; exec sleep 1000", LogConfig=config)
        eventually(lambda: engine.logs(name) == b"said\n", seconds=LIMIT)
        eventually(lambda: "cannot be sent" in engine.log(), seconds=LIMIT)
        assert engine.inspect(name)["HostConfig"]["LogConfig"] == config
        engine.remove_containers()


def test_wrong_options_are_named_and_make_nothing(engine: Engine) -> None:
    for driver, options, message in (
        ("gelf", {}, "gelf-address is a required parameter"),
        ("syslog", {"syslog-format": "x"}, "Invalid syslog format: x"),
        ("fluentd", {"colour": "red"}, "unknown log opt 'colour' for fluentd log driver"),
    ):
        body = {
            "Image": "wherry/busybox",
            "HostConfig": {"LogConfig": {"Type": driver, "Config": options}},
        }
        answer = engine.post("/containers/create", body)
        assert answer.status == 400
        assert answer.message.startswith(message)
    assert engine.containers() == []
