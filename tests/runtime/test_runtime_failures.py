"""What crun and runc say, in the words and exit codes that a Docker user knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Conflict, Internal, Invalid, WherryError
from wherry.runtime.failures import (
    CommandNotExecutable,
    CommandNotFound,
    classify,
    exit_code_of,
    message_text,
)

START = "failed to create task for container: failed to create shim task: "


@pytest.mark.parametrize(
    ("raw", "kind", "tail"),
    [
        (
            "executable file `nope` not found in $PATH: No such file or directory",
            CommandNotFound,
            'exec: "nope": executable file not found in $PATH: unknown',
        ),
        (
            'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: unable to start '
            'container process: exec: \\"nope\\": executable file not found in $PATH"',
            CommandNotFound,
            'exec: "nope": executable file not found in $PATH: unknown',
        ),
        (
            'exec: "/no/such": stat /no/such: no such file or directory',
            CommandNotFound,
            'exec: "/no/such": stat /no/such: no such file or directory: unknown',
        ),
        (
            "open executable: Permission denied",
            CommandNotExecutable,
            'exec: "cmd": permission denied: unknown',
        ),
        (
            "open executable: Operation not permitted",
            CommandNotExecutable,
            'exec: "cmd": permission denied: unknown',
        ),
        (
            'exec: "/etc": is a directory',
            CommandNotExecutable,
            'exec: "/etc": is a directory: unknown',
        ),
        (
            "exec container process `/bin/odd`: Exec format error",
            CommandNotExecutable,
            "exec /bin/odd: exec format error: unknown",
        ),
    ],
)
def test_commands(raw: str, kind: type[WherryError], tail: str) -> None:
    error = classify(raw, "cmd")
    assert type(error) is kind
    assert str(error).startswith(START + "OCI runtime create failed: ")
    assert str(error).endswith(tail)
    assert exit_code_of(error) == (127 if kind is CommandNotFound else 126)
    again = classify(raw, "cmd", starting=False)
    assert type(again) is kind
    assert str(again).startswith("OCI runtime exec failed: exec failed: ")


def test_the_rest_is_our_fault_and_keeps_its_words() -> None:
    error = classify("mount `/x` to `/y`: No space left on device")
    assert type(error) is Internal
    assert str(error) == (
        START + "OCI runtime create failed: mount `/x` to `/y`: No space left on device: unknown"
    )
    assert exit_code_of(error) == 128
    assert "ended without a word" in str(classify(""))


def test_exec_where_nothing_runs() -> None:
    for raw in ("the container `x` is not running", "cannot exec in a stopped container"):
        assert type(classify(raw, starting=False)) is Conflict


def test_log_lines_are_read_in_any_form() -> None:
    raw = (
        '{"msg":"first","level":"error"}\n'
        'time="t" level=warning msg="never mind"\n'
        'time="t" level=error msg="second \\"q\\""\n'
        "2026-01-01T00:00:00.000000Z: third\n"
        "third\n\n"
    )
    assert message_text(raw) == 'first; second "q"; third'


@given(st.text(), st.text(), st.booleans())
def test_any_text_is_an_error_of_ours(raw: str, command: str, starting: bool) -> None:
    assert isinstance(classify(raw, command, starting=starting), WherryError)


@pytest.mark.parametrize(
    "raw",
    [
        "mount `/tmp` to `etc/hosts`: Not a directory",
        'error mounting "tmpfs" to rootfs at "/bin/sh": mount tmpfs:/bin/sh: not a directory',
    ],
)
def test_a_directory_on_a_file(raw: str) -> None:
    error = classify(raw)
    assert isinstance(error, Invalid)
    assert exit_code_of(error) == 127
    assert error.message.startswith(START + "OCI runtime create failed: " + raw)
    assert "Are you trying to mount a directory onto a file (or vice-versa)?" in error.message


def test_a_profile_of_apparmor_that_is_not_loaded() -> None:
    for text in (
        "write file `/proc/thread-self/attr/exec`: No such file or directory",
        "unable to apply apparmor profile: write /proc/thread-self/attr/apparmor/exec: "
        "no such file or directory",
    ):
        error = classify(text, "true")
        assert type(error) is Invalid
        assert "AppArmor profile is not loaded" in error.message
