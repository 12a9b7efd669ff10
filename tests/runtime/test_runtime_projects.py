"""The filter under which files stay in their project: which requests of ioctl it lets through."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.linux.seccompfilter import Unsupported, compile_filter
from wherry.runtime import caps
from wherry.runtime.projects import kept, others
from wherry.runtime.seccomp import resolved

SETTERS = (0x401C5820, 0x40086602, 0x40046602)
HELD = tuple(caps.DEFAULT)
KERNEL = "6.1.0-18-amd64"


@given(st.integers(0, (1 << 32) - 1) | st.sampled_from(SETTERS), st.integers(0, (1 << 32) - 1))
def test_every_number_is_in_one_range_unless_it_is_refused(number: int, high: int) -> None:
    """The upper half of the argument, which the kernel does not look at, changes nothing."""
    argument = high << 32 | number
    ranges = list(others(SETTERS))
    assert len(ranges) < 80
    found = [1 for mask, value in ranges if argument & mask == value]
    assert len(found) == (number not in SETTERS)


def test_the_default_profile_allows_the_rest_of_ioctl() -> None:
    before = resolved("", HELD, "x86_64", KERNEL)
    after = resolved("", HELD, "x86_64", KERNEL, keep_projects=True)
    plain = [each for each in after["syscalls"] if not each.get("args")]
    assert not any("ioctl" in each["names"] for each in plain)
    assert any("openat" in each["names"] for each in plain)
    assert any("ioctl" in each["names"] for each in before["syscalls"])
    assert after["architectures"] == before["architectures"]


def test_a_profile_that_allows_by_default_refuses_them() -> None:
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    rules = kept(profile, "x86_64")["syscalls"]
    assert [each["args"][0]["valueTwo"] for each in rules] == list(SETTERS)
    assert {(each["action"], each["errnoRet"]) for each in rules} == {("SCMP_ACT_ERRNO", 1)}
    assert profile["syscalls"] == []


def test_where_the_write_bit_is_another() -> None:
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    rules = kept(profile, "ppc64le")["syscalls"]
    assert [each["args"][0]["valueTwo"] >> 30 for each in rules] == [2, 2, 2]


CHILD = """
import ctypes, errno, sys, tempfile
libc = ctypes.CDLL(None, use_errno=True)
program = sys.stdin.buffer.read()
held = tempfile.TemporaryFile()

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

loaded = Program(len(program) // 8, program)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(loaded), 0, 0) == 0

def ask(request):
    done = libc.ioctl(held.fileno(), ctypes.c_ulong(request), ctypes.create_string_buffer(64))
    return errno.errorcode[ctypes.get_errno()] if done else "done"

for request in map(int, sys.argv[1:]):
    print(ask(request))
"""


@pytest.mark.parametrize("default", ["", '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}'])
def test_what_the_kernel_makes_of_it(default: str) -> None:
    profile = resolved(default, HELD, "x86_64", KERNEL, keep_projects=True)
    try:
        program = compile_filter(profile)
    except Unsupported as error:
        pytest.skip(f"no filter can be compiled here: {error}")
    asked = [*SETTERS, 1 << 32 | SETTERS[0], 0x5413, 0x40086601]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, asked)],
        input=program,
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"EPERM"] * 4 + [b"ENOTTY"] * 2
