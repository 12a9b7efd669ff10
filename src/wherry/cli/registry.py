"""Every command by name: ``group -> {name: (module:ATTRIBUTE, one line of help)}``.

To add a group: write ``wherry/cli/<group>.py`` with a :class:`~wherry.cli.command.Command` for
each command, add its table to ``GROUPS`` here, and its short forms (if any) to ``TOP``. The help
text lives only here, so that listing commands imports none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.command import Command

    Entry = tuple[str, str]

CHECKPOINT: dict[str, Entry] = {
    "create": ("checkpoint:CREATE", "Create a checkpoint from a running container"),
    "ls": ("checkpoint:LS", "List checkpoints for a container"),
    "rm": ("checkpoint:RM", "Remove a checkpoint"),
}

CONTAINER: dict[str, Entry] = {
    "attach": (
        "attach:ATTACH",
        "Attach local standard input, output, and error streams to a running container",
    ),
    "commit": ("snapshots:COMMIT", "Create a new image from a container's changes"),
    "cp": ("copy:CP", "Copy files/folders between a container and the local filesystem"),
    "create": ("run:CREATE", "Create a new container"),
    "diff": (
        "snapshots:DIFF",
        "Inspect changes to files or directories on a container's filesystem",
    ),
    "exec": ("exec:EXEC", "Execute a command in a running container"),
    "export": ("snapshots:EXPORT", "Export a container's filesystem as a tar archive"),
    "inspect": (
        "inspect:CONTAINER_INSPECT",
        "Display detailed information on one or more containers",
    ),
    "kill": ("lifecycle:KILL", "Kill one or more running containers"),
    "logs": ("logs:LOGS", "Fetch the logs of a container"),
    "ls": ("ps:PS", "List containers"),
    "pause": ("lifecycle:PAUSE", "Pause all processes within one or more containers"),
    "port": ("looking:PORT", "List port mappings or a specific mapping for the container"),
    "prune": ("prune:CONTAINER_PRUNE", "Remove all stopped containers"),
    "rename": ("lifecycle:RENAME", "Rename a container"),
    "restart": ("lifecycle:RESTART", "Restart one or more containers"),
    "rm": ("lifecycle:RM", "Remove one or more containers"),
    "run": ("run:RUN", "Create and run a new container from an image"),
    "start": ("start:START", "Start one or more stopped containers"),
    "stats": ("stats:STATS", "Display a live stream of container(s) resource usage statistics"),
    "stop": ("lifecycle:STOP", "Stop one or more running containers"),
    "top": ("looking:TOP", "Display the running processes of a container"),
    "unpause": ("lifecycle:UNPAUSE", "Unpause all processes within one or more containers"),
    "update": ("update:UPDATE", "Update configuration of one or more containers"),
    "wait": (
        "lifecycle:WAIT",
        "Block until one or more containers stop, then print their exit codes",
    ),
}

CONTEXT: dict[str, Entry] = {
    "create": ("contexts:CREATE", "Create a context"),
    "export": (
        "contexts:EXPORT",
        "Export a context to a tar archive FILE or a tar stream on STDOUT.",
    ),
    "import": ("contexts:IMPORT", "Import a context from a tar or zip file"),
    "inspect": ("contexts:INSPECT", "Display detailed information on one or more contexts"),
    "ls": ("contexts:LS", "List contexts"),
    "rm": ("contexts:RM", "Remove one or more contexts"),
    "show": ("contexts:SHOW", "Print the name of the current context"),
    "update": ("contexts:UPDATE", "Update a context"),
    "use": ("contexts:USE", "Set the current context"),
}

IMAGE: dict[str, Entry] = {
    "history": ("images:HISTORY", "Show the history of an image"),
    "import": (
        "transfer:IMPORT",
        "Import the contents from a tarball to create a filesystem image",
    ),
    "inspect": ("inspect:IMAGE_INSPECT", "Display detailed information on one or more images"),
    "load": ("transfer:LOAD", "Load an image from a tar archive or STDIN"),
    "ls": ("images:IMAGES", "List images"),
    "prune": ("prune:IMAGE_PRUNE", "Remove unused images"),
    "pull": ("transfer:PULL", "Download an image from a registry"),
    "push": ("transfer:PUSH", "Upload an image to a registry"),
    "rm": ("images:RMI", "Remove one or more images"),
    "save": (
        "transfer:SAVE",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
    ),
    "tag": ("images:TAG", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
}

NETWORK: dict[str, Entry] = {
    "connect": ("networks:CONNECT", "Connect a container to a network"),
    "create": ("networks:CREATE", "Create a network"),
    "disconnect": ("networks:DISCONNECT", "Disconnect a container from a network"),
    "inspect": (
        "networks:INSPECT",
        "Display detailed information on one or more networks",
    ),
    "ls": ("networks:LS", "List networks"),
    "prune": ("prune:NETWORK_PRUNE", "Remove all unused networks"),
    "rm": ("networks:RM", "Remove one or more networks"),
}

SYSTEM: dict[str, Entry] = {
    "df": ("diskusage:DF", "Show disk usage"),
    "dial-stdio": ("system:DIAL_STDIO", ""),
    "events": ("events:EVENTS", "Get real time events from the server"),
    "info": ("system:INFO", "Display system-wide information"),
    "prune": ("prune:SYSTEM_PRUNE", "Remove unused data"),
}

VOLUME: dict[str, Entry] = {
    "clone": ("volume_archive:CLONE", "Create a volume with the content of another"),
    "create": ("volumes:CREATE", "Create a volume"),
    "export": ("volume_archive:EXPORT", "Export a volume's content as a tar archive"),
    "import": ("volume_archive:IMPORT", "Fill a volume from a tar archive"),
    "inspect": ("volumes:INSPECT", "Display detailed information on one or more volumes"),
    "ls": ("volumes:LS", "List volumes"),
    "prune": ("prune:VOLUME_PRUNE", "Remove unused local volumes"),
    "rename": ("volumes:RENAME", "Rename a volume"),
    "restore": ("volume_archive:RESTORE", "Make a volume's content what it was at a snapshot"),
    "rm": ("volumes:RM", "Remove one or more volumes"),
    "snapshot": ("volume_archive:SNAPSHOT", "Keep a volume's present content, or list snapshots"),
    "update": ("volumes:UPDATE", "Change a volume's size limit or labels"),
}

GROUPS: dict[str, tuple[str, dict[str, Entry]]] = {
    "checkpoint": ("Manage checkpoints", CHECKPOINT),
    "container": ("Manage containers", CONTAINER),
    "context": ("Manage contexts", CONTEXT),
    "image": ("Manage images", IMAGE),
    "network": ("Manage networks", NETWORK),
    "system": ("Manage Wherry", SYSTEM),
    "volume": ("Manage volumes", VOLUME),
}

SYNONYMS = {
    "checkpoint": {"list": "ls", "remove": "rm"},
    "container": {"list": "ls", "ps": "ls", "remove": "rm"},
    "context": {"list": "ls", "remove": "rm"},
    "image": {"list": "ls", "remove": "rm"},
    "network": {"list": "ls", "remove": "rm"},
    "volume": {"list": "ls", "remove": "rm"},
}
"""Other names of a group's commands, not listed in its help."""

COMMON = ("run", "exec", "ps", "pull", "push", "images", "version", "info")
"""Short forms to show first."""

TOP: dict[str, tuple[str, str]] = {
    **{name: ("container", name) for name in CONTAINER if name not in ("ls", "inspect", "prune")},
    "ps": ("container", "ls"),
    **{name: ("image", name) for name in ("history", "import", "load", "pull", "push", "save")},
    "tag": ("image", "tag"),
    "images": ("image", "ls"),
    "rmi": ("image", "rm"),
    "info": ("system", "info"),
    "events": ("system", "events"),
}
"""Short forms: name -> (group, command)."""

OWN: dict[str, Entry] = {
    "completion": ("completion:COMPLETION", "Print the shell completion script (bash, zsh, fish)"),
    "inspect": ("inspect:INSPECT", "Return low-level information on objects"),
    "version": ("version:VERSION", "Show the version information"),
    "__complete": ("completion:COMPLETE", ""),
}
"""Top-level commands that belong to no group. Without a help line: not listed."""


def find(words: list[str]) -> tuple[list[str], Entry | None]:
    """The path and entry of the command that ``words`` begins with, as far as it goes.

    ``["container", "list", "-a"]`` -> ``(["container", "ls"], entry)``; a group alone gives
    ``(["container"], None)``; unknown words give ``([], None)``.
    """
    first = words[0]
    if first in GROUPS:
        table = GROUPS[first][1]
        second = words[1] if len(words) > 1 else ""
        name = SYNONYMS.get(first, {}).get(second, second)
        return ([first, second], table[name]) if name in table else ([first], None)
    if first in TOP:
        group, name = TOP[first]
        return [first], GROUPS[group][1][name]
    return ([first], OWN[first]) if first in OWN else ([], None)


def load(entry: Entry) -> Command:
    """Import the command's module and give the command."""
    import importlib

    module, _, attribute = entry[0].partition(":")
    if "." not in module:
        module = f"wherry.cli.{module}"
    command: Command = getattr(importlib.import_module(module), attribute)
    return command


def canonical(entry: Entry) -> str:
    """The first name of a command: ``container run``, ``version``."""
    for group, (_, table) in GROUPS.items():
        for name, found in table.items():
            if found is entry:
                return f"{group} {name}"
    return next(name for name, found in OWN.items() if found is entry)


def other_names(entry: Entry) -> list[str]:
    """All ways to write a command, for its help."""
    names = []
    for group, (_, table) in GROUPS.items():
        for name, found in table.items():
            if found is entry:
                names.append(f"{group} {name}")
                same = SYNONYMS.get(group, {})
                names += [f"{group} {other}" for other, target in same.items() if target == name]
    for short, (group, name) in TOP.items():
        if GROUPS[group][1][name] is entry:
            names.append(short)
    return names
