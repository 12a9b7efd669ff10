"""Pages of ``wherry image ...`` and the short forms of it."""

from __future__ import annotations

from wherry.cli.manual import Page

PAGES = {
    "image history": Page(
        """
Show the steps an image was made in, newest first, with the size each added. Steps that
changed only settings have none. --no-trunc shows whole commands, -H=false sizes in bytes and
times as dates.""",
        [
            ("How was it made?", "history --no-trunc nginx"),
            ("Sizes only", "history --format '{{.Size}}\\t{{.CreatedBy}}' nginx"),
        ],
    ),
    "image import": Page(
        """
Make an image with one layer from a tar archive of a root file system: a file, a URL that the
daemon fetches, or - for standard input; gzip, bzip2, xz and zstd are understood. It has no
settings but those of --change (CMD, ENV, ...). The id is printed.""",
        [
            ("What export wrote", "import web.tar web:flat"),
            (
                "From a pipe, with a command",
                "tar -C root -c . | wherry import -c 'CMD [\"sh\"]' - mine:1",
            ),
        ],
    ),
    "image inspect": Page(
        """
Show everything the daemon knows of images as a JSON array; -f picks from it with a Go
template. An image is named by name and tag, by digest, or by the beginning of its id.""",
        [
            ("Its settings", "image inspect -f '{{json .Config}}' nginx"),
            ("Its layers", "image inspect -f '{{join .RootFS.Layers \"\\n\"}}' nginx"),
            ("The variant for another machine", "image inspect --platform linux/arm64 nginx"),
        ],
    ),
    "image load": Page(
        """
Read images, with their names, from an archive that save wrote (its own format or an OCI
layout, in any usual compression), from -i FILE or standard input. On a terminal a bar shows
how far it is.""",
        [
            ("From a file", "load -i images.tar"),
            ("From another machine", "ssh other wherry save app | wherry load"),
        ],
    ),
    "image ls": Page(
        """
List images, newest first. A name shows only its tags, and may have * and ?. Filters: before,
dangling, label, reference, since, until. -a adds the nameless images that others are built
upon.

Fields for --format: .ID .Repository .Tag .Digest .CreatedSince .CreatedAt .Size. imagesFormat
in config.json is the default.""",
        [
            ("All of them", "images"),
            ("One repository", "images nginx"),
            ("Without a name", "images -q -f dangling=true"),
            ("Names for a script", "images --format '{{.Repository}}:{{.Tag}}'"),
        ],
    ),
    "image prune": Page(
        """
Remove images that have no name and no container (dangling), or with -a all that no container
uses. It asks first, unless -f is given.

Filters: until, label=, label!=, and name=PATTERN, name!=PATTERN: of an image only the names
that match are taken away, and it goes with the last. --dry-run shows what would go and
changes nothing.""",
        [
            ("Leftovers of builds", "image prune -f"),
            ("What would a thorough cleaning take?", "image prune -a --dry-run"),
            ("All but one project's", "image prune -a --filter 'name!=project/*'"),
        ],
    ),
    "image pull": Page(
        """
Fetch an image from a registry: by tag (latest if none is given) or by digest. What is here
already is not fetched again. A name without a registry is looked up on docker.io. -a fetches
all tags.""",
        [
            ("A version", "pull nginx:1.27"),
            ("Exactly this content", "pull registry.example/app@sha256:0123..."),
            ("For another kind of machine", "pull --platform linux/arm64 nginx"),
        ],
    ),
    "image push": Page(
        """
Send an image to the registry that its name begins with (docker.io when there is none). What
is there already is not sent again. Credentials are those of config.json.""",
        [
            ("One tag", "push registry.example/team/app:1"),
            ("All tags", "push -a registry.example/team/app"),
        ],
    ),
    "image rm": Page(
        """
Take names from images, and remove those that have none left. An image is refused while a
container uses it or another image is built upon it; -f takes the name from under a stopped
container. An id stands for all names of the image. What went is printed.""",
        [
            ("One name", "rmi app:old"),
            ("An image with all its names", "rmi -f 0123456789ab"),
        ],
    ),
    "image save": Page(
        """
Write images with all their layers and names to one archive, for load here or elsewhere: it
can be read as an OCI layout and by older tools. A repository stands for all of its tags. With
-o the file appears when it is whole, and is for its owner alone.""",
        [
            ("Into a file", "save -o images.tar app:1 db:2"),
            ("Compressed", "save app:1 | zstd > app.tar.zst"),
        ],
    ),
    "image tag": Page(
        "Give an image a further name. A name that another image has moves to this one.",
        [
            ("Before a push", "tag app:1 registry.example/team/app:1"),
            ("By id", "tag 0123456789ab app:good"),
        ],
    ),
}
