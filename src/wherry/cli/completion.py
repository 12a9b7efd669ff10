"""Shell completion: the scripts for bash, zsh and fish, and the words they ask for."""

from __future__ import annotations

import os

from wherry.cli import registry
from wherry.cli.command import Command
from wherry.cli.errors import CliError
from wherry.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.command import Context
    from wherry.cli.flags import Flag, Options
    from wherry.client.engine import Client

_BASH = """\
# wherry completion for bash: eval "$(wherry completion bash)"
_wherry() {
    local IFS=$'\\n' line
    COMPREPLY=()
    local words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    while read -r line; do
        [[ $line == :files ]] && { compopt -o default; continue; }
        COMPREPLY+=("${line%%$'\\t'*}")
    done < <(wherry __complete -- "${words[@]}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    declare -F __ltrim_colon_completions >/dev/null && \\
        __ltrim_colon_completions "${words[${#words[@]}-1]}"
}
complete -F _wherry wherry
"""

_ZSH = """\
#compdef wherry
# wherry completion for zsh: eval "$(wherry completion zsh)"
_wherry() {
    local line files=0
    local -a found
    while read -r line; do
        [[ $line == :files ]] && { files=1; continue; }
        found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done < <(wherry __complete -- "${(@)words[2,$CURRENT]}" 2>/dev/null)
    _describe wherry found
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

    before = _without_global_flags(before, GLOBAL_FLAGS)
    path, entry = registry.find(before) if before else ([], None)
    found: list[tuple[str, str]]
    if entry is None:
        if before and not (path and len(before) == 1):
            return []
        found = _commands(path)
        if current.startswith("-"):
            found = _flags(GLOBAL_FLAGS)
    else:
        command = registry.load(entry)
        last = before[-1] if len(before) > len(path) else ""
        wanting = _wants_value(command, last)
        if wanting is not None:
            found = _values(ctx, wanting.complete)
        elif current.startswith("-"):
            found = _flags(command.flags)
        else:
            found = _values(ctx, command.complete)
    return [one for one in found if one[0].startswith(current) or one[0] == ":files"]


def _without_global_flags(words: list[str], flags: tuple[Flag, ...]) -> list[str]:
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        name = word.lstrip("-")
        flag = next((one for one in flags if name in (one.name, one.short)), None)
        if flag is not None and flag.kind != "bool" and rest:
            rest.pop(0)
    return rest


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


def _values(ctx: Context, kind: str) -> list[tuple[str, str]]:
    """Live names from the daemon; nothing when it does not answer."""
    if kind == "files":
        return [(":files", "")]
    if kind == "signals":
        return [(name, "") for name in _SIGNALS]
    if kind == "types":
        return [(name, "") for name in ("container", "image", "network", "volume")]
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


COMPLETION = Command(completion, "bash|zsh|fish", (), (1, 1))
COMPLETE = Command(complete, "", (), (0, None), interspersed=False)
