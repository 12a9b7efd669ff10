from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.oci import platform
from wherry.oci.image import Descriptor, PlatformDoc
from wherry.oci.platform import Platform, parse


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("Linux/aarch64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("macos/arm64", "darwin/arm64"),
        ("windows/i386", "windows/386"),
    ],
)
def test_parse_and_format(text: str, formatted: str) -> None:
    assert platform.format(parse(text)) == formatted
    assert str(parse(formatted)) == formatted


def test_half_given() -> None:
    here = platform.host()
    assert parse("windows") == Platform("windows", here.architecture, here.variant)
    assert parse("s390x") == Platform(here.os, "s390x")


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "nope", "linux/*", "li nux/x"])
def test_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


def _index(*names: str) -> list[Descriptor]:
    out = []
    for name in names:
        system, arch, variant = (*name.split("/"), "", "")[:3]
        out.append(
            Descriptor(
                digest=name,
                platform=PlatformDoc(os=system, architecture=arch, variant=variant),
            )
        )
    return out


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/386", "unknown/unknown"], "linux/386"),
        ("linux/amd64", ["linux/amd64/v2"], None),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v5"], "linux/arm/v6"),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/s390x", ["linux/amd64"], None),
    ],
)
def test_choose(wanted: str, offered: list[str], chosen: str | None) -> None:
    found = platform.choose(_index(*offered), parse(wanted))
    assert (found.digest if found else None) == chosen


def test_choose_takes_unnamed_last() -> None:
    unnamed = Descriptor(digest="x")
    assert platform.choose([unnamed], parse("linux/amd64")) is unnamed
    best = platform.choose([unnamed, *_index("linux/386")], parse("linux/amd64"))
    assert best is not None
    assert best.digest == "linux/386"


@given(st.text(alphabet="linuxamd64/v8()*. ", max_size=20))
def test_value_or_invalid(text: str) -> None:
    try:
        value = parse(text)
    except Invalid:
        return
    assert parse(platform.format(value)) == value
    assert platform.rank(value, value) == 0
