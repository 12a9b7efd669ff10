"""Image references: the grammar of ``distribution/reference`` and Docker's short names.

    reference := name [ ":" tag ] [ "@" digest ]
    name      := [ domain "/" ] path
    domain    := host [ ":" port ]

``busybox`` means ``docker.io/library/busybox``; the first part of a name is a domain only when it
holds a dot, a colon, an upper-case letter, or is ``localhost``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from wherry.errors import Invalid
from wherry.oci import glob

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_DOMAIN = rf"{_HOST}(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE = re.compile(rf"({_DOMAIN})/({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?")
_WHOLE_TAG = re.compile(_TAG)
_WHOLE_DIGEST = re.compile(_DIGEST)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_LOWER_HEX = re.compile(r"[a-f0-9]+")

_BAD = "invalid reference format"


@dataclass(frozen=True)
class Reference:
    """A normalised reference: ``domain`` is never empty; ``tag`` and ``digest`` may be ''."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """``docker.io/library/busybox``: where it lives, without tag or digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as a user writes it: ``busybox``, ``user/app``, ``host:5000/x``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        short = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in short or not short else short

    @property
    def is_name_only(self) -> bool:
        return not self.tag and not self.digest

    def canonical(self) -> str:
        """The full text, every part that is present: ``docker.io/library/busybox:1.36``."""
        return self.repository + self._suffix()

    def familiar(self) -> str:
        """The short text, every part that is present: ``busybox:1.36``; no forced tag."""
        return self.familiar_name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_default_tag(self) -> Reference:
        """``:latest`` when there is neither tag nor digest (Docker's ``TagNameOnly``)."""
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def with_tag(self, tag: str) -> Reference:
        """Another tag; ``Invalid`` when ``tag`` is not one."""
        if not _WHOLE_TAG.fullmatch(tag):
            raise Invalid("invalid tag format")
        return replace(self, tag=tag)

    def with_digest(self, digest: str) -> Reference:
        """Another digest; ``Invalid`` when it is not one."""
        _check_digest(digest)
        return replace(self, digest=digest)

    def without_tag(self) -> Reference:
        return replace(self, tag="")

    def name_only(self) -> Reference:
        return replace(self, tag="", digest="")

    def match(self, pattern: str) -> bool:
        """Docker's ``reference=`` filter: ``path.Match`` on the familiar text, then name.

        Raises ``Invalid`` for a malformed pattern.
        """
        return glob.match(pattern, self.familiar()) or glob.match(pattern, self.familiar_name)

    def __str__(self) -> str:
        return self.canonical()


def parse(text: str) -> Reference:
    """Parse and normalise what a user wrote; ``Invalid`` with Docker's words otherwise."""
    if _IDENTIFIER.fullmatch(text):
        raise Invalid(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, remainder = _split_domain(text)
    remote = remainder.partition(":")[0]
    if remote.lower() != remote:
        raise Invalid(f"{_BAD}: repository name ({remote}) must be lowercase")
    matched = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if matched is None:
        raise Invalid(_BAD)
    reference = Reference(matched[1], matched[2], matched[3] or "", matched[4] or "")
    if len(reference.path) > NAME_LIMIT:
        raise Invalid(f"{_BAD}: repository name must not be more than {NAME_LIMIT} characters")
    if reference.digest:
        _check_digest(reference.digest)
    return reference


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, _OFFICIAL + text
    if first == _LEGACY_DOMAIN:
        domain, remainder = DEFAULT_DOMAIN, rest
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        domain, remainder = first, rest
    else:
        domain, remainder = DEFAULT_DOMAIN, text
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder


def _check_digest(digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    if not _WHOLE_DIGEST.fullmatch(digest):
        raise Invalid(f"{_BAD}: invalid checksum digest format")
    if algorithm not in _DIGEST_LENGTHS:
        raise Invalid(f"{_BAD}: unsupported digest algorithm")
    if len(value) != _DIGEST_LENGTHS[algorithm]:
        raise Invalid(f"{_BAD}: invalid checksum digest length")
    if not _LOWER_HEX.fullmatch(value):
        raise Invalid(f"{_BAD}: invalid checksum digest format")
