"""``run`` by every command line client: output, exit codes, stdin, terminal, signals."""

from __future__ import annotations

import hashlib
import re
import signal
from pathlib import Path

import pytest
from tests.support.clients import Cli
from tests.support.engine import Engine, eventually
from tests.support.images import BASE

pytestmark = pytest.mark.root
QUIET = ("run", "--rm", "--network", "none")


def state(engine: Engine, name: str) -> str:
    return str(engine.inspect(name)["State"]["Status"])


def test_output_goes_where_it_belongs(cli: Cli) -> None:
    done = cli(*QUIET, BASE, "sh", "-c", "echo to-out; echo to-err >&2")
    assert (done.code, done.out, done.err) == (0, "to-out\n", "to-err\n")


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_is_the_commands_own(cli: Cli, code: int) -> None:
    assert cli(*QUIET, BASE, "sh", "-c", f"exit {code}").code == code


def test_rm_leaves_no_container(cli: Cli, engine: Engine) -> None:
    cli(*QUIET, BASE, "true").ok()
    assert eventually(lambda: engine.containers() == [])


def test_unknown_flag_is_125(cli: Cli, engine: Engine) -> None:
    done = cli("run", "--no-such-flag", BASE, "true")
    assert done.code == 125
    assert "no-such-flag" in done.err
    assert engine.containers() == []


def test_unknown_image_is_125(cli: Cli, engine: Engine) -> None:
    done = cli(*QUIET, "127.0.0.1:1/no/such-image", "true")
    assert done.code == 125
    assert "no/such-image" in done.err
    assert engine.containers() == []


def test_missing_command_is_127(cli: Cli) -> None:
    done = cli("run", "--network", "none", "--name", "gone", BASE, "no-such-command")
    assert done.code == 127
    assert "no-such-command" in done.err
    assert "not found" in done.err


def test_not_executable_is_126(cli: Cli) -> None:
    done = cli(*QUIET, BASE, "/etc/passwd")
    assert done.code == 126
    assert "permission denied" in done.err.lower()


def test_a_folder_is_126(cli: Cli) -> None:
    assert cli(*QUIET, BASE, "/etc").code == 126


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_death_by_signal_is_128_plus_its_number(cli: Cli, name: str) -> None:
    # Process 1 is safe from signals of its own namespace; a child of it is not.
    script = f"sh -c 'kill -{name} $$'; exit $?"
    number = signal.Signals[f"SIG{name}"].value
    assert cli(*QUIET, BASE, "sh", "-c", script).code == 128 + number


def test_stdin_reaches_the_command_and_ends(cli: Cli) -> None:
    done = cli("run", "--rm", "-i", "--network", "none", BASE, "cat", stdin="one\ntwo\n")
    assert (done.code, done.out) == (0, "one\ntwo\n")


def test_much_stdin_arrives_whole(cli: Cli) -> None:
    data = b"0123456789abcdef" * 200_000
    done = cli("run", "--rm", "-i", "--network", "none", BASE, "sha256sum", stdin=data)
    assert done.ok().split()[0] == hashlib.sha256(data).hexdigest()


def test_much_output_arrives_whole(cli: Cli) -> None:
    done = cli(*QUIET, BASE, "sh", "-c", "seq 1 100000; echo end >&2")
    assert done.ok() == "\n".join(str(number) for number in range(1, 100001))
    assert done.err == "end\n"


def test_without_i_stdin_is_empty(cli: Cli) -> None:
    done = cli(*QUIET, BASE, "sh", "-c", "cat; echo done", stdin="not for you\n")
    assert done.ok() == "done"


def test_detached_prints_the_id(cli: Cli, engine: Engine) -> None:
    done = cli("run", "-d", "--network", "none", BASE, "sleep", "1000")
    assert re.fullmatch(r"[0-9a-f]{64}", done.ok())
    assert state(engine, done.ok()) == "running"


def test_cidfile(cli: Cli, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    arguments = ("run", "--network", "none", "--cidfile", str(file), BASE, "true")
    cli(*arguments).ok()
    assert engine.inspect(file.read_text())["State"]["ExitCode"] == 0
    again = cli(*arguments)
    assert again.code == 125
    assert str(file) in again.err
    assert len(engine.containers()) == 1


def test_settings_take_effect(cli: Cli) -> None:
    script = "echo $A $B; pwd; id -u; id -g; hostname; ulimit -n; grep -c . /sys/x || echo ro"
    done = cli(
        *QUIET, "-e", "A=1", "--env", "B=two words", "-w", "/made/up", "-u", "1000:1001",
        "-h", "myhost", "--ulimit", "nofile=512:512", BASE, "sh", "-c", script,
    )  # fmt: skip
    lines = done.out.splitlines()
    assert lines[:6] == ["1 two words", "/made/up", "1000", "1001", "myhost", "512"]


def test_user_names_are_those_of_the_image(cli: Cli) -> None:
    assert cli(*QUIET, "-u", "nobody", BASE, "id", "-u").ok() == "65534"
    done = cli(*QUIET, "-u", "no-such-user", BASE, "id")
    assert done.code == 125
    assert "no-such-user" in done.err


def test_read_only_root_with_tmpfs(cli: Cli) -> None:
    script = "touch /file || echo no; touch /scratch/file && echo yes"
    done = cli(*QUIET, "--read-only", "--tmpfs", "/scratch", BASE, "sh", "-c", script)
    assert done.ok() == "no\nyes"


def test_init_is_process_one(cli: Cli) -> None:
    if not cli.engine.is_wherry:
        pytest.skip("an unpacked Docker has no init program beside it")
    done = cli(*QUIET, "--init", BASE, "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline; echo $$")
    assert "init" in done.ok().splitlines()[0] or "tini" in done.out
    assert not done.out.startswith("1\n")


def test_capabilities(cli: Cli) -> None:
    read = ("sh", "-c", "grep CapEff /proc/self/status | tr -d '[:blank:]'")
    default = cli(*QUIET, BASE, *read).ok()
    none = cli(*QUIET, "--cap-drop", "ALL", BASE, *read).ok()
    one = cli(*QUIET, "--cap-drop", "ALL", "--cap-add", "NET_RAW", BASE, *read).ok()
    assert default.endswith("00000000a80425fb")
    assert none.endswith("0000000000000000")
    assert one.endswith("0000000000002000")


def test_memory_limit_is_enforced_and_shown(cli: Cli, engine: Engine) -> None:
    done = cli(
        "run", "--network", "none", "--name", "small", "-m", "16m", "--memory-swap", "16m", BASE,
        "sh", "-c", "x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo ${#x}",
    )  # fmt: skip
    assert done.code == 137
    described = engine.inspect("small")
    assert described["HostConfig"]["Memory"] == 16 << 20
    assert described["State"]["OOMKilled"] is True


def test_terminal(cli: Cli) -> None:
    with cli.terminal("run", "--rm", "-it", "--network", "none", BASE, "sh", rows=31) as screen:
        screen.expect(r"[#$] ")
        screen.send("tty; echo size: $(stty size)\n")
        screen.expect(r"\n/dev/(pts/0|console)\r\n")
        screen.expect(r"size: 31 80\r\n")
        screen.resize(45, 132)
        screen.send('while [ "$(stty size)" != \'45 132\' ]; do :; done; echo re""sized\n')
        screen.expect("resized")
        screen.send("exit 3\n")
        assert screen.wait() == 3


def test_interrupt_on_a_terminal_reaches_the_command(cli: Cli) -> None:
    script = 'trap "echo caught; exit 9" INT; echo ready; while :; do sleep 0.1; done'
    with cli.terminal(*QUIET, "-it", BASE, "sh", "-c", script) as screen:
        screen.expect("ready")
        screen.send(b"\x03")
        screen.expect("caught")
        assert screen.wait() == 9


def test_detach_keys_leave_it_running(cli: Cli, engine: Engine) -> None:
    with cli.terminal("run", "-it", "--network", "none", "--name", "box", BASE, "sh") as screen:
        screen.expect(r"[#$] ")
        screen.send("echo first; kept=42\n")
        screen.expect("first\r\n")
        screen.send(b"\x10\x11")
        assert screen.wait() == 0
    assert state(engine, "box") == "running"
    with cli.terminal("attach", "--detach-keys", "ctrl-x,x", "box") as screen:
        screen.send("echo kept=$kept\n")
        screen.expect("kept=42")
        screen.send(b"\x18x")
        screen.wait()
    assert state(engine, "box") == "running"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(cli: Cli, engine: Engine, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f'trap "echo got {name}; exit 5" {name}; echo ready; while :; do sleep 0.1; done'
    running = cli.start("run", "--network", "none", "--name", "trap", BASE, "sh", "-c", script)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        out, _ = running.communicate(timeout=20)
        assert out == f"got {name}\n".encode()
        assert running.returncode == 5
    finally:
        running.kill()
        running.wait()
    assert engine.inspect("trap")["State"]["ExitCode"] == 5


def test_two_clients_attached_see_the_same(cli: Cli, engine: Engine) -> None:
    script = "read go; echo shared; read stop"
    cli("run", "-d", "-i", "--network", "none", "--name", "both", BASE, "sh", "-c", script).ok()
    one, two = cli.start("attach", "both"), cli.start("attach", "both")
    writer = cli.start("attach", "both")
    try:
        assert writer.stdin is not None
        # Nothing tells from outside that an attach is in place: write until all have seen it.
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
        eventually(lambda: b"shared" in engine.logs("both"))
    finally:
        engine.delete("/containers/both?force=1")
        for each in (one, two, writer):
            each.communicate(timeout=20)
