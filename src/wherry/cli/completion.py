"""Shell completion: the scripts for bash, zsh and fish, and the words they ask for."""

from __future__ import annotations

import os

from wherry.cli import registry
from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.cli.flags import parse
from wherry.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.cli.command import Context
    from wherry.cli.flags import Flag, Options
    from wherry.client.engine import Client

_BASH = """\
# wherry completion for bash: eval "$(wherry completion bash)"
_wherry() {
    local IFS=$'\\n' line typed="${COMP_LINE:0:COMP_POINT}" current="${COMP_WORDS[COMP_CWORD]}"
    local -a words
    COMPREPLY=()
    # COMP_WORDS is broken at = and :, which are within our words.
    IFS=$' \\t\\n' read -ra words <<< "$typed"
    [[ $typed == *[[:space:]] ]] && words+=("")
    [[ $current == [=:] ]] && current=
    local done="${words[${#words[@]}-1]%"$current"}"
    while read -r line; do
        [[ $line == :files ]] && { compopt -o default; continue; }
        line="${line%%$'\\t'*}"
        COMPREPLY+=("${line#"$done"}")
    done < <(wherry __complete -- "${words[@]:1}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=:] ]] && compopt -o nospace
}
complete -F _wherry wherry
"""

_ZSH = """\
#compdef wherry
# wherry completion for zsh: eval "$(wherry completion zsh)"
_wherry() {
    local line files=0
    local -a found open
    while read -r line; do
        [[ $line == :files ]] && { files=1; continue; }
        local word="${line%%$'\\t'*}"
        local shown="${word//:/\\\\:}:${line#*$'\\t'}"
        [[ $word == *[=:] ]] && open+=("$shown") || found+=("$shown")
    done < <(wherry __complete -- "${(@)words[2,$CURRENT]}" 2>/dev/null)
    (( $#found )) && _describe wherry found
    (( $#open )) && _describe wherry open -S ''
    (( files )) && _files
}
compdef _wherry wherry
"""

_FISH = """\
# wherry completion for fish: wherry completion fish | source
function __wherry_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (wherry __complete -- $words[2..-1] 2>/dev/null)
        if test $line = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c wherry -f -a '(__wherry_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_SIGNALS = ["HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "STOP", "CONT"]


def completion(ctx: Context, options: Options, args: list[str]) -> None:
    if args[0] not in _SCRIPTS:
        raise CliError(f"unknown shell {args[0]!r}: must be bash, zsh or fish")
    ctx.out.write(_SCRIPTS[args[0]])


def complete(ctx: Context, options: Options, args: list[str]) -> None:
    """Print what may stand in place of the last word: ``word<TAB>help`` lines, and ``:files``
    where a file name is wanted."""
    # A completion must never start a daemon.
    os.environ["WHERRY_NO_AUTOSTART"] = "1"
    words = args or [""]
    for word, about in candidates(ctx, words[:-1], words[-1]):
        ctx.say(f"{word}\t{about}" if about else word)


def candidates(ctx: Context, before: list[str], current: str) -> list[tuple[str, str]]:
    """(word, help) for what may follow ``before`` and starts with ``current``."""
    from wherry.cli.main import GLOBAL_FLAGS

    rest, globals_typed, pending = _without_global_flags(before, GLOBAL_FLAGS)
    ctx = _context_of(globals_typed) or ctx
    found: list[tuple[str, str]]
    path, entry = registry.find(rest) if rest else ([], None)
    if pending is not None:
        found = _values(ctx, *_kind(pending, ""))
    elif entry is None:
        if rest and not (path and len(rest) == 1):
            return []
        found = _commands(path)
        if current.startswith("-"):
            found = _flags(GLOBAL_FLAGS)
    else:
        found = _of_command(ctx, entry, rest[len(path) :], current)
    return [one for one in found if one[0].startswith(current) or one[0] == ":files"]


def _of_command(
    ctx: Context, entry: registry.Entry, words: list[str], current: str
) -> list[tuple[str, str]]:
    """What may follow a command and ``words``."""
    command = registry.load(entry)
    name = registry.canonical(entry)
    wanting = _wants_value(command, words[-1] if words else "")
    if wanting is not None:
        return _values(ctx, *_kind(wanting, name))
    start, equals, _ = current.partition("=")
    if equals and start.startswith("--"):
        flag = next((one for one in command.flags if f"--{one.name}" == start), None)
        if flag is None or flag.kind == "bool":
            return []
        return [
            (word if word == ":files" else f"{start}={word}", about)
            for word, about in _values(ctx, *_kind(flag, name))
        ]
    given = _arguments(command, words)
    if current.startswith("-") and (command.interspersed or not given):
        return _flags(command.flags)
    most = command.args[1]
    kinds = command.complete.split()
    if not kinds or (most is not None and len(given) >= most):
        return []
    return [
        one
        for one in _values(ctx, kinds[min(len(given), len(kinds) - 1)], ())
        if one[0] not in given
    ]


def _arguments(command: Command, words: list[str]) -> list[str]:
    """The words that are no flags nor values of flags."""
    found: list[str] = []
    for at, word in enumerate(words):
        if (found and not command.interspersed) or (
            not word.startswith("-") and not (at and _wants_value(command, words[at - 1]))
        ):
            found.append(word)
    return found


def _context_of(words: list[str]) -> Context | None:
    """Names come from the daemon that the typed flags choose."""
    from wherry.cli.main import GLOBAL_FLAGS, context_of

    if not words:
        return None
    try:
        return context_of(parse(GLOBAL_FLAGS, words, interspersed=False)[0], "")
    except (CliError, ClientError):
        return None


def _without_global_flags(
    words: list[str], flags: tuple[Flag, ...]
) -> tuple[list[str], list[str], Flag | None]:
    """(the words from the command on, the global flags before, the one that lacks its value)."""
    rest, typed = list(words), list[str]()
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        typed.append(word)
        name = word.lstrip("-")
        flag = next((one for one in flags if name in (one.name, one.short)), None)
        if flag is None or flag.kind == "bool":
            continue
        if not rest:
            return [], typed[:-1], flag
        typed.append(rest.pop(0))
    return rest, typed, None


def _wants_value(command: Command, last: str) -> Flag | None:
    """The flag that the word being typed is the value of."""
    if not last.startswith("-") or "=" in last:
        return None
    for flag in command.flags:
        long = last == f"--{flag.name}"
        short = not last.startswith("--") and flag.short != "" and last.endswith(flag.short)
        if flag.kind != "bool" and (long or short):
            return flag
    return None


_CHOICES = {
    "cgroupns": "host private",
    "format": "json table",
    "ipc": "host none private shareable",
    "log-driver": "fluentd gelf journald json-file local none syslog",
    "log-level": "debug info warn error fatal",
    "on-unhealthy": "kill none restart stop",
    "pid": "host",
    "platform": "linux/amd64 linux/arm64",
    "pull": "always missing never",
    "restart": "always no on-failure unless-stopped",
    "type": "container image network volume",
    "userns": "host",
    "uts": "host",
}
"""Values of flags by name, for every command that has them."""
_LIVE = {
    "cidfile": "files",
    "config": "files",
    "context": "contexts",
    "env-file": "files",
    "label-file": "files",
    "link": "containers",
    "network": "networks",
    "signal": "signals",
    "stop-signal": "signals",
    "tlscacert": "files",
    "tlscert": "files",
    "tlskey": "files",
    "volume": "places",
    "volumes-from": "containers",
}
_PRUNE = "label= label!= name= name!= until="
_STATES_OF = "created dead exited paused removing restarting running"
_FILTERS = {
    "container ls": (
        "ancestor= before= exited= expose= health= id= label= name= network= publish= since= "
        "volume= " + " ".join(f"status={state}" for state in _STATES_OF.split())
    ),
    "image ls": "before= dangling=true dangling=false label= reference= since= until=",
    "network ls": "dangling= driver= id= label= name= scope= type=builtin type=custom",
    "volume ls": "dangling=true dangling=false driver= label= name=",
    "system events": (
        "container= daemon= event= image= label= network= scope= volume= type=container "
        "type=daemon type=image type=network type=volume"
    ),
}


def _kind(flag: Flag, command: str) -> tuple[str, tuple[str, ...]]:
    """What completes a flag's value: a kind of names, and fixed words."""
    if flag.name == "filter":
        return "", tuple(_FILTERS.get(command, _PRUNE).split())
    choices = tuple(_CHOICES.get(flag.name, "").split())
    if command == "network create" and flag.name == "driver":
        choices = ("bridge", "ipvlan", "macvlan")
    return flag.complete or _LIVE.get(flag.name, ""), choices


def _commands(path: list[str]) -> list[tuple[str, str]]:
    if path:
        table = registry.GROUPS[path[0]][1]
        return [(name, entry[1]) for name, entry in sorted(table.items()) if entry[1]]
    found = {name: about for name, (about, _) in registry.GROUPS.items()}
    for name, (group, command) in registry.TOP.items():
        found[name] = registry.GROUPS[group][1][command][1]
    found |= {name: entry[1] for name, entry in registry.OWN.items() if entry[1]}
    return sorted(found.items())


def _flags(flags: tuple[Flag, ...]) -> list[tuple[str, str]]:
    return [(f"--{flag.name}", flag.help.split("\n")[0]) for flag in flags if not flag.hidden]


def _values(ctx: Context, kind: str, fixed: Sequence[str]) -> list[tuple[str, str]]:
    """Fixed words, and live names from the daemon; none of these when it does not answer."""
    return [*((word, "") for word in fixed), *_names(ctx, kind)]


def _names(ctx: Context, kind: str) -> list[tuple[str, str]]:
    if kind == "objects":
        kinds = ("containers", "images", "networks", "volumes")
        return list(dict(one for each in kinds for one in _names(ctx, each)).items())
    if kind in ("copy", "places"):
        found = _names(ctx, "containers" if kind == "copy" else "volumes")
        return [*((f"{name}:", about) for name, about in found), (":files", "")]
    if kind == "files":
        return [(":files", "")]
    if kind == "shells":
        return [(name, "") for name in _SCRIPTS]
    if kind == "signals":
        return [(name, "") for name in _SIGNALS]
    try:
        if kind == "contexts":
            from wherry.client.contexts import DEFAULT, ContextStore

            return [(name, "") for name in (DEFAULT, *ContextStore(ctx.config.folder).names())]
        return _live(ctx.client, kind)
    except ClientError:
        return []


_STATES = {
    "running": ["running"],
    "paused": ["paused"],
    "stopped": ["created", "exited", "dead"],
}


def _live(client: Client, kind: str) -> list[tuple[str, str]]:
    if kind in ("containers", *_STATES):
        filters = {"status": dict.fromkeys(_STATES[kind], True)} if kind in _STATES else {}
        return [
            (one["Names"][0].removeprefix("/"), one.get("Image", ""))
            for one in client.get("/containers/json", all=True, filters=filters)
            if one.get("Names")
        ]
    if kind == "images":
        tags = [tag for one in client.get("/images/json") for tag in one.get("RepoTags") or []]
        return [(tag.removesuffix(":latest"), "") for tag in tags if tag != "<none>:<none>"]
    if kind == "networks":
        return [(one["Name"], one.get("Driver", "")) for one in client.get("/networks")]
    if kind == "volumes":
        found = client.get("/volumes") or {}
        return [(one["Name"], one.get("Driver", "")) for one in found.get("Volumes") or []]
    return []


COMPLETION = Command(completion, "bash|zsh|fish", (), (1, 1), complete="shells")
COMPLETE = Command(complete, "", (), (0, None), interspersed=False)
