"""Container routes: what reaches the service, and how its answers and failures are rendered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import pytest
from tests.api.api_fakes import FakeContainers, Service, closing, read_head

from wherry.containers.service import LogLine, LogOptions
from wherry.errors import Exhausted, Forbidden, Internal, Invalid, Unavailable, WherryError

AT = b"2026-01-01T00:00:00.000000000Z"


def message(body: bytes) -> str:
    text: str = json.loads(body)["message"]
    return text


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v1.24/containers/json", 200, None),
        ("/v1.55/containers/json", 200, None),
        ("/containers/json", 200, None),
        (
            "/v1.99/containers/json",
            400,
            "client version 1.99 is too new. Maximum supported API version is 1.55",
        ),
        (
            "/v1.12/containers/json",
            400,
            "client version 1.12 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
        ("/v1.41/nothing", 404, "page not found"),
        ("/v1/containers/json", 404, "page not found"),
        ("/containers/none/json", 404, "No such container: none"),
    ],
)
async def test_versions_and_unknown_paths(
    service: Service, path: str, status: int, text: str | None
) -> None:
    reply = await service.ask("GET", path)
    assert reply.status == status
    assert reply.headers["api-version"] == "1.55"
    assert reply.headers["ostype"] == "linux"
    if text is not None:
        assert reply.headers["content-type"].startswith("application/json")
        assert message(reply.body) == text


async def test_wrong_method_is_405(service: Service) -> None:
    reply = await service.ask("PUT", "/containers/json")
    assert reply.status == 405
    assert "PUT" in message(reply.body)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/v1.41/containers//start", "container"),
        ("POST", "/v1.41/containers/start", "container"),
        ("GET", "/containers//json", "container"),
        ("GET", "/containers/logs", "container"),
        ("DELETE", "/containers/", "container"),
        ("DELETE", "/containers", "container"),
        ("POST", "/images//push", "image"),
        ("POST", "/images/push", "image"),
        ("DELETE", "/volumes/", "volume"),
        ("POST", "/networks/connect", "network"),
        ("POST", "/exec/start", "exec"),
    ],
)
async def test_an_empty_name_is_told(service: Service, method: str, path: str, kind: str) -> None:
    reply = await service.ask(method, path)
    assert reply.status == 404
    assert message(reply.body) == f"invalid {kind} name or ID: value is empty"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1.41/volumes/a/b", "get a/b: no such volume"),
        ("/volumes/a%2Fb/c", "get a/b/c: no such volume"),
        ("/networks/a/b", "network a/b not found"),
    ],
)
async def test_a_name_with_a_slash_is_not_there(
    service: Service, method: str, path: str, told: str
) -> None:
    reply = await service.ask(method, path)
    assert (reply.status, message(reply.body)) == (404, told)


@pytest.mark.parametrize("path", ["/containers//none/json", "//containers/none//json"])
async def test_doubled_slashes_are_one(service: Service, path: str) -> None:
    """``docker inspect`` shows names with a slash in front; scripts hand them back."""
    reply = await service.ask("GET", path)
    assert (reply.status, message(reply.body)) == (404, "No such container: none")


async def test_a_slash_at_the_end_is_no_page(service: Service) -> None:
    for path in ("/containers/json/", "/containers/none/json/", "/images//a/"):
        reply = await service.ask("GET", path)
        assert (reply.status, message(reply.body)) == (404, "page not found")


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/v1.41/networks", "/networks"),
        ("POST", "/swarm/init", "/swarm/init"),
        ("POST", "/auth", "/auth"),
        ("GET", "/distribution/a/b/c/json", "/distribution"),
        ("GET", "/containers/c1/export", "/containers/{id}/export"),
    ],
)
async def test_what_is_not_there_yet_says_so(
    service: Service, method: str, path: str, named: str
) -> None:
    reply = await service.ask(method, path)
    assert reply.status == 501
    assert named in message(reply.body)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("x"), 400),
        (Forbidden("x"), 403),
        (Unavailable("x"), 503),
        (Exhausted("x"), 500),
        (Internal("x"), 500),
    ],
)
async def test_error_kinds(
    service: Service, containers: FakeContainers, error: WherryError, status: int
) -> None:
    containers.fail = error
    reply = await service.ask("POST", "/containers/c1/pause")
    assert (reply.status, message(reply.body)) == (status, "x")


async def test_not_modified_has_no_body(service: Service, containers: FakeContainers) -> None:
    reply = await service.ask("POST", "/containers/c1/stop?t=3&signal=INT")
    assert (reply.status, reply.body) == (304, b"")
    assert containers.calls == [("stop", "c1", 3, "INT")]


async def test_create(service: Service, containers: FakeContainers) -> None:
    body = {"Image": "i", "HostConfig": {"Memory": 7, "Unknown": {}}, "Other": 1}
    reply = await service.ask("POST", "/v1.41/containers/create?name=n", json.dumps(body).encode())
    assert reply.status == 201
    assert json.loads(reply.body) == {"Id": "c1", "Warnings": ["a warning"]}
    _, name, request, platform = containers.calls[0]
    assert (name, request.image, request.host_config.memory, platform) == ("n", "i", 7, None)


async def created(service: Service, containers: FakeContainers, version: str, **host: Any) -> Any:
    """The host configuration that the service gets of what a client of that version sends."""
    body = json.dumps({"Image": "i", "HostConfig": host}).encode()
    reply = await service.ask("POST", f"/v{version}/containers/create", body)
    assert reply.status == 201, reply.body
    return containers.calls[-1][2].host_config


@pytest.mark.parametrize(
    ("version", "asked", "mode"),
    [
        ("1.39", "", "shareable"),
        ("1.39", "none", "none"),
        ("1.40", "", ""),
    ],
)
async def test_old_clients_share_their_memory(
    service: Service, containers: FakeContainers, version: str, asked: str, mode: str
) -> None:
    assert (await created(service, containers, version, IpcMode=asked)).ipc_mode == mode


@pytest.mark.parametrize(
    ("version", "left"), [("1.52", ["1/tcp", "2/tcp", "3/tcp"]), ("1.53", ["3/tcp"])]
)
async def test_ports_without_bindings_are_any_port_to_older_clients_only(
    service: Service, containers: FakeContainers, version: str, left: list[str]
) -> None:
    asked = {"1/tcp": [], "2/tcp": None, "3/tcp": [{"HostPort": ""}]}
    host = await created(service, containers, version, PortBindings=asked)
    assert sorted(host.port_bindings) == left


async def test_older_clients_may_send_options_of_another_mount(
    service: Service, containers: FakeContainers
) -> None:
    mount = {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"NonRecursive": True}}
    mount |= {"VolumeOptions": {"NoCopy": True}, "TmpfsOptions": {"SizeBytes": 1}}
    (old,) = (await created(service, containers, "1.41", Mounts=[mount])).mounts
    assert (old.volume_options, old.tmpfs_options) == (None, None)
    assert old.bind_options.non_recursive
    (new,) = (await created(service, containers, "1.42", Mounts=[mount])).mounts
    assert new.volume_options.no_copy


@pytest.mark.parametrize(
    ("body", "sort", "text"),
    [
        (b"", "application/json", "invalid JSON: got EOF while reading request body"),
        (b"{", "application/json", "invalid JSON"),
        (b'{"HostConfig": {"Memory": "7"}}', "application/json", "$.HostConfig.Memory"),
        (b"[]", "application/json", "invalid JSON"),
        (b"\xff\xfe", "application/json", "invalid JSON"),
        (b"{}", "text/plain", "unsupported Content-Type header (text/plain)"),
    ],
)
async def test_bad_bodies(
    service: Service, containers: FakeContainers, body: bytes, sort: str, text: str
) -> None:
    reply = await service.ask("POST", "/containers/create", body, Content_Type=sort)
    assert reply.status == 400
    assert text in message(reply.body)
    assert containers.calls == []


async def test_name_in_use_is_409(service: Service) -> None:
    reply = await service.ask("POST", "/containers/create?name=taken", b'{"Image": "i"}')
    assert reply.status == 409
    assert "already in use" in message(reply.body)


@pytest.mark.parametrize("value", ['{"status":["exited"]}', '{"status":{"exited":true}}'])
async def test_listing_takes_both_filter_shapes(
    service: Service, containers: FakeContainers, value: str
) -> None:
    path = f"/containers/json?all=1&limit=4&size=false&filters={quote(value)}"
    assert json.loads((await service.ask("GET", path)).body) == [{"Id": "c1"}]
    assert containers.calls == [("summaries", {"status": ["exited"]}, True, 4)]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/containers/json?limit=x", "limit"),
        ("/containers/json?filters=%7B", "invalid filter"),
        ("/containers/c1/logs?stdout=1&since=yesterday", "since"),
    ],
)
async def test_bad_parameters_are_named(service: Service, path: str, named: str) -> None:
    reply = await service.ask("GET", path)
    assert reply.status == 400
    assert named in message(reply.body)


@pytest.mark.parametrize("path", ["/containers/c1/stop?t=x", "/containers/c1/resize?h=1"])
async def test_bad_integers(service: Service, containers: FakeContainers, path: str) -> None:
    assert (await service.ask("POST", path)).status == 400
    assert containers.calls == []


async def test_wait_sends_its_head_at_once(service: Service, containers: FakeContainers) -> None:
    containers.exit = asyncio.get_running_loop().create_future()
    reader, writer = await service.send("POST", "/containers/c1/wait?condition=next-exit")
    async with closing(writer), asyncio.timeout(5):
        status, head = await read_head(reader)
        assert (status, head["transfer-encoding"]) == (200, "chunked")
        assert containers.calls == [("wait", "c1", "next-exit")]
        containers.exit.set_result((7, ""))
        assert b'{"StatusCode":7}' in await reader.readuntil(b"}")


async def test_wait_failures(service: Service, containers: FakeContainers) -> None:
    assert (await service.ask("POST", "/containers/none/wait")).status == 404
    reply = await service.ask("POST", "/containers/c1/wait?condition=never")
    assert (reply.status, message(reply.body)) == (400, 'invalid condition: "never"')
    containers.exit = asyncio.get_running_loop().create_future()
    containers.exit.set_result((137, "it broke"))
    reply = await service.ask("POST", "/containers/c1/wait")
    assert json.loads(reply.body) == {"StatusCode": 137, "Error": {"Message": "it broke"}}


async def test_wait_ends_with_its_client(service: Service, containers: FakeContainers) -> None:
    containers.exit = asyncio.get_running_loop().create_future()
    gone = asyncio.Event()
    containers.exit.add_done_callback(lambda _: gone.set())
    reader, writer = await service.send("POST", "/containers/c1/wait")
    async with closing(writer):
        await read_head(reader)
    async with asyncio.timeout(5):
        await gone.wait()
    assert containers.exit.cancelled()


async def test_a_change_is_finished_though_the_client_left(
    service: Service, containers: FakeContainers
) -> None:
    containers.gate = asyncio.Event()
    _, writer = await service.send("POST", "/containers/c1/start")
    async with asyncio.timeout(5):
        await containers.began.wait()
        writer.close()
        await writer.wait_closed()
        containers.gate.set()
        await containers.finished.wait()
    assert containers.calls == [("start", "c1", "", "")]


@pytest.mark.parametrize(
    ("version", "terminal", "sort", "framed"),
    [
        ("v1.41", False, "raw", True),
        ("v1.42", False, "multiplexed", True),
        ("v1.42", True, "raw", False),
    ],
)
async def test_logs(
    service: Service,
    containers: FakeContainers,
    version: str,
    terminal: bool,
    sort: str,
    framed: bool,
) -> None:
    containers.terminal = terminal
    containers.lines = [LogLine(1, b"out\n", AT), LogLine(2, b"err\n", AT)]
    path = f"/{version}/containers/c1/logs?stdout=1&stderr=1&timestamps=1&tail=5&since=1.5"
    reply = await service.ask("GET", path)
    assert reply.headers["content-type"] == f"application/vnd.docker.{sort}-stream"
    if framed:
        expected = b"\x01\0\0\0\0\0\0\x23%s out\n\x02\0\0\0\0\0\0\x23%s err\n" % (AT, AT)
    else:
        expected = b"%s out\n%s err\n" % (AT, AT)
    assert reply.body == expected
    wanted = LogOptions(stdout=True, stderr=True, timestamps=True, tail=5, since=1.5)
    assert containers.calls == [("logs", "c1", wanted)]


async def test_details_come_before_each_line(service: Service, containers: FakeContainers) -> None:
    containers.terminal = True
    containers.lines = [LogLine(1, b"a\n", AT), LogLine(2, b"b\n", AT)]
    reply = await service.ask("GET", "/containers/c1/logs?stdout=1&details=1")
    assert reply.body == b"team=blue a\nteam=blue b\n"
    reply = await service.ask("GET", "/containers/c1/logs?stdout=1&details=1&timestamps=1")
    assert reply.body.startswith(AT + b" team=blue a\n")


async def test_followed_logs_end_with_their_client(
    service: Service, containers: FakeContainers
) -> None:
    containers.follow = asyncio.Event()
    reader, writer = await service.send("GET", "/containers/c1/logs?stdout=1&follow=1")
    async with closing(writer):
        assert (await read_head(reader))[0] == 200
    async with asyncio.timeout(5):
        await containers.finished.wait()
    assert not containers.follow.is_set()


async def test_logs_want_a_stream(service: Service) -> None:
    reply = await service.ask("GET", "/containers/c1/logs")
    assert reply.status == 400
    assert "at least one stream" in message(reply.body)


async def test_commit(service: Service, containers: FakeContainers) -> None:
    path = "/commit?container=c1&repo=r&tag=t&comment=c&author=a&pause=0&changes=CMD+x"
    reply = await service.ask("POST", path, b'{"Labels": {"k": "v"}}')
    assert reply.status == 201
    expected = ("commit", "c1", "r:t", "c", "a", False, ["CMD x"], {"Labels": {"k": "v"}})
    assert containers.calls == [expected]


async def test_rest_of_the_life_cycle(service: Service, containers: FakeContainers) -> None:
    for method, path in [
        ("POST", "/containers/c1/kill?signal=9"),
        ("POST", "/containers/c1/restart"),
        ("POST", "/containers/c1/unpause"),
        ("POST", "/containers/c1/rename?name=n"),
        ("DELETE", "/containers/c1?v=1&force=true"),
    ]:
        assert (await service.ask(method, path)).status == 204
    assert containers.calls == [
        ("kill", "c1", "9"),
        ("restart", "c1", None, None),
        ("unpause", "c1"),
        ("rename", "c1", "n"),
        ("remove", "c1", True, True, False),
    ]
    body = b'{"Memory": 5, "RestartPolicy": {"Name": "always"}}'
    answer = await service.ask("POST", "/containers/c1/update", body)
    assert json.loads(answer.body) == {
        "Warnings": ["careful"],
        "Applied": ["Memory"],
        "AtNextStart": ["Env"],
    }
    _, _, asked = containers.calls[-1]
    assert (asked.memory, asked.restart_policy.name) == (5, "always")
    top = await service.ask("GET", "/containers/c1/top?ps_args=aux")
    assert json.loads(top.body) == {"Titles": ["PID"], "Processes": [["1"]]}
    changes = await service.ask("GET", "/containers/c1/changes")
    assert json.loads(changes.body) == [{"Path": "/a", "Kind": 1}]


async def test_a_reply_that_breaks_midway_is_cut(
    service: Service, containers: FakeContainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client must see that the stream is not whole: no last chunk, the connection ends."""

    async def lines(ref: str, options: LogOptions) -> AsyncGenerator[list[LogLine], None]:
        yield [LogLine(1, b"one\n", AT)]
        await asyncio.sleep(0)
        raise Internal("the log is broken")

    monkeypatch.setattr(containers, "logs", lines)
    reader, writer = await service.send("GET", "/containers/c1/logs?stdout=1")
    async with closing(writer), asyncio.timeout(5):
        assert (await read_head(reader))[0] == 200
        with contextlib.suppress(ConnectionError):
            assert not (await reader.read()).endswith(b"0\r\n\r\n")


async def test_many_log_lines_come_whole_and_in_order(
    service: Service, containers: FakeContainers
) -> None:
    containers.terminal = True
    containers.lines = [LogLine(1, b"line %d\n" % number, AT) for number in range(20_000)]
    reply = await service.ask("GET", "/containers/c1/logs?stdout=1")
    assert reply.body == b"".join(line.data for line in containers.lines)
