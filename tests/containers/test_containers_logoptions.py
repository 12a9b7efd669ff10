"""Log drivers and options: what they mean, and what is refused in Docker's words."""

from __future__ import annotations

import pytest

from wherry.containers.logoptions import details, policy
from wherry.errors import Invalid, NotImplementedYet
from wherry.wire.container import LogConfig


def test_rotation_is_on_by_default() -> None:
    rules = policy(None)
    assert (rules.keeps, rules.max_size, rules.max_file, rules.compress) == (
        True,
        10 << 20,
        3,
        True,
    )
    assert policy(LogConfig(type="local")).max_size == 20 << 20


def test_options_are_read() -> None:
    rules = policy(
        LogConfig(type="json-file", config={"max-size": "1k", "max-file": "7", "compress": "false"})
    )
    assert (rules.max_size, rules.max_file, rules.compress) == (1000, 7, False)
    assert policy(LogConfig(config={"max-size": "-1"})).max_size == 0
    assert not policy(LogConfig(type="none")).keeps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max-size": "much"}, "invalid value for max-size: much"),
        ({"max-file": "0"}, "max-file cannot be less than 1"),
        ({"max-file": "x"}, "invalid value for max-file: x"),
        ({"compress": "perhaps"}, "invalid value for compress: perhaps"),
        ({"colour": "red"}, "unknown log opt 'colour' for json-file log driver"),
        ({"mode": "fast"}, "logger: logging mode not supported: fast"),
        ({"env-regex": "("}, "invalid value for env-regex"),
    ],
)
def test_bad_options_are_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(Invalid) as failure:
        policy(LogConfig(type="json-file", config=options))
    assert failure.value.message.startswith(message)


def test_drivers_that_are_not_there() -> None:
    with pytest.raises(Invalid, match="no log driver named 'paper' is registered"):
        policy(LogConfig(type="paper"))
    with pytest.raises(NotImplementedYet, match="syslog"):
        policy(LogConfig(type="syslog"))


def test_details_are_what_the_options_name() -> None:
    config = LogConfig(config={"labels": "team, stage", "env-regex": "^APP_"})
    labels = {"team": "blue", "other": "x"}
    environment = {"APP_ID": "7", "HOME": "/"}
    assert details(config, labels, environment) == {"APP_ID": "7", "team": "blue"}
    assert details(None, labels, environment) == {}
