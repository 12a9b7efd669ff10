"""The tar reader against Python's own writer, and against garbage."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.images.worker.stream import ForwardSource
from wherry.trees import tarfmt, tarwrite
from wherry.trees.tarfmt import MappedSource, clean, entries, nanoseconds, number

_NAME = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=300,
).filter(lambda name: not name.endswith("/"))


@settings(deadline=None)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@given(
    members=st.lists(
        st.tuples(
            _NAME,
            st.binary(max_size=2000),
            st.integers(0, 0o7777),
            st.integers(0, 2**32 - 2),
            st.integers(0, 2**33 - 1),
        ),
        max_size=5,
    ),
    step=st.integers(1, 3000),
)
def test_what_others_write_is_read(
    form: int, members: list[tuple[str, bytes, int, int, int]], step: int
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data, mode, uid, mtime in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.mtime = len(data), mode, uid, mtime
            tar.addfile(info, io.BytesIO(data))
    archive = out.getvalue()
    want = [
        (name.encode(), data, mode, uid, mtime * 10**9) for name, data, mode, uid, mtime in members
    ]
    mapped = [
        (each.name, archive[each.data : each.data + each.size], each.mode, each.uid, each.mtime)
        for each in entries(MappedSource(archive), marked=True)
    ]
    assert mapped == want

    pieces = (archive[at : at + step] for at in range(0, len(archive), step))
    source = ForwardSource(pieces)
    streamed = []
    for each in entries(source):
        data = b"".join(source.pieces(each.stored))
        streamed.append((each.name, data, each.mode, each.uid, each.mtime))
    assert streamed == want


@given(
    name=st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name),
    link=st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name),
    own=st.builds(
        tarwrite.Attributes,
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, 2**32 - 2),
        gid=st.integers(0, 2**32 - 2),
        mtime_ns=st.integers(0, 2**60),
        xattrs=st.dictionaries(
            st.binary(min_size=1, max_size=20).filter(lambda key: not set(key) & set(b"=\0\n ")),
            st.binary(max_size=300),
            max_size=3,
        ),
    ),
    device=st.tuples(st.integers(0, 0xFFF), st.integers(0, 0xFFFFF)),
)
@example(b"n" * 90, b"l", tarwrite.Attributes(xattrs={b"k": b"v" * 80}), (0, 0))
def test_what_is_written_is_read(
    name: bytes, link: bytes, own: tarwrite.Attributes, device: tuple[int, int]
) -> None:
    archive = b"".join(
        [
            tarwrite.member(name, tarfmt.SYMLINK, own, link=link),
            tarwrite.member(name, tarfmt.CHAR, own, device=device),
            tarwrite.member(name, tarfmt.REGULAR, own, size=3),
            b"abc" + tarwrite.padding(3),
            tarwrite.END,
        ]
    )
    found = list(entries(MappedSource(archive), marked=True))
    assert [each.kind for each in found] == [tarfmt.SYMLINK, tarfmt.CHAR, tarfmt.REGULAR]
    for each in found:
        assert (each.name, each.mode, each.uid, each.gid) == (name, own.mode, own.uid, own.gid)
        assert each.mtime == own.mtime_ns
        assert (each.xattrs or {}) == own.xattrs
    assert found[0].link == link
    assert (found[1].major, found[1].minor) == device
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert len(tar.getmembers()) == 3


@settings(max_examples=300)
@given(st.binary(max_size=3000), st.integers(0, 2600), st.binary(min_size=1, max_size=30))
def test_garbage_gives_entries_or_the_one_error(noise: bytes, at: int, patch: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x" * 150)
        info.pax_headers = {"GNU.sparse.map": "0,4", "GNU.sparse.size": "9"}
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    damaged = bytearray(out.getvalue())
    damaged[at : at + len(patch)] = patch
    for archive in (noise, bytes(damaged), bytes(damaged)[: at + 512]):
        message = ""
        try:
            for each in entries(MappedSource(archive)):
                assert each.size >= 0
        except Invalid as error:
            message = error.message
        assert message in ("", "unexpected EOF", "archive/tar: invalid tar header")


def test_a_cut_archive_is_seen() -> None:
    whole = tarwrite.member(b"a", tarfmt.REGULAR, tarwrite.Attributes()) + tarwrite.END
    assert len(list(entries(MappedSource(whole[:512])))) == 1
    with pytest.raises(Invalid, match="unexpected EOF"):
        list(entries(MappedSource(whole[:512]), marked=True))
    with pytest.raises(Invalid, match="unexpected EOF"):
        list(entries(MappedSource(whole[:300])))


def header(kind: bytes, records: bytes = b"", **fields: bytes) -> bytes:
    """One member with PAX ``records`` and some fields of its header replaced."""
    places = {"size": (124, 12), "mtime": (136, 12), "major": (329, 8), "realsize": (483, 12)}
    head = b""
    if records:
        head = tarwrite.member(b"x", b"x", tarwrite.Attributes(), size=len(records))
        head += records + tarwrite.padding(len(records))
    block = bytearray(tarwrite.member(b"name", kind, tarwrite.Attributes()))
    for name, value in fields.items():
        at, size = places[name]
        block[at : at + size] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return head + bytes(block) + tarwrite.END


@pytest.mark.parametrize(
    "archive",
    [
        header(tarfmt.CHAR, major=b"\xff" * 8),
        header(tarfmt.BLOCKDEV, major=b"\x80\0\1" + bytes(5)),
        header(tarfmt.REGULAR, mtime=b"\x80\1" + bytes(10)),
        header(tarfmt.REGULAR, mtime=b"\xff\1" + bytes(10)),
        header(tarfmt.REGULAR, size=b"\x80\1" + bytes(10)),
        header(b"S", realsize=b"\xff" * 12),
        header(b"S", realsize=b"\x80\1" + bytes(10)),
        header(tarfmt.SYMLINK, b"16 linkpath=a\0b\n"),
        header(tarfmt.REGULAR, b"27 SCHILY.xattr.user.a\0b=1\n"),
        header(tarfmt.REGULAR, b"23 GNU.sparse.name=a\0b\n"),
        header(tarfmt.REGULAR, b"22 GNU.sparse.size=-5\n"),
    ],
)
def test_what_no_file_can_have_is_a_bad_header(archive: bytes) -> None:
    with pytest.raises(Invalid, match="invalid tar header"):
        list(entries(MappedSource(archive)))


@pytest.mark.parametrize(
    ("name", "want"),
    [
        (b"a/b", b"a/b"),
        (b"./a//b/", b"a/b"),
        (b"/etc/passwd", b"etc/passwd"),
        (b"../../x", b"x"),
        (b"a/../../x", b"x"),
        (b"a/./.b", b"a/.b"),
        (b"..", b""),
        (b"./", b""),
        (b"...", b"..."),
    ],
)
def test_names_stay_below_the_root(name: bytes, want: bytes) -> None:
    assert clean(name) == want


def test_numbers() -> None:
    assert number(b"0000644\0") == 0o644
    assert number(b"        ") == 0
    assert number(b"\x80\0\0\0\0\0\x01\0") == 256
    assert number(b"\xff" * 8) == -1
    with pytest.raises(Invalid):
        number(b"0000999\0")
    assert nanoseconds(b"12.5") == 12_500_000_000
    assert nanoseconds(b"-1.25") == -1_250_000_000
    assert nanoseconds(b"3.0000000019") == 3_000_000_001
