from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.oci import glob, reference
from wherry.oci.reference import Reference, parse

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("user/app", "docker.io/user/app", "user/app"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/u/b", "docker.io/u/b", "u/b"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("localhost:5000/x", "localhost:5000/x", "localhost:5000/x"),
        ("Host/x", "Host/x", "Host/x"),
        ("ghcr.io/o/p:T_a.g", "ghcr.io/o/p:T_a.g", "ghcr.io/o/p:T_a.g"),
        ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
        (f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}", f"a@{DIGEST}"),
        (f"a:t@{DIGEST}", f"docker.io/library/a:t@{DIGEST}", f"a:t@{DIGEST}"),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e", "a__b/c--d.e"),
        ("a" * 63, "docker.io/library/" + "a" * 63, "a" * 63),
    ],
)
def test_normalised(text: str, canonical: str, familiar: str) -> None:
    parsed = parse(text)
    assert parsed.canonical() == canonical
    assert parsed.familiar() == familiar
    assert parse(canonical) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("a/Foo:x", "invalid reference format: repository name (a/Foo) must be lowercase"),
        (":tag", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("a..b/c", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a@sha256:abc", "invalid reference format"),
        ("a@sha256:" + "A" * 64, "invalid reference format: invalid checksum digest format"),
        ("a@sha256:" + "a" * 40, "invalid reference format: invalid checksum digest length"),
        ("a@md9:" + "a" * 40, "invalid reference format: unsupported digest algorithm"),
        (
            "f" * 64,
            f"invalid repository name ({'f' * 64}), cannot specify 64-byte hexadecimal strings",
        ),
        (
            "x.y/" + "a" * 256,
            "invalid reference format: repository name must not be more than 255 characters",
        ),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert caught.value.message == message


def test_changes() -> None:
    name = parse("busybox")
    assert name.with_default_tag() == Reference("docker.io", "library/busybox", "latest")
    assert parse(f"a@{DIGEST}").with_default_tag().tag == ""
    assert name.with_tag("2").with_digest(DIGEST).name_only() == name
    assert name.repository == "docker.io/library/busybox"
    with pytest.raises(Invalid):
        name.with_tag("a b")
    with pytest.raises(Invalid):
        name.with_digest("sha256:x")


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("busybox", "busybox:latest", True),
        ("busy*", "busybox:latest", True),
        ("*", "busybox:latest", True),
        ("*", "user/app", False),
        ("*/*", "user/app:1", True),
        ("*:1", "app:1", True),
        ("*:2", "app:1", False),
        ("docker.io/library/busybox", "busybox", False),
        ("[a-c]usybox", "busybox", True),
        ("[^a-c]usybox", "busybox", False),
        ("busybo?", "busybox", True),
        ("bus\\*", "busybox", False),
    ],
)
def test_match(pattern: str, text: str, expected: bool) -> None:
    assert parse(text).match(pattern) is expected


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "a\\", "[a-]", "[-a]"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(Invalid):
        parse("x").match(pattern)


@given(st.text(alphabet="aB0._-/:@[]sha256\u00df", max_size=30))
def test_value_or_invalid_and_round_trip(text: str) -> None:
    try:
        parsed = parse(text)
    except Invalid:
        return
    assert parse(parsed.canonical()) == parsed
    assert parse(parsed.familiar()) == parsed


@given(st.text(alphabet="ab/*?[]^-\\", max_size=12), st.text(alphabet="ab/]-", max_size=8))
def test_glob_value_or_invalid(pattern: str, name: str) -> None:
    try:
        result = glob.match(pattern, name)
    except Invalid:
        return
    assert isinstance(result, bool)


@given(st.text(max_size=20))
def test_glob_quoted_matches_itself(name: str) -> None:
    assert glob.match("".join(f"\\{char}" for char in name), name)


def test_default_names() -> None:
    assert (reference.DEFAULT_DOMAIN, reference.DEFAULT_TAG) == ("docker.io", "latest")


def slowly(pattern: str, name: str) -> bool:
    """Every way tried, for a pattern of letters, stars and question marks."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return slowly(pattern[1:], name) or (
            name[:1] not in ("", "/") and slowly(pattern, name[1:])
        )
    fits = name[:1] not in ("", "/") if pattern[0] == "?" else name[:1] == pattern[0]
    return fits and slowly(pattern[1:], name[1:])


@given(st.text("ab/*?", max_size=8), st.text("ab/", max_size=8))
def test_glob_tries_enough(pattern: str, name: str) -> None:
    assert glob.match(pattern, name) is slowly(pattern, name)


def test_glob_with_many_stars_ends() -> None:
    assert not glob.match("*[a-z]" * 20 + "!", "a" * 100)
    assert glob.match("*[a-z]" * 20 + "*", "a" * 100)
