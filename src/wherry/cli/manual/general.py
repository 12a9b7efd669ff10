"""Pages of checkpoints, contexts, the system, and what belongs to no group."""

from __future__ import annotations

from wherry.cli.manual import Page

_FAR = "host=tcp://far:2376,ca=ca.pem,cert=cert.pem,key=key.pem"

PAGES = {
    "checkpoint create": Page(
        """
Write the state of a running container's processes to disk (with criu, where this host has it)
and stop it; --leave-running lets it go on. start --checkpoint takes it up again.""",
        [("Keep a container's state", "checkpoint create web before")],
    ),
    "checkpoint ls": Page(
        "List the checkpoints that were made of a container.",
        [("What is kept?", "checkpoint ls web")],
    ),
    "checkpoint rm": Page(
        "Remove a checkpoint of a container; it cannot be started from it again.",
        [("Forget it", "checkpoint rm web before")],
    ),
    "context create": Page(
        """
Give a daemon a name, with the address and certificates it is reached by. Without --docker and
--from the daemon in use now is written down. Keys and certificates are copied into the store.""",
        [
            ("Over TLS", f"context create far --docker {_FAR}"),
            ("Over ssh", "context create lab --docker host=ssh://me@lab"),
            ("A copy", "context create far2 --from far --description 'spare'"),
        ],
    ),
    "context export": Page(
        """
Write a context with its keys to one file (CONTEXT.dockercontext unless named; - is standard
output), for import elsewhere. The file is for its owner alone, and never replaces another.""",
        [("To take along", "context export far far.tar")],
    ),
    "context import": Page(
        "Read a context from a file that export wrote, or from - for standard input.",
        [("Under a name of one's own", "context import far far.tar")],
    ),
    "context inspect": Page(
        "Show contexts, by default the current one, as a JSON array; -f picks with a Go template.",
        [("Which daemon is it?", "context inspect -f '{{.Endpoints.docker.Host}}'")],
    ),
    "context ls": Page(
        """
List contexts; a star marks the current one. "default" is what flags and environment say.
Fields for --format: .Name .Current .Description .DockerEndpoint .Error.""",
        [("Names only", "context ls -q")],
    ),
    "context rm": Page(
        "Remove contexts with their keys. The current one is refused unless -f is given.",
        [("Remove", "context rm far")],
    ),
    "context show": Page(
        "Print the name of the context that commands use now.", [("In a prompt", "context show")]
    ),
    "context update": Page(
        "Change a context's description, or replace its endpoint and certificates.",
        [
            ("New certificates", f"context update far --docker {_FAR}"),
            ("Another description", "context update far --description 'the big one'"),
        ],
    ),
    "context use": Page(
        """
Make a context the one that commands use from now on; "default" returns to flags and
environment. -H, --context, WHERRY_HOST and DOCKER_HOST go before it.""",
        [("From now on", "context use far"), ("Back", "context use default")],
    ),
    "system df": Page(
        """
Show the disk space that images, containers, volumes and the build cache take, how much of it
is in use, and what a prune would free. -v lists every one. Layers that images share count
once.""",
        [("A summary", "system df"), ("All of it", "system df -v")],
    ),
    "system events": Page(
        """
Show what happens, as it happens, until interrupted or until --until. --since begins with what
happened before; the newest ten thousand or so are kept, also over a restart of the daemon.
Times may be dates, Unix seconds or durations ago.

Filters: container, daemon, event, image, label, network, scope, type, volume.""",
        [
            ("Everything", "events"),
            ("What ended in the last hour", "events --since 1h --until 0s -f event=die"),
            ("One container, as JSON", "events -f container=web --format json"),
        ],
    ),
    "system info": Page(
        """
Show what the daemon is and has: counts, drivers, kernel, limits, warnings about what this
host lacks. The client's half is shown even when no daemon answers.""",
        [("All of it", "info"), ("One value", "info -f '{{.NCPU}}'")],
        {"1": "no daemon answered"},
    ),
    "system prune": Page(
        """
Remove what nothing uses: stopped containers, networks without containers, dangling images
(with -a all images without containers), and with --volumes anonymous volumes. It asks first,
unless -f is given.

Filters: until, label=, label!=, name=PATTERN, name!=PATTERN. --dry-run shows what would go,
counting what is free once the containers are gone, and changes nothing.""",
        [
            ("What would go?", "system prune -a --dry-run"),
            ("A nightly cleaning", "system prune -af --filter until=48h"),
            ("But nothing that is marked", "system prune -af --filter label!=keep"),
        ],
    ),
    "completion": Page(
        """
Print the script that lets a shell complete commands, flags and names as you type; names come
from the daemon. Where the script belongs depends on the shell.""",
        [
            ("bash: in ~/.bashrc", 'eval "$(wherry completion bash)"'),
            ("zsh: in ~/.zshrc, after compinit", 'eval "$(wherry completion zsh)"'),
            ("fish: in config.fish", "completion fish | source"),
        ],
    ),
    "inspect": Page(
        """
Show everything the daemon knows of containers, images, networks and volumes of these names as
a JSON array; --type looks among one kind only. -f picks from it with a Go template whose
fields are those of the JSON; a field that is not there is an error.""",
        [
            ("Whatever it is", "inspect web"),
            ("The address of a container", "inspect -f '{{.NetworkSettings.IPAddress}}' web"),
            ("A volume of the same name", "inspect --type volume web"),
        ],
    ),
    "version": Page(
        """
Show the versions of this client and of the daemon, and of what the daemon builds upon. The
client's half is shown even when no daemon answers.""",
        [("For a script", "version -f '{{.Server.Version}}'")],
        {"1": "no daemon answered"},
    ),
}
