"""The flag grammar."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cli import values
from wherry.cli.errors import FlagError
from wherry.cli.flags import many, number, parse, parse_int, switch, text

FLAGS = [
    switch("interactive", "", short="i"),
    switch("tty", "", short="t"),
    switch("proxy", "", default=True),
    text("user", "", short="u"),
    many("env", "", short="e"),
    number("count", "", short="n", default=-1),
    number("weight", "", short="w", shown="uint16"),
]


@pytest.mark.parametrize(
    ("argv", "found", "words"),
    [
        (["-it"], {"interactive": True, "tty": True}, []),
        (["-itu", "x"], {"tty": True, "user": "x"}, []),
        (["-ux", "-u=y"], {"user": "y"}, []),
        (["-u="], {"user": "="}, []),
        (["--user="], {"user": ""}, []),
        (["--user", "--tty"], {"user": "--tty", "tty": False}, []),
        (["--interactive=false", "-t=true"], {"interactive": False, "tty": True}, []),
        (["--proxy=false"], {"proxy": False}, []),
        (["-e", "a", "--env=b", "-ec"], {"env": ["a", "b", "c"]}, []),
        (["-n", "0x10"], {"count": 16}, []),
        (["a", "-i", "b"], {"interactive": True}, ["a", "b"]),
        (["--", "-i"], {"interactive": False}, ["-i"]),
        (["-", "-i"], {"interactive": True}, ["-"]),
        ([], {"proxy": True, "user": "", "env": [], "count": -1}, []),
        (["-h"], {"help": True}, []),
    ],
)
def test_parse(argv: list[str], found: dict[str, Any], words: list[str]) -> None:
    options, rest = parse(FLAGS, argv)
    assert {name: options.value(name) for name in found} == found
    assert rest == words


def test_not_interspersed_ends_at_the_first_word() -> None:
    options, rest = parse(FLAGS, ["-i", "image", "-t", "--", "x"], interspersed=False)
    assert options.on("interactive")
    assert not options.on("tty")
    assert rest == ["image", "-t", "--", "x"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-ixt"], "unknown shorthand flag: 'x' in -xt"),
        (["--user"], "flag needs an argument: --user"),
        (["-iu"], "flag needs an argument: 'u' in -u"),
        (["--tty=x"], 'invalid argument "x" for "-t, --tty" flag: strconv.ParseBool'),
        (["-n", "x"], 'invalid argument "x" for "-n, --count" flag: strconv.ParseInt'),
        (["-n", " 1"], 'invalid argument " 1" for "-n, --count" flag: strconv.ParseInt'),
        (
            ["-n", "9" * 20],
            f'invalid argument "{"9" * 20}" for "-n, --count" flag: strconv.ParseInt',
        ),
        (["-w", "65536"], 'invalid argument "65536" for "-w, --weight" flag: strconv.ParseUint'),
        (["-w", "+1"], 'invalid argument "+1" for "-w, --weight" flag: strconv.ParseUint'),
        (["---x"], "bad flag syntax: ---x"),
        (["--=x"], "bad flag syntax: --=x"),
    ],
)
def test_refused(argv: list[str], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse(FLAGS, argv)
    assert caught.value.message.startswith(message)
    assert caught.value.code == 125


@given(st.lists(st.text(alphabet="-=itueanh \u00fc", max_size=5), max_size=6))
def test_anything_parses_or_is_refused(argv: list[str]) -> None:
    """No other outcome, and no word gets lost when there are no flags."""
    try:
        _, rest = parse(FLAGS, argv)
    except FlagError:
        return
    assert all(word in argv for word in rest)
    if not any(word.startswith("-") and word != "-" for word in argv):
        assert rest == argv


@given(st.integers(-(2**40), 2**40))
def test_integers(number: int) -> None:
    assert parse_int(str(number)) == number
    assert parse_int(hex(number)) == number


@pytest.mark.parametrize(("word", "found"), [("010", 8), ("+5", 5), ("-7", -7), ("0", 0)])
def test_integer_notations(word: str, found: int) -> None:
    assert parse_int(word) == found


@given(st.text(max_size=20))
def test_values_parse_or_raise_value_error(word: str) -> None:
    for parse_one in (
        values.memory, values.duration, values.cpus, values.label, values.stream, values.ip_address,
        values.extra_host, values.throttle_bytes, values.weight_device, values.ulimit,
        values.device, values.restart_policy, values.gpus, values.dns_search, values.link,
    ):  # fmt: skip
        try:
            parse_one(word)
        except ValueError:
            continue
