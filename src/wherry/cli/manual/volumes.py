"""Pages of ``wherry volume ...``."""

from __future__ import annotations

from wherry.cli.manual import Page

PAGES = {
    "volume clone": Page(
        """
Make a volume with the content another one has now. Where the file system can share blocks,
this costs neither time nor space. Driver options and labels of the source are taken over
unless others are given.""",
        [("Try something on a copy", "volume clone db-data db-trial")],
    ),
    "volume create": Page(
        """
Make a volume, with a name of its own or one that is printed. The local driver knows size=SIZE
(a limit) and the options of mount: type, device, o. Making one that is there already is no
error if driver and options agree.""",
        [
            ("A volume", "volume create db-data"),
            ("With a limit", "volume create -o size=10g db-data"),
            ("In memory", "volume create -o type=tmpfs -o device=tmpfs -o o=size=64m scratch"),
            (
                "A folder of a file server",
                "volume create -o type=nfs -o device=:/srv -o o=addr=nas nas",
            ),
        ],
    ),
    "volume export": Page(
        "Write a volume's content as a tar archive to standard output, or with -o to a file.",
        [
            ("A backup", "volume export -o db.tar db-data"),
            ("To another machine", "volume export data | ssh other wherry volume import data"),
        ],
    ),
    "volume import": Page(
        """
Fill a volume from a tar archive: a file, or standard input. The volume is made when it is not
there; one that has content is refused unless --overwrite is given. On failure it is as it
was.""",
        [("Put a backup back", "volume import --overwrite db-data db.tar")],
    ),
    "volume inspect": Page(
        "Show everything the daemon knows of volumes as a JSON array; -f picks with a Go template.",
        [("Where is it?", "volume inspect -f '{{.Mountpoint}}' db-data")],
    ),
    "volume ls": Page(
        """
List volumes. Filters: dangling, driver, label, name. --size adds what each takes, which means
to walk through it. volumesFormat in config.json is the default for --format.""",
        [
            ("What no container uses", "volume ls -f dangling=true"),
            ("With sizes", "volume ls --size"),
        ],
    ),
    "volume prune": Page(
        """
Remove volumes that no container refers to: anonymous ones, or with -a all. Volumes with
driver options stay. It asks first, unless -f is given. Filters: until, label=, label!=,
name=PATTERN, name!=PATTERN. --dry-run shows what would go, and changes nothing.""",
        [
            ("Leftovers", "volume prune -f"),
            ("What would go of the named ones?", "volume prune -a --dry-run"),
        ],
    ),
    "volume rename": Page(
        "Give a volume another name. Containers that use it keep it.",
        [("Rename", "volume rename data db-data")],
    ),
    "volume restore": Page(
        "Make a volume's content what it was at a snapshot. No running container may use it.",
        [("Back to before the upgrade", "volume restore db-data before-upgrade")],
    ),
    "volume rm": Page(
        "Remove volumes with all they hold. One that a container refers to is refused.",
        [("Remove two", "volume rm old-data scratch")],
    ),
    "volume snapshot": Page(
        """
Keep a volume's present content under a name, list what was kept, or with --remove forget it.""",
        [
            ("Before an upgrade", "volume snapshot db-data before-upgrade"),
            ("What is kept?", "volume snapshot db-data"),
        ],
    ),
    "volume update": Page(
        "Change a volume's size limit or labels while containers use it.",
        [("More room", "volume update --size 20g db-data")],
    ),
}
