"""Filters: conditions, the default profile's effect, profiles of users."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wherry.errors import Invalid
from wherry.linux.host import HostFacts
from wherry.runtime import caps, security
from wherry.runtime.seccomp import (
    default_profile,
    kernel_at_least,
    parse_profile,
    resolve,
)

DEFAULT = resolve(default_profile(), caps.DEFAULT, "x86_64", "6.1.0-18-amd64")


def allowed(filter_: dict[str, Any]) -> set[str]:
    """Calls that are permitted whatever their arguments."""
    return {
        name
        for rule in filter_["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }


def test_the_default_permits_and_refuses_what_dockers_does() -> None:
    assert DEFAULT["defaultAction"] == "SCMP_ACT_ERRNO"
    assert DEFAULT["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert {"read", "openat2", "chroot", "ptrace", "arch_prctl", "clone"} - allowed(DEFAULT) == {
        "clone"
    }
    for name in (
        "mount", "umount2", "unshare", "setns", "bpf", "reboot", "init_module", "kexec_load",
        "keyctl", "add_key", "io_uring_setup", "open_by_handle_at", "perf_event_open",
        "userfaultfd", "swapon", "settimeofday", "pivot_root", "clone3", "socket",
    ):  # fmt: skip
        assert name not in allowed(DEFAULT), name


def test_arguments_of_the_default() -> None:
    rules = [rule for rule in DEFAULT["syscalls"] if "args" in rule]
    assert {rule["names"][0] for rule in rules} == {"socket", "personality", "clone"}
    (clone,) = [rule for rule in rules if rule["names"] == ["clone"]]
    assert clone["args"] == [
        {"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ", "valueTwo": 0}
    ]
    (clone3,) = [rule for rule in DEFAULT["syscalls"] if rule["names"] == ["clone3"]]
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("CAP_SYS_ADMIN", {"mount", "unshare", "clone", "clone3", "bpf", "setns"}),
        ("CAP_SYS_PTRACE", {"kcmp", "pidfd_getfd"}),
        ("CAP_SYS_TIME", {"settimeofday", "clock_settime"}),
        ("CAP_SYS_NICE", {"mbind"}),
        ("CAP_SYS_MODULE", {"init_module"}),
        ("CAP_DAC_READ_SEARCH", {"open_by_handle_at"}),
        ("CAP_SYSLOG", {"syslog"}),
    ],
)
def test_capabilities_open_calls(capability: str, names: set[str]) -> None:
    more = resolve(default_profile(), [*caps.DEFAULT, capability], "x86_64", "6.1")
    assert names <= allowed(more)
    assert not names & allowed(DEFAULT)


def test_without_chroot() -> None:
    assert "chroot" not in allowed(resolve(default_profile(), [], "x86_64", "6.1"))


def test_other_machines() -> None:
    arm = resolve(default_profile(), [], "aarch64", "6.1")
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert "arch_prctl" not in allowed(arm)
    assert "cacheflush" in allowed(arm)
    assert "ptrace" not in allowed(resolve(default_profile(), [], "x86_64", "4.4.0"))
    assert "architectures" not in resolve(default_profile(), [], "unheard", "6.1")


def test_a_profile_of_a_user() -> None:
    text = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"name": "mkdir", "action": "SCMP_ACT_ERRNO"},
                {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "args": []},
                {"names": [], "action": "SCMP_ACT_ERRNO"},
            ],
        }
    )
    made = resolve(parse_profile(text), [], "x86_64", "6.1")
    assert made == {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "rmdir"], "action": "SCMP_ACT_ERRNO"}],
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"defaultAction": 5}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 5}',
        '{"defaultAction": "x", "architectures": ["a"], "archMap": [{}]}',
    ],
)
def test_no_profiles(text: str) -> None:
    with pytest.raises(Invalid):
        parse_profile(text)


def test_kernels() -> None:
    assert kernel_at_least("4.8.0", "4.8")
    assert kernel_at_least("10.0-x", "4.8")
    assert not kernel_at_least("4.7.9", "4.8")
    with pytest.raises(Invalid):
        kernel_at_least("6.1", "new")


def test_security_options() -> None:
    facts = HostFacts(apparmor=True)
    found = security.parse(
        ["no-new-privileges:true", "seccomp=unconfined", "apparmor=mine", "label=disable"], facts
    )
    assert found.no_new_privileges
    assert (found.seccomp, found.apparmor, found.labels) == ("unconfined", "mine", ("disable",))
    assert not security.parse(["no-new-privileges=false"], facts).no_new_privileges
    assert security.parse(["seccomp=builtin"], facts).seccomp == ""
    with pytest.raises(Invalid, match="seccomp is not enabled"):
        security.parse(['seccomp={"defaultAction":"x"}'], HostFacts(seccomp=False))
