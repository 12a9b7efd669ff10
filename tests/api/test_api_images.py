from __future__ import annotations

from typing import Any

import pytest

from wherry.api.images import for_version, platform
from wherry.errors import Invalid


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
