"""``cp``: files of this machine into an archive for a container, and out of one."""

from __future__ import annotations

import os
import stat

from wherry.cli.copyplan import inside
from wherry.cli.errors import CliError
from wherry.errors import WherryError
from wherry.trees.incoming import Incoming
from wherry.trees.pack import Packer
from wherry.trees.unpack import Target, Unpacker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.trees.flow import Bytes, Inlet, Outlet

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Counted:
    """An outlet that counts what goes through it, or an inlet; ``note`` hears of every step."""

    def __init__(self, note: Callable[[int], None]) -> None:
        self.count = 0
        self._note = note
        self.outlet: Outlet | None = None
        self.inlet: Inlet | None = None

    def _add(self, count: int) -> int:
        self.count += count
        self._note(self.count)
        return count

    def write(self, data: Bytes) -> None:
        assert self.outlet is not None
        self.outlet.write(data)
        self._add(len(data))

    def file(self, descriptor: int, size: int) -> None:
        assert self.outlet is not None
        self.outlet.file(descriptor, size)
        self._add(size)

    def read_into(self, room: memoryview) -> int:
        assert self.inlet is not None
        return self._add(self.inlet.read_into(room))

    def move(self, descriptor: int, size: int) -> int:
        assert self.inlet is not None
        return self._add(self.inlet.move(descriptor, size))


def pack(outlet: Outlet, sources: Sequence[tuple[str, str]], *, follow: bool) -> None:
    """A tar of (path, name) sources. ``follow``: a source that is a link means what it leads to.

    Raises :class:`CliError` for what cannot be read.
    """
    packer = Packer(outlet)
    for path, name in sources:
        try:
            # A slash at the end of a link means the folder that it leads to.
            flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
            descriptor = os.open(path, flags)
            try:
                packer.top(descriptor, os.fsencode(name))
            finally:
                os.close(descriptor)
        except ConnectionError:
            raise
        except OSError as error:
            shown = os.fsdecode(error.filename or path)
            where = shown if shown == path else os.path.join(os.path.dirname(path), shown)
            raise CliError(f"cannot read {where}: {(error.strerror or '').lower()}") from None
    packer.end()


def unpack(inlet: Inlet, place: str, *, keep_owner: bool, within: bool) -> None:
    """Unpack with the archive's first name replaced by ``place``.

    ``within``: ``place`` is a folder, and what the archive's root holds goes straight into it.
    Nothing is written outside of it whatever names and links the archive holds; a link that stands
    where something is to be written is replaced, and what it leads to stays as it is.
    """
    folder, name = (place, "") if within else os.path.split(place)

    def member_place(member: bytes) -> str:
        return f"{name}/{inside(os.fsdecode(member))}".strip("/")

    _unpack(inlet, folder or ".", member_place, keep_owner=keep_owner)


def unpack_all(inlet: Inlet, folder: str, *, keep_owner: bool) -> None:
    """Unpack into a folder, under the names that the archive has."""
    _unpack(
        inlet,
        folder,
        lambda member: inside(f"/{os.fsdecode(member)}"),
        keep_owner=keep_owner,
    )


def _unpack(inlet: Inlet, folder: str, place: Callable[[bytes], str], *, keep_owner: bool) -> None:
    own = None if keep_owner and os.geteuid() == 0 else (os.geteuid(), os.getegid())
    base = os.path.abspath(folder)
    top = os.open(folder, _FOLDER)
    source = Incoming(inlet)
    try:
        target = Target(
            base if base != "/" else "",
            lambda name: _below(top, name),
            _refusal,
            owner=own,
            keep_kinds=True,
            place=place,
        )
        Unpacker(source, target).run()
        source.drain()
    except WherryError as error:
        raise CliError(error.message) from None
    finally:
        os.close(top)


def _below(top: int, name: str) -> int:
    """Open a folder below another, through no link."""
    descriptor = os.open(".", _FOLDER, dir_fd=top)
    for part in name.split("/") if name else ():
        try:
            following = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = following
    return descriptor


def _refusal(error: OSError, path: str) -> Exception:
    return CliError(f"cannot write {path}: {(error.strerror or str(error)).lower()}")


def mode_of(path: str, *, follow: bool) -> int:
    """``st_mode`` of a source here. Raises :class:`CliError` when there is none."""
    try:
        return (os.stat if follow else os.lstat)(path).st_mode
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CliError(f"lstat {os.path.abspath(path)}: {reason}") from None


def is_folder(path: str, *, follow: bool) -> bool:
    return stat.S_ISDIR(mode_of(path, follow=follow))
