"""Every on-disk path of Wherry. No other module joins path names of its own.

``data`` (root 0700, survives reboot)         ``run`` (gone after reboot)
├── state.db, reserve                         ├── wherry.sock, wherryd.pid
├── blobs/sha256/<hex>                        ├── mnt/<container>/   private mount points
├── layers/<diff-id hex>/                     ├── netns/<name>       network namespaces
├── containers/<id>/                          └── runtime/, bundles/ of the OCI runtime
├── volumes/<name>/_data
├── build/
└── tmp/          ingest; emptied at start
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DEFAULT_DATA_ROOT = Path("/var/lib/wherry")
DEFAULT_RUN_DIR = Path("/run/wherry")


@dataclass(frozen=True)
class ContainerPaths:
    """What one container has on disk (``root``) and for as long as it runs (``run``)."""

    root: Path
    run: Path

    @cached_property
    def upper(self) -> Path:
        """The writable layer: overlayfs upperdir."""
        return self.root / "upper"

    @cached_property
    def work(self) -> Path:
        return self.root / "work"

    @cached_property
    def bundle(self) -> Path:
        """OCI bundle: ``config.json`` is here, and the monitor's pid files and control pipe."""
        return self.run

    @cached_property
    def rootfs(self) -> Path:
        """Mount point of the root file system, mounted only in the monitor's own namespace."""
        return self.run / "rootfs"

    @cached_property
    def shm(self) -> Path:
        """Shared memory that other containers may join (IPC mode shareable)."""
        return self.run / "shm"

    @cached_property
    def log(self) -> Path:
        """Current log segment; rotated ones are beside it as ``log.1``, ``log.2.gz`` ..."""
        return self.root / "log"

    @property
    def log_cursor(self) -> Path:
        """How far the log has been sent elsewhere."""
        return self.root / "sent"

    @cached_property
    def hosts(self) -> Path:
        return self.root / "hosts"

    @cached_property
    def hostname(self) -> Path:
        return self.root / "hostname"

    @cached_property
    def resolv_conf(self) -> Path:
        return self.root / "resolv.conf"

    @cached_property
    def exit_dir(self) -> Path:
        """The monitor writes ``<id>`` with the exit code here. Not beside the data: a full disk
        would lose the code."""
        return self.run / "exit"


@dataclass(frozen=True)
class Paths:
    """The layout under one data root and one run directory (see the drawing above)."""

    data: Path = DEFAULT_DATA_ROOT
    run: Path = DEFAULT_RUN_DIR

    @cached_property
    def database(self) -> Path:
        return self.data / "state.db"

    @cached_property
    def reserve(self) -> Path:
        """Room kept for the database on a full disk."""
        return self.data / "reserve"

    @cached_property
    def lock(self) -> Path:
        """Held with flock by the one daemon that owns this data root."""
        return self.data / "wherryd.lock"

    @cached_property
    def identity(self) -> Path:
        """The daemon's own id, as ``info`` shows it; made once."""
        return self.data / "engine-id"

    @cached_property
    def blobs(self) -> Path:
        return self.data / "blobs" / "sha256"

    def blob(self, hex_digest: str) -> Path:
        return self.blobs / hex_digest

    @cached_property
    def layers(self) -> Path:
        return self.data / "layers"

    def layer(self, hex_diff_id: str) -> Path:
        return self.layers / hex_diff_id

    @cached_property
    def init_layer(self) -> Path:
        """Mount points that every container needs, as the topmost read-only layer of all."""
        return self.data / "init"

    @cached_property
    def containers(self) -> Path:
        return self.data / "containers"

    def container(self, container_id: str) -> ContainerPaths:
        return ContainerPaths(self.containers / container_id, self.mounts / container_id)

    def exec_dir(self, container_id: str, exec_id: str) -> Path:
        """Run directory of one exec session's monitor."""
        return self.container(container_id).run / "exec" / exec_id

    @cached_property
    def volumes(self) -> Path:
        return self.data / "volumes"

    def volume(self, name: str) -> Path:
        return self.volumes / name

    @cached_property
    def tmp(self) -> Path:
        return self.data / "tmp"

    @cached_property
    def mounts(self) -> Path:
        """A private mount (bound onto itself) so that nothing below it reaches other namespaces."""
        return self.run / "mnt"

    @cached_property
    def layer_mounts(self) -> Path:
        """Mount points of layers that are mounted, not unpacked; private as ``mounts`` is."""
        return self.run / "layers"

    @cached_property
    def netns(self) -> Path:
        return self.run / "netns"

    @cached_property
    def resolver_socket(self) -> Path:
        """Where the daemon talks to the name resolver, which outlives it."""
        return self.run / "resolver.sock"

    @cached_property
    def forwarder_socket(self) -> Path:
        """Where the daemon talks to the port forwarder, which outlives it."""
        return self.run / "forwarder.sock"

    @cached_property
    def socket(self) -> Path:
        return self.run / "wherry.sock"

    @cached_property
    def pidfile(self) -> Path:
        return self.run / "wherryd.pid"
