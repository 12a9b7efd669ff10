from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from wherry.api.images import fetch, for_version, platform
from wherry.errors import Invalid, Unavailable


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (None, None),
        ("", ""),
        ("linux/arm64", "linux/arm64"),
        ('{"os":"linux","architecture":"arm","variant":"v7"}', "linux/arm/v7"),
        ('{"os":"linux","architecture":"amd64"}', "linux/amd64"),
    ],
)
def test_platforms_in_both_forms(text: str | None, want: str | None) -> None:
    assert platform(text) == want


@pytest.mark.parametrize("text", ["{", '{"os":"linux"}', '{"os":1,"architecture":"amd64"}'])
def test_a_malformed_platform_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        platform(text)


async def test_an_import_from_an_address() -> None:
    """The body comes as it is, compressed or not; what the server refuses is said."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/root.tar.gz":
            return web.Response(status=404)
        return web.Response(body=b"packed", headers={"Content-Encoding": "gzip"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        said: list[dict[str, str]] = []
        address = f"127.0.0.1:{port}/root.tar.gz"
        assert [chunk async for chunk in fetch(address, said.append)] == [b"packed"]
        assert said == [{"status": f"Downloading from http://{address}"}]
        with pytest.raises(Unavailable, match="got HTTP status code >= 400: 404"):
            async for _ in fetch(f"http://127.0.0.1:{port}/none", said.append):
                pass
    finally:
        await runner.cleanup()
    with pytest.raises(Unavailable, match=f"cannot download http://{address}"):
        async for _ in fetch(address, said.append):
            pass


def test_each_version_has_its_fields() -> None:
    body: dict[str, Any] = {
        "Id": "sha256:x",
        "Parent": "",
        "VirtualSize": 1,
        "Container": "",
        "ContainerConfig": {},
        "Config": {"Hostname": "", "Cmd": ["sh"], "Env": None, "Labels": {}},
    }
    assert for_version(body, (1, 43)) == body
    assert set(for_version(body, (1, 44))) == set(body) - {"VirtualSize"}
    assert set(for_version(body, (1, 45))) == {"Id", "Parent", "Config"}
    assert for_version(body, (1, 50))["Config"] == {"Cmd": ["sh"], "Env": None, "Labels": {}}
    assert for_version(body, (1, 52)) == {"Id": "sha256:x", "Config": {"Cmd": ["sh"]}}
    assert body["Config"]["Hostname"] == ""
