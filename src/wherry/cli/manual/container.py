"""Pages of ``wherry container ...`` and the short forms of it."""

from __future__ import annotations

from wherry.cli.manual import Page

_COMMAND = {
    "125": "the daemon refused, or a flag is unknown or its value wrong",
    "126": "the command is there but cannot be run",
    "127": "there is no such command in the container",
    "128+n": "the command was ended by signal n (137: SIGKILL, 143: SIGTERM)",
    "other": "the exit code of the command itself",
}
_DETACH = (
    "ctrl-p ctrl-q leaves the container running and returns to the shell; --detach-keys, or "
    "detachKeys in config.json, chooses other keys."
)

PAGES = {
    "container attach": Page(
        f"""
Connect the terminal to the main process of a running container: what it prints from now on is
shown, what is typed becomes its input (if it was created with -i). {_DETACH}

Without a terminal, signals are passed on to the container. When the container ends, its exit
code becomes that of this command.""",
        [
            ("See what a service prints, without touching its input", "attach --no-stdin web"),
            ("Take over a shell, leaving it with ctrl-a d", "attach --detach-keys ctrl-a,d shell"),
        ],
        {"other": "the exit code of the container"},
    ),
    "container commit": Page(
        """
Make an image of what was changed in a container's files. Volumes and bind mounts are not part
of it. The container is paused meanwhile, so that the files agree with each other;
--pause=false leaves it running. --change takes instructions of a Dockerfile: CMD, ENTRYPOINT,
ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR, HEALTHCHECK.

The id of the new image is printed. For images that others can build again, a Dockerfile is
better.""",
        [
            ("Keep a container's state as an image", "commit web web:debug"),
            (
                "Say who and why, and change what it runs",
                "commit -a 'Ada' -m 'tools added' -c 'CMD [\"sh\"]' web web:tools",
            ),
        ],
    ),
    "container cp": Page(
        """
Copy files and folders between a container and this machine, or from one container into
another. The container need not run. A folder is copied with all it holds; SRC/. copies its
content only. As with cp, a target that is a folder receives the source inside of it.

With several sources, or wildcards (* ? [a-z], also on the container's side: quote them), the
target must be a folder. - as the source reads a tar archive from standard input, as the
target writes one to standard output. Files belong to whoever runs the command, or inside to
root; -a keeps owner and group. Links are copied as links; -L copies what they lead to.""",
        [
            ("Take a log out", "cp web:/var/log/app.log ."),
            ("Put a configuration in", "cp nginx.conf web:/etc/nginx/nginx.conf"),
            ("Only the content of a folder", "cp web:/srv/data/. backup/"),
            ("By wildcard", "cp 'web:/var/log/*.log' logs/"),
            ("As a stream", "cp web:/etc - | tar -t"),
        ],
    ),
    "container create": Page(
        """
Make a container from an image without starting it, and print its id. Everything that run
takes is taken, but for what concerns a terminal that waits; start begins it later. The image
is fetched when it is not there (--pull).""",
        [
            ("Prepare, then start", "create --name web -p 8080:80 nginx"),
            (
                "A container to copy files into first",
                "create --name job -v data:/data busybox true",
            ),
        ],
        {"1": "the daemon refused"},
    ),
    "container diff": Page(
        """
List what was added (A), changed (C) and deleted (D) in a container's files since it was
created. Volumes and mounts are not looked at.""",
        [("What did the installation write?", "diff web")],
    ),
    "container exec": Page(
        f"""
Run a further command in a running container, in its environment and with its limits. -it
gives it a terminal. It ends with the container, and is not run again when that restarts. In a
paused container nothing can be run. {_DETACH}""",
        [
            ("A shell in a container", "exec -it web sh"),
            ("One command, as another user", "exec -u www-data web id"),
            ("With an environment and a folder", "exec -e DEBUG=1 -w /srv web ./check"),
            ("In the background", "exec -d web touch /tmp/mark"),
        ],
        {**_COMMAND, "1": "the daemon refused: no such container, or it does not run"},
    ),
    "container export": Page(
        """
Write all files of a container as one tar archive, running or not; volumes and mounts are
empty folders in it. There is neither history nor configuration in it: import makes an image
of it again. The file appears when it is whole.""",
        [
            ("Into a file", "export -o web.tar web"),
            ("Through a pipe", "export web | gzip > web.tar.gz"),
        ],
    ),
    "container inspect": Page(
        """
Show everything the daemon knows of containers as a JSON array. -f picks from it with a Go
template whose fields are those of the JSON; a field that is not there is an error. What was
found is shown even if another name was not.""",
        [
            ("All of it", "container inspect web"),
            ("One value", "container inspect -f '{{.State.Status}}' web"),
            ("Part of it as JSON", "container inspect -f '{{json .Mounts}}' web"),
            ("How much it wrote", "container inspect -s -f '{{.SizeRw}}' web"),
        ],
    ),
    "container kill": Page(
        """
Send a signal to the main process of containers, SIGKILL unless -s names another. Nothing is
waited for. A restart policy does not start again what was killed in this way.""",
        [
            ("End it now", "kill web"),
            ("Ask a service to read its configuration again", "kill -s HUP web"),
        ],
    ),
    "container logs": Page(
        """
Show what a container has printed: its standard output on ours, its standard error on ours.
Logs that were rotated are read in order, -f follows through rotation and restarts, and ends
with the container. --since and --until take times (2026-01-31T12:00:00Z), Unix seconds, or
durations ago (10m, 1h30m).

--clear forgets what was logged so far.""",
        [
            ("The last lines, and what follows", "logs -f -n 20 web"),
            ("The last ten minutes, with times", "logs -t --since 10m web"),
            ("Only errors", "logs web 2>&1 >/dev/null"),
        ],
    ),
    "container ls": Page(
        """
List containers, by default those that run. Filters (-f KEY=VALUE, several may be given):
ancestor, before, exited, expose, health, id, is-task, label, name, network, publish, since,
status, volume.

Fields for --format: .ID .Names .Image .Command .CreatedAt .RunningFor .Ports .State .Status
.Size .Labels .Label "key" .Mounts .LocalVolumes .Networks. psFormat in config.json is the
default.""",
        [
            ("Every container", "ps -a"),
            ("What failed", "ps -a -f exited=1 -f status=exited"),
            ("A table of one's own", "ps --format 'table {{.Names}}\\t{{.Status}}\\t{{.Ports}}'"),
            ("Remove what has ended", "rm $(wherry ps -aq -f status=exited)"),
        ],
    ),
    "container pause": Page(
        """
Stop all processes of containers where they are, without their noticing, until unpause. They
keep their memory, but need no processor.""",
        [("Freeze two containers", "pause web worker")],
    ),
    "container port": Page(
        """
Show which addresses and ports of this machine lead to a container's ports: all, or those of
one. The protocol is tcp unless another is given.""",
        [
            ("All of them", "port web"),
            ("Where is port 80?", "port web 80"),
            ("For UDP", "port dns 53/udp"),
        ],
    ),
    "container prune": Page(
        """
Remove all containers that do not run, with what they wrote to their own files. Volumes stay.
It asks first, unless -f is given.

Filters: until (a time or an age such as 24h), label=KEY[=VALUE], label!=KEY[=VALUE], and
name=PATTERN, name!=PATTERN with * ? [a-z]. --dry-run shows what would go and changes nothing.""",
        [
            ("What would go?", "container prune --dry-run"),
            ("What ended more than a day ago", "container prune -f --filter until=24h"),
            ("Test containers only", "container prune --filter 'name=test-*'"),
        ],
    ),
    "container rename": Page(
        "Give a container another name, running or not. Names in its networks follow at once.",
        [("Make room for a new one", "rename web web-old")],
    ),
    "container restart": Page(
        """
Stop containers and start them again, each as stop and start do; one that does not run is
started. Its id, files and settings stay.""",
        [
            ("Restart a service", "restart web"),
            ("With half a minute to end in", "restart -t 30 web"),
        ],
    ),
    "container rm": Page(
        """
Remove containers with their own files and logs. One that runs is refused unless -f is given,
which kills it first. -v also removes the anonymous volumes that were made for it.""",
        [
            ("Remove a stopped container", "rm web"),
            ("A running one, with its anonymous volumes", "rm -fv web"),
        ],
    ),
    "container run": Page(
        f"""
Make a container from an image, start it, and stay connected to it until it ends; with -d
print its id and return. What follows the image is run instead of the image's command. The
image is fetched when it is not there (--pull).

-it gives the command a terminal, --rm removes the container when it ends, -p publishes ports,
-v mounts volumes and folders, -e sets variables, --name names it, --network chooses its
network, -m and --cpus limit it, --restart keeps it going. {_DETACH}""",
        [
            ("A shell to try things in, gone afterwards", "run --rm -it busybox sh"),
            ("A service on port 8080 of this machine", "run -d --name web -p 8080:80 nginx"),
            (
                "With a volume, a variable, limits and a restart policy",
                "run -d -v data:/data -e TZ=UTC -m 512m --cpus 1.5 --restart unless-stopped app",
            ),
            ("A filter in a pipe", "run --rm -i busybox wc -l < file"),
            (
                "Started again when its check fails",
                "run -d --health-cmd 'curl -f localhost' --on-unhealthy restart app",
            ),
        ],
        _COMMAND,
    ),
    "container start": Page(
        f"""
Start containers that do not run, with the settings they were created with, and print their
names. -a stays connected to one and gives its exit code, -i gives it our input as well.
{_DETACH} --checkpoint goes on from a checkpoint.""",
        [
            ("In the background", "start web worker"),
            ("And stay with it", "start -ai shell"),
        ],
        {"other": "with -a: the exit code of the container"},
    ),
    "container stats": Page(
        """
Show what containers use: processor, memory (without what can be dropped of the page cache),
network, block devices, processes. The table is redrawn twice a second until interrupted, and
follows containers that start and end; named containers are shown whether they run or not.

Fields for --format: .Container .ID .Name .CPUPerc .MemUsage .MemPerc .NetIO .BlockIO .PIDs.
statsFormat in config.json is the default. 100 % is one whole processor.""",
        [
            ("All that runs", "stats"),
            ("Once, for a script", "stats --no-stream --format '{{.Name}} {{.MemPerc}}'"),
            ("Those that do not run as well", "stats -a --no-stream"),
        ],
    ),
    "container stop": Page(
        """
Ask the main process of containers to end (SIGTERM, or what the image or --signal says), and
kill it after 10 seconds, or after what --stop-timeout or -t says; -t -1 waits without end.
Several are stopped at the same time. A restart policy does not start them again.""",
        [
            ("Stop two services", "stop web worker"),
            ("With a minute to finish", "stop -t 60 db"),
        ],
    ),
    "container top": Page(
        """
Show the processes of a running container with the numbers they have on this machine. What
follows the name goes to ps of the host (-ef by default); the output must have a column PID.""",
        [
            ("All processes", "top web"),
            ("Other columns", "top web -o pid,rss,args"),
        ],
    ),
    "container unpause": Page(
        "Let containers that were paused go on where they were.",
        [("Go on", "unpause web worker")],
    ),
    "container update": Page(
        """
Change containers that exist: limits and the restart policy at once, also while they run.
Beyond that the environment, labels, published ports, mounts and the health check: id and
files stay, the answer says what applies now and what at the next start.""",
        [
            ("More memory, now", "update -m 2g --memory-swap 2g db"),
            ("Let it start again after a reboot", "update --restart unless-stopped web"),
            ("Another published port", "update --publish 8081:80 --publish-rm 8080:80 web"),
            ("A variable for the next start", "update --env LEVEL=debug web"),
        ],
    ),
    "container wait": Page(
        """
Wait until containers end, and print the exit code of each, one a line, in the order they were
given. What has ended already is not waited for.""",
        [("Wait for a job and take its code", "code=$(wherry wait job)")],
    ),
}
