from __future__ import annotations

import json
from typing import Any

import pytest

from wherry.errors import Invalid
from wherry.wire.container import CreateRequest, HealthConfig, HostConfig, PortBinding
from wherry.wire.decode import decode


def create(**body: Any) -> CreateRequest:
    made = decode(json.dumps(body).encode(), CreateRequest)
    assert made is not None
    return made


def test_keys_in_any_case_at_every_depth() -> None:
    made = create(
        IMAGE="a",
        hostconfig={"memory": 7, "PORTBINDINGS": {"80/tcp": [{"hostPORT": "8"}]}},
        NetworkingConfig={"endpointsconfig": {"MixedCase": {"ipamconfig": {"ipv4address": "x"}}}},
    )
    assert made.image == "a"
    assert made.host_config is not None
    assert made.host_config.memory == 7
    assert made.host_config.port_bindings == {"80/tcp": [PortBinding(host_port="8")]}
    assert made.networking_config is not None
    endpoints = made.networking_config.endpoints_config or {}
    endpoint = endpoints["MixedCase"]
    assert endpoint is not None
    assert endpoint.ipam_config is not None
    assert endpoint.ipam_config.ipv4_address == "x"


def test_keys_of_maps_keep_their_case() -> None:
    assert create(labels={"Team": "A", "team": "b"}).labels == {"Team": "A", "team": "b"}


def test_the_last_of_two_keys_counts() -> None:
    made = decode(b'{"Image": "a", "IMAGE": "b", "image": "c"}', CreateRequest)
    assert made is not None
    assert made.image == "c"


def test_null_is_absent_and_in_lists_the_zero_value() -> None:
    made = create(
        Image=None,
        Healthcheck={"Interval": None, "Test": None},
        Env=["A=b", None],
        Labels={"a": None},
        HostConfig={"Mounts": [None], "PortBindings": {"80/tcp": None, "81/tcp": [None]}},
    )
    assert made.image is None
    assert made.healthcheck == HealthConfig()
    assert made.env == ["A=b", ""]
    assert made.labels == {"a": ""}
    assert made.host_config is not None
    assert made.host_config.port_bindings == {"80/tcp": None, "81/tcp": [PortBinding()]}
    assert len(made.host_config.mounts or ()) == 1


def test_null_alone_and_unknown_keys() -> None:
    assert decode(b" null ", HostConfig) is None
    assert decode(b'{"NoSuchKey": {"a": [1]}}', HostConfig) == HostConfig()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "invalid JSON"),
        (b"[]", "Expected `object`"),
        (b'{"a": 1} x', "trailing"),
        (b"[" * 100_000, "too deeply"),
        (b'{"x":' * 100_000, "too deeply"),
        (b'{"Image": "\xff"}', "UTF-8"),
        (b'{"Image": "\\ud800"}', "invalid JSON"),
        (b'{"Image": "a\\u0000"}', "null byte - at `$.Image`"),
        (b'{"Labels": {"a\\u0000": "b"}}', "null byte - at `$.Labels[...]`"),
        (b'{"hostconfig": {"memory": "1"}}', "at `$.HostConfig.Memory`"),
        (b'{"hostconfig": {"memory": 1.5}}', "at `$.HostConfig.Memory`"),
        (b'{"hostconfig": {"memory": 9223372036854775808}}', "out of range - at `$.HostConfig.Me"),
        (b'{"hostconfig": {"memory": -9223372036854775809}}', "out of range"),
        (b'{"hostconfig": {"memory": 1' + b"0" * 4000 + b"}}", "out of range"),
        (b'{"hostconfig": {"binds": [7]}}', "at `$.HostConfig.Binds[0]`"),
        (b'{"hostconfig": {"mounts": [[]]}}', "at `$.HostConfig.Mounts[0]`"),
        (b'{"cmd": {"a": 1}}', "at `$.Cmd`"),
    ],
)
def test_refused(body: bytes, says: str) -> None:
    with pytest.raises(Invalid) as failure:
        decode(body, CreateRequest)
    assert failure.value.message.startswith("invalid JSON: ")
    assert says in failure.value.message


def test_the_widest_numbers() -> None:
    made = create(HostConfig={"Memory": 2**63 - 1, "MemorySwap": -(2**63)})
    assert made.host_config is not None
    assert (made.host_config.memory, made.host_config.memory_swap) == (2**63 - 1, -(2**63))
