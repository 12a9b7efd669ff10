"""Log drivers and options: what they mean, and what is refused in Docker's words."""

from __future__ import annotations

import pytest

from wherry.containers.logoptions import details, policy
from wherry.containers.shipping.options import Address, Gelf, Syslog
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
        ({"tag": "{{.ID"}, "invalid value for tag: {{.ID"),
        ({"tag": "{{.ID}}/{{.Nope}}"}, "invalid value for tag: {{.ID}}/{{.Nope}}"),
        ({"tag": "{{.Name.Nope}}"}, "invalid value for tag: {{.Name.Nope}}"),
        (
            {"max-buffer-size": "2m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            {"mode": "non-blocking", "max-buffer-size": "much"},
            "error parsing option max-buffer-size",
        ),
    ],
)
def test_bad_options_are_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(Invalid) as failure:
        policy(LogConfig(type="json-file", config=options))
    assert failure.value.message.startswith(message)


@pytest.mark.parametrize("driver", ["json-file", "syslog"])
def test_a_tag_names_only_what_is_there(driver: str) -> None:
    """What depends on the container, as the second word of its command, is not judged."""
    for tag in (
        "{{.FullID}}/{{.ContainerName}}/{{.DaemonName}}",
        '{{index (split .Command " ") 1}}',
        "{{slice .Name 0 9}}{{.ExtraAttributes.team}}",
    ):
        assert policy(LogConfig(type=driver, config={"tag": tag})).keeps
    with pytest.raises(Invalid, match="can't evaluate field Nope"):
        policy(LogConfig(type=driver, config={"tag": "{{.Nope}}"}))


def test_drivers_that_are_not_there() -> None:
    with pytest.raises(Invalid, match="no log driver named 'paper' is registered"):
        policy(LogConfig(type="paper"))
    with pytest.raises(NotImplementedYet, match="splunk"):
        policy(LogConfig(type="splunk"))


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        ("syslog", {"colour": "x"}, "unknown log opt 'colour' for syslog log driver"),
        ("syslog", {"max-size": "1m"}, "unknown log opt 'max-size' for syslog log driver"),
        ("syslog", {"syslog-address": "host:1"}, "syslog-address should be in form proto://"),
        ("syslog", {"syslog-address": "http://h"}, "syslog-address should be in form proto://"),
        ("syslog", {"syslog-address": "udp://h:x"}, "invalid value for syslog-address: udp://h:x"),
        ("syslog", {"syslog-address": "tcp://"}, "invalid value for syslog-address: tcp://"),
        ("syslog", {"syslog-address": "unix:///no/such"}, "syslog-address: stat /no/such: no such"),
        ("syslog", {"syslog-facility": "loud"}, "invalid syslog facility: loud"),
        ("syslog", {"syslog-facility": "24"}, "invalid syslog facility: 24"),
        ("syslog", {"syslog-format": "rfc1"}, "Invalid syslog format: rfc1"),
        (
            "syslog",
            {"syslog-address": "tcp+tls://h", "syslog-tls-ca-cert": "/no/ca"},
            "syslog-tls-ca-cert: stat /no/ca: no such file or directory",
        ),
        ("syslog", {"syslog-tls-cert": "/x"}, "syslog-tls-cert and syslog-tls-key belong"),
        ("gelf", {}, "gelf-address is a required parameter"),
        ("gelf", {"gelf-address": "h:1"}, "gelf-address should be in form proto://address"),
        ("gelf", {"gelf-address": "udp://h"}, "gelf: please provide gelf-address as udp://host"),
        (
            "gelf",
            {"gelf-address": "tcp://h:1", "gelf-compression-type": "none"},
            "compression is only supported on UDP",
        ),
        (
            "gelf",
            {"gelf-address": "udp://h:1", "gelf-compression-type": "rar"},
            'unknown value "rar" for log opt "gelf-compression-type" for gelf log driver',
        ),
        (
            "gelf",
            {"gelf-address": "udp://h:1", "gelf-compression-level": "10"},
            'unknown value "10" for log opt "gelf-compression-level" for gelf log driver',
        ),
        (
            "gelf",
            {"gelf-address": "udp://h:1", "gelf-tcp-max-reconnect": "1"},
            '"gelf-tcp-max-reconnect" is only valid for TCP',
        ),
        (
            "gelf",
            {"gelf-address": "tcp://h:1", "gelf-tcp-reconnect-delay": "-1"},
            '"gelf-tcp-reconnect-delay" must be a positive integer',
        ),
        ("fluentd", {"x": "1"}, "unknown log opt 'x' for fluentd log driver"),
        ("fluentd", {"fluentd-address": "udp://h:1"}, "invalid fluentd-address (udp://h:1)"),
        ("fluentd", {"fluentd-address": "unix://"}, "invalid fluentd-address (unix://)"),
        ("fluentd", {"fluentd-async": "maybe"}, "invalid value for fluentd-async: maybe"),
        ("fluentd", {"fluentd-retry-wait": "x"}, "invalid value for fluentd-retry-wait: x"),
        ("fluentd", {"fluentd-max-retries": "-1"}, "invalid value for fluentd-max-retries: -1"),
        ("fluentd", {"fluentd-buffer-limit": "x"}, "invalid value for fluentd-buffer-limit: x"),
        ("journald", {"x": "1"}, "unknown log opt 'x' for journald log driver"),
        ("journald", {"cache-max-file": "0"}, "cache-max-file cannot be less than 1"),
        ("journald", {"cache-disabled": "so"}, "invalid value for cache-disabled: so"),
        ("local", {"labels": "x"}, "unknown log opt 'labels' for local log driver"),
        ("none", {"max-size": "1m"}, "unknown log opt 'max-size' for none log driver"),
    ],
)
def test_options_of_the_drivers_that_send(
    driver: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(Invalid) as failure:
        policy(LogConfig(type=driver, config=options))
    assert failure.value.message.startswith(message)


def test_the_local_copy_of_a_driver_that_sends() -> None:
    rules = policy(LogConfig(type="syslog"))
    assert (rules.max_size, rules.max_file, rules.compress) == (20 << 20, 5, True)
    assert (rules.readable, rules.backlog) == (True, 0)
    assert rules.target == Syslog(None, 3, "")
    rules = policy(
        LogConfig(
            type="gelf",
            config={
                "gelf-address": "tcp://[::1]:12201",
                "mode": "non-blocking",
                "max-buffer-size": "4m",
                "cache-disabled": "true",
                "cache-max-size": "1m",
                "cache-max-file": "2",
                "cache-compress": "false",
            },
        )
    )
    assert (rules.max_size, rules.max_file, rules.compress) == (1000000, 2, False)
    assert (rules.readable, rules.backlog) == (False, 4 << 20)
    assert rules.target == Gelf(Address("tcp", "::1", 12201), "gzip", 1)
    rules = policy(LogConfig(type="journald", config={"mode": "non-blocking"}))
    assert rules.backlog == 1 << 20


def test_details_are_what_the_options_name() -> None:
    config = LogConfig(config={"labels": "team, stage", "env-regex": "^APP_"})
    labels = {"team": "blue", "other": "x"}
    environment = {"APP_ID": "7", "HOME": "/"}
    assert details(config, labels, environment) == {"APP_ID": "7", "team": "blue"}
    assert details(None, labels, environment) == {}
