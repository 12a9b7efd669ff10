"""Files of a monitor's directory (the OCI bundle) and the exit records it leaves."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from wherry.errors import Conflict, Internal
from wherry.linux.pidfd import start_time
from wherry.runtime import monitor
from wherry.runtime.port import Exit, Running

_log = logging.getLogger(__name__)

_BUNDLES = "bundles"
_EXIT = "exit"
_ERROR = "error"


def now() -> float:
    return time.time()


def prepare(bundle: Path, target: Path, exit_dir: Path, container_id: str) -> None:
    """Directories of a launch; what an earlier run left is removed."""
    bundle.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in monitor.PLUMBING:
        (bundle / name).unlink(missing_ok=True)
    target.mkdir(mode=0o755, parents=True, exist_ok=True)
    exit_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (container_id, "exit", "oom", _ERROR):
        (exit_dir / name).unlink(missing_ok=True)


def link_bundle(state_root: Path, container_id: str, bundle: Path) -> None:
    """Remember where the bundle of a container is: ``<state_root>/../bundles/<id>``."""
    folder = state_root.parent / _BUNDLES
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = folder / container_id
    link.unlink(missing_ok=True)
    link.symlink_to(bundle)


def find_note(state_root: Path, container_id: str) -> Path | None:
    """The bundle of a launched container."""
    link = state_root.parent / _BUNDLES / container_id
    try:
        return Path(os.readlink(link))
    except OSError:
        return None


def read_note(bundle: Path) -> monitor.Note | None:
    try:
        return monitor.decode_note((bundle / monitor.NOTE).read_bytes())
    except OSError:
        return None


def complete_note(bundle: Path, running: Running) -> monitor.Note:
    """Created: write the process's number too, atomically; the whole note."""
    note = read_note(bundle)
    if note is None:
        raise Internal(f"the monitor's note is missing in {bundle}")
    note.pid, note.pid_start = running.pid, running.pid_start
    note.monitor_start = running.monitor_start or note.monitor_start
    _replace_note(bundle, note)
    return note


def note_shares(bundle: Path, shares: int) -> None:
    """The container has been given another CPU weight."""
    note = read_note(bundle)
    if note is not None:
        note.shares = shares
        _replace_note(bundle, note)


def _replace_note(bundle: Path, note: monitor.Note) -> None:
    fresh = bundle / (monitor.NOTE + ".new")
    fresh.write_bytes(monitor.encode_note(note))
    fresh.rename(bundle / monitor.NOTE)


def monitors_of(bundle: Path) -> list[tuple[int, int]]:
    """Monitors running for a bundle whose note was never written (killed in between).

    Looks through all processes: only for reconciling.
    """
    found = []
    wanted = os.fsencode(bundle)
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--bundle" in words[:-1] and words[words.index(b"--bundle") + 1] == wanted:
            started = start_time(int(entry))
            if started is not None:
                found.append((int(entry), started))
    return found


def monitor_complaint(bundle: Path) -> str:
    """What the monitor wrote on its standard error before it could use the sync pipe."""
    try:
        return (bundle / monitor.STDERR).read_text(encoding="utf-8", errors="replace")[:8192]
    except OSError:
        return ""


def command_of(state_root: Path, container_id: str) -> str:
    """First word of the container's command, from its spec."""
    bundle = find_note(state_root, container_id)
    return "" if bundle is None else _of_spec(bundle, "process", "args", 0)


def cgroup_of(bundle: Path) -> str:
    """Cgroup path of the container, from its spec."""
    return _of_spec(bundle, "linux", "cgroupsPath")


def _of_spec(bundle: Path, *keys: str | int) -> str:
    """A text inside the spec; empty when there is none."""
    try:
        value = json.loads((bundle / monitor.SPEC).read_bytes())
        for key in keys:
            value = value[key]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return str(value)


def read_exit(exit_dir: Path, container_id: str) -> Exit | None:
    """The exit file: its content is the code, its time the time of the exit."""
    path = exit_dir / container_id
    try:
        text = path.read_text(encoding="ascii")
        at = path.stat().st_mtime
    except (OSError, UnicodeDecodeError):
        return None
    try:
        code = int(text.strip())
    except ValueError:
        return None
    error = ""
    with suppress(OSError):
        error = (exit_dir / _ERROR).read_text(encoding="utf-8")
    return Exit(code & 0xFF, at, (exit_dir / "oom").exists(), error)


def write_exit(exit_dir: Path, container_id: str, code: int, error: str) -> Exit:
    """Record an end that the monitor could not."""
    try:
        exit_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (exit_dir / _ERROR).write_text(error, encoding="utf-8")
        (exit_dir / container_id).write_text(str(code), encoding="ascii")
    except OSError as problem:
        _log.warning("the end of container %s is not on the disk: %s", container_id, problem)
    return Exit(code, now(), (exit_dir / "oom").exists(), error)


def write_oom(exit_dir: Path) -> None:
    with suppress(OSError):
        (exit_dir / "oom").touch()


def clear(bundle: Path, state_root: Path, container_id: str) -> None:
    """Remove our files and the empty directories; never descends into a mount.

    The bundle goes last: as long as it is there, the next start of the daemon comes here again.
    """
    with suppress(OSError):
        (state_root.parent / _BUNDLES / container_id).unlink()
    for name in (*monitor.PLUMBING, monitor.NOTE + ".new"):
        with suppress(OSError):
            (bundle / name).unlink()
    with suppress(OSError):
        (bundle / "rootfs").rmdir()
    remove_flat(bundle / _EXIT)
    # Sessions whose end nobody saw; none outlives the container.
    with suppress(OSError):
        for session in (bundle / "exec").iterdir():
            clear_exec(session)
        (bundle / "exec").rmdir()
    with suppress(OSError):
        bundle.rmdir()


def clear_exec(run_dir: Path) -> None:
    """Remove an exec session's directory (flat; made by us)."""
    with suppress(OSError):
        for entry in os.scandir(run_dir):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
        run_dir.rmdir()


def remove_flat(directory: Path) -> bool:
    """Remove a directory that holds no other; False (and nothing done) when it does."""
    try:
        entries = list(os.scandir(directory))
        if any(entry.is_dir(follow_symlinks=False) for entry in entries):
            return False
        for entry in entries:
            os.unlink(entry.path)
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def control(directory: Path, message: bytes) -> None:
    """Write to the monitor's control pipe. Raises ``Conflict`` when nobody reads it."""
    try:
        fd = os.open(directory / monitor.CONTROL, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            raise Conflict("the process is not running") from error
        raise Internal(f"cannot reach the monitor in {directory}: {error}") from error
    try:
        os.write(fd, message)
    except (BlockingIOError, BrokenPipeError) as error:
        raise Conflict("the process does not take control messages") from error
    finally:
        os.close(fd)
