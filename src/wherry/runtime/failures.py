"""What went wrong in a monitor or an OCI runtime, as the kinds and words a Docker user knows.

WherryError
├── Invalid
│   ├── CommandNotFound       exit code 127
│   ├── CommandNotExecutable  exit code 126
│   └── WrongKind             exit code 127
├── Conflict                  the container is not in the state that the call needs
└── Internal                  all else

crun and runc say the same in different words; ``classify`` knows both.
"""

from __future__ import annotations

import json
import re

from wherry.errors import Conflict, Internal, Invalid, WherryError

NOT_FOUND_CODE = 127
NOT_EXECUTABLE_CODE = 126
GENERAL_CODE = 128
"""Docker's exit code of a container that could not be started for another reason."""

_CREATE_PREFIX = "failed to create task for container: failed to create shim task: "
_RUNTIME_PREFIX = "OCI runtime create failed: runtime create failed: "
_START_PREFIX = "unable to start container process: "


class CommandNotFound(Invalid):
    """The command is not in the container: exit code 127."""

    exit_code = NOT_FOUND_CODE


class CommandNotExecutable(Invalid):
    """The command is there and cannot be executed: exit code 126."""

    exit_code = NOT_EXECUTABLE_CODE


class WrongKind(Invalid):
    """A mount of a directory on a file, or the other way round: Docker's exit code is 127."""

    exit_code = NOT_FOUND_CODE


_WRONG_KIND = (
    "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host "
    "path exists and is the expected type"
)
_NOT_FOUND = (
    re.compile(r"executable file [`'\"](?P<name>.*?)['\"`] not found in \$PATH"),
    re.compile(r"exec: \"(?P<name>.*?)\": executable file not found in \$PATH"),
    re.compile(r"exec: \"(?P<name>.*?)\": stat .*?: no such file or directory"),
    re.compile(r"exec (?P<name>\S+?): no such file or directory"),
    re.compile(r"open executable(?: [`'\"](?P<name>.*?)['\"`])?: No such file or directory"),
    re.compile(r"exec container process (?:[`'\"](?P<name>.*?)['\"`])?.*No such file or directory"),
    re.compile(r"(?:stat|lstat) [`'\"](?P<name>.*?)['\"`]: No such file or directory"),
)
_NOT_EXECUTABLE = (
    re.compile(
        r"exec: \"(?P<name>.*?)\": (?P<why>permission denied|is a directory|file name too long)",
        re.I,
    ),
    re.compile(r"exec (?P<name>\S+?): (?P<why>permission denied|is a directory)", re.I),
    re.compile(
        r"open executable(?: [`'\"](?P<name>.*?)['\"`])?: "
        r"(?P<why>Permission denied|Operation not permitted|Is a directory|Not a directory"
        r"|File name too long|Too many levels of symbolic links)",
        re.I,
    ),
    re.compile(
        r"exec container process (?:[`'\"](?P<name>.*?)['\"`])?.*"
        r"(?P<why>Exec format error|Permission denied|Is a directory)",
        re.I,
    ),
    re.compile(r"exec (?P<name>\S+?): (?P<why>exec format error)", re.I),
    re.compile(r"the path [`'\"](?P<name>.*?)['\"`] (?P<why>is not a regular file)", re.I),
)
_WORKDIR = (
    re.compile(
        r"chdir to cwd \(\"(?P<path>.*?)\"\) set in config\.json failed: "
        r"(?P<why>permission denied|no such file or directory|not a directory|file name too long)",
        re.I,
    ),
    re.compile(
        r"chdir [`'\"](?P<path>.*?)[`'\"]: "
        r"(?P<why>Permission denied|No such file or directory|Not a directory|File name too long)",
        re.I,
    ),
)
_NO_PROFILE = re.compile(r"/attr/(?:apparmor/)?exec[`'\"]?: no such file", re.I)
_NOT_RUNNING = re.compile(
    r"(container .* is not running|the container .* is not running|cannot exec in a stopped "
    r"container|container .* does not exist|is in the [`'\"]?stopped[`'\"]? state"
    r"|cannot exec a container that has stopped|process not running|no such process)",
    re.I,
)


def message_text(raw: str) -> str:
    """One line of plain text from what a runtime wrote (JSON or text log lines, in any mix)."""
    parts = []
    for line in raw.splitlines():
        text = line.strip()
        if not text:
            continue
        if text.startswith("{"):
            try:
                text = str(json.loads(text).get("msg", text))
            except (ValueError, AttributeError):
                pass
        match = re.match(r'time="[^"]*" level=(\w+) msg="(.*)"$', text)
        if match:
            if match[1] in ("warning", "info", "debug"):
                continue
            text = match[2].replace('\\"', '"').replace("\\\\", "\\")
        text = re.sub(r"^\d{4}-\d\d-\d\dT[0-9:.]+Z?:\s*", "", text)
        parts.append(text)
    return "; ".join(dict.fromkeys(parts))


def classify(raw: str, command: str = "", *, starting: bool = True) -> WherryError:
    """The error kind for a failed create, start or exec.

    ``command`` is the first word of the process, for messages where the runtime does not name
    it. ``starting`` tells create and start (Docker's long prefix) from exec (its short one).
    """
    text = message_text(raw)
    prefix = _CREATE_PREFIX if starting else "OCI runtime exec failed: exec failed: "
    lead = prefix + (_RUNTIME_PREFIX if starting else "") + _START_PREFIX
    for pattern in _WORKDIR:
        match = pattern.search(text)
        if match:
            kind = CommandNotFound if "no such" in match["why"].lower() else CommandNotExecutable
            return kind(
                f'{lead}chdir to cwd ("{match["path"]}") set in config.json failed: '
                f"{match['why'].lower()}: unknown"
            )
    for pattern in _NOT_EXECUTABLE:
        match = pattern.search(text)
        if match:
            name = match.groupdict().get("name") or command
            why = match["why"].lower()
            if why in ("is not a regular file", "operation not permitted"):
                why = "permission denied"
            if why == "exec format error":
                return CommandNotExecutable(f"{lead}exec {name}: {why}: unknown")
            return CommandNotExecutable(f'{lead}exec: "{name}": {why}: unknown')
    for pattern in _NOT_FOUND:
        match = pattern.search(text)
        if match:
            name = match.groupdict().get("name") or command
            if "/" in name:
                return CommandNotFound(
                    f'{lead}exec: "{name}": stat {name}: no such file or directory: unknown'
                )
            return CommandNotFound(
                f'{lead}exec: "{name}": executable file not found in $PATH: unknown'
            )
    if not starting and _NOT_RUNNING.search(text):
        return Conflict(f"the container is not running: {text}")
    if not text:
        text = "the runtime ended without a word"
    if _NO_PROFILE.search(text):
        return Invalid(f"{prefix}{text}: the AppArmor profile is not loaded on this host")
    if starting:
        whole = f"{prefix}OCI runtime create failed: {text}: unknown"
        if "not a directory" in text.lower():
            return WrongKind(f"{whole}: {_WRONG_KIND}")
        return Internal(whole)
    return Internal(f"{prefix}{text}: unknown")


def exit_code_of(error: WherryError) -> int:
    """Exit code to record for a container whose start failed with ``error``."""
    return int(getattr(error, "exit_code", GENERAL_CODE))
