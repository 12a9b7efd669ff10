"""The images service: puts the verbs together. Each verb is a module beside this one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from typing import Any

from wherry.errors import Invalid, NotImplementedYet
from wherry.images import base, inspection, listing
from wherry.images.adopt import adopt
from wherry.images.catalogue import Catalogue
from wherry.images.commit import Commit
from wherry.images.content import ContentStore
from wherry.images.diff import changes
from wherry.images.gc import Collector
from wherry.images.helper import job_folder, run_job
from wherry.images.importer import Import
from wherry.images.layers.port import LayerBackend
from wherry.images.layers.store import LayerStore, layer_backends
from wherry.images.load import Load
from wherry.images.naming import Names
from wherry.images.newimage import NewLayer, store_image
from wherry.images.prepare import prepare
from wherry.images.prune import Prune
from wherry.images.remove import Remove
from wherry.images.save import Save
from wherry.images.service import EventSink, Image, ImageUsers, Progress
from wherry.oci import platform as platforms
from wherry.oci import reference as references
from wherry.store.database import Database
from wherry.store.images import ImageTables
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)


class ImageEngine:
    """Implements ``images.service.Images``."""

    def __init__(
        self,
        database: Database,
        paths: Paths,
        events: EventSink,
        users: ImageUsers,
        *,
        backends: Sequence[LayerBackend] | None = None,
    ) -> None:
        """``backends`` of the layer store, best first; None: what this host can use."""
        self._paths = paths
        self._users = users
        tables = ImageTables(database)
        self._layers = LayerStore(paths, tables, backends or layer_backends(paths))
        content = ContentStore(paths, self._layers.tar)
        self._catalogue = Catalogue(tables, content, self._layers)
        self._names = Names(self._catalogue, events)
        self._load = Load(paths, self._catalogue, self._names)
        self._import = Import(paths, self._catalogue, self._names)
        self._commit = Commit(paths, self._catalogue, self._names)
        self._save = Save(self._catalogue, self._names)
        self._collector = Collector(paths, self._catalogue, users)
        self._remove = Remove(self._catalogue, self._names, users, self._collector)
        self._prune = Prune(self._catalogue, users, self._remove, self._collector, events)
        self._base = asyncio.Lock()

    # ---- looking

    def get(self, name: str, platform: str | None = None) -> Image:
        return self._catalogue.image(self._catalogue.find(name, platform).rows[0])

    def lower_dirs(self, layers: Sequence[str]) -> list[str]:
        return self._layers.lower_dirs(layers)

    async def prepare(self, image: Image) -> None:
        await prepare(self._paths, self._catalogue, image)

    def summaries(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        all: bool,
        shared_size: bool = False,
    ) -> list[dict[str, Any]]:
        return listing.summaries(self._catalogue, filters, show_all=all, shared_size=shared_size)

    def inspect(self, name: str, platform: str | None = None) -> dict[str, Any]:
        return inspection.inspect(self._catalogue, self._catalogue.find(name, platform))

    def history(self, name: str, platform: str | None = None) -> list[dict[str, Any]]:
        return inspection.history(self._catalogue, self._catalogue.find(name, platform))

    # ---- names

    def tag(self, name: str, repo: str, tag: str) -> None:
        found = self._catalogue.find(name)
        reference = references.parse(repo)
        if reference.digest:
            raise Invalid("refusing to create a tag with a digest reference")
        if tag:
            reference = reference.with_tag(tag)
        self._names.set(reference, found.rows[0].target)

    def remove(self, name: str, *, force: bool, prune_parents: bool) -> list[dict[str, str]]:
        return self._remove.run(name, force=force, prune_parents=prune_parents)

    async def prune(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        dry_run: bool = False,
        without: Collection[str] = (),
    ) -> dict[str, Any]:
        return self._prune.run(filters, dry_run=dry_run, without=without)

    # ---- files

    async def load(
        self, stream: AsyncIterator[bytes], progress: Progress, *, platform: str | None = None
    ) -> list[str]:
        with self._whole():
            return await self._load.run(stream, progress, platform)

    def save(
        self, names: Sequence[str], *, platform: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._save.stream(names, platform)

    async def import_(
        self,
        stream: AsyncIterator[bytes],
        *,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
    ) -> str:
        with self._whole():
            return await self._import.run(
                stream,
                reference=reference,
                message=message,
                changes=changes,
                platform=platform,
                progress=progress,
            )

    async def commit(
        self,
        parent: Image | None,
        upper: str,
        *,
        reference: str | None,
        config: Mapping[str, Any],
        author: str,
        comment: str,
        created_by: str,
        container_id: str,
    ) -> str:
        with self._whole():
            return await self._commit.run(
                parent,
                upper,
                reference=reference,
                config=config,
                author=author,
                comment=comment,
                created_by=created_by,
                container_id=container_id,
            )

    def diff(self, lower: Sequence[str], upper: str) -> list[tuple[str, int]]:
        return [(path, kind) for path, kind in changes(lower, upper)]

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """What an operation had stored when it failed or was cancelled goes at once."""
        try:
            yield
        except BaseException:
            try:
                self._collector.sweep()
            except Exception as error:
                _log.warning("what a failed operation left stays until the next sweep: %s", error)
            raise

    # ---- upkeep

    async def pull(
        self, name: str, tag: str, progress: Progress, *, platform: str | None = None
    ) -> None:
        reference = references.parse(name)
        if tag:
            reference = reference.with_digest(tag) if ":" in tag else reference.with_tag(tag)
        reference = reference.with_default_tag()
        shown = reference.familiar()
        refusal = NotImplementedYet(
            f"pulling from registries is not available yet: cannot pull {shown}; "
            "use load or import instead"
        )
        if shown not in base.NAMES or (platform and platforms.parse(platform) != platforms.host()):
            raise refusal
        image = await self.ensure_base()
        if self._catalogue.target_of(reference) is None:
            self._names.set(reference, image.target, action="pull")
        image = self.get(shown)
        if not base.is_base(image):
            raise refusal
        progress({"status": f"Pulling from {reference.path}", "id": reference.tag})
        progress({"status": f"Digest: {image.target}"})
        progress({"status": f"Status: Image is up to date for {shown}"})

    async def ensure_base(self) -> Image:
        """A name that the user took away is not put back while the other one is there."""
        async with self._base:
            for name in base.NAMES:
                target = self._catalogue.target_of(references.parse(name))
                if target is not None:
                    return self.get(name)
            return await self._make_base()

    async def _make_base(self) -> Image:
        busybox = base.find_busybox()
        when, tar = await base.layer_stream(busybox)
        catalogue = self._catalogue
        known = list(catalogue.tables.layers())
        with catalogue.content.lease() as lease:
            lease.hold(known)
            async with job_folder(self._paths) as folder:
                result = await run_job(
                    "import",
                    folder,
                    {"known": known, "backend": self._layers.preferred},
                    stream=base.one_chunk(tar),
                )
                await adopt(catalogue, lease, result)
            config = base.configuration(result["diff_id"], when)
            layer = NewLayer(result["diff_id"], result["tar_size"])
            free = [references.parse(name) for name in base.NAMES]
            free = [each for each in free if catalogue.target_of(each) is None]
            await store_image(catalogue, self._names, lease, config, free, None, layer)
        return self.get(base.NAMES[0])

    def disk_usage(self) -> dict[str, Any]:
        return listing.disk_usage(self._catalogue, self._users)

    def layer_backend(self) -> str:
        """Name of the back end that new layers are made for: ``erofs`` or ``directory``."""
        return self._layers.preferred

    def close(self) -> None:
        """The daemon ends; running containers keep their layers."""
        self._layers.close()

    async def reconcile(self) -> None:
        await self._collector.reconcile()
