"""What a data set is to the rest: how it is loaded, and how it comes into the data folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError, MissingDataError, RecipeError
from .image_files import SIDE
from .image_set import ImageSet
from .packed import Packed, read_packed, write_packed
from .parts import has_all_parts, read_parts
from .place import data_folder
from .routes import Route


class Source(ABC):
    """A data set that a recipe can name.

    name: in recipes, and of its folder in the data folder. title: what it is, for people. routes: ways to get
    it, in the order in which they are tried. by_hand: where it can be had if no route can be fetched, and
    what its folder must then hold.
    """

    name: str
    title: str
    routes: tuple[Route, ...]
    by_hand: str

    @abstractmethod
    def load(self, folder: Path | None, image_size: int | None = None) -> ImageSet:
        """The data set from its folder; ``None`` is its folder in the data folder.

        image_size: side in pixels of images that are read from files. Raises
        :class:`~negmerge.errors.DataError`, or :class:`~negmerge.errors.RecipeError` for an argument that
        does not apply to this data set.
        """

    @abstractmethod
    def is_ready(self, folder: Path) -> bool:
        """Whether the folder holds the data set as :meth:`load` reads it."""

    @abstractmethod
    def install(self, found: Path, target: Path) -> bool:
        """Make ``target``, a new folder, of files found in a folder; ``False`` if these are not the set's.

        Raises :class:`~negmerge.errors.DataError` if they are, and are damaged.
        """

    def local_copies(self, data: Path) -> tuple[Path, ...]:
        """Folders in which :meth:`install` may find a copy. data: the data folder."""
        return (data / self.name, data)

    @property
    def can_be_fetched(self) -> bool:
        """Whether a route leads to it without somebody's hand."""
        return any(route.can_be_fetched for route in self.routes)

    def missing(self, folder: Path) -> MissingDataError:
        """The error that says how to get the data set."""
        remedy = f"Get it with: negmerge data get {self.name}" if self.can_be_fetched else self.by_hand
        return MissingDataError(f"{self.name} is not there", path=folder, remedy=remedy)


class BuiltIn(Source):
    """A data set that comes with a Python package."""

    routes = ()
    by_hand = ""

    def __init__(self, name: str, title: str, read: Callable[[], ImageSet]) -> None:
        self.name, self.title = name, title
        self._read = read

    def load(self, folder: Path | None, image_size: int | None = None) -> ImageSet:
        _no_size(self.name, image_size)
        if folder is not None:
            raise RecipeError(f"data.folder does not apply to {self.name}", remedy="Leave it out")
        return self._read()

    def is_ready(self, folder: Path) -> bool:
        return True

    def install(self, found: Path, target: Path) -> bool:
        return False


@dataclass(frozen=True)
class InMemory(Source):
    """A data set of small images of one size, kept as one file of pixels, or in parts.

    read: makes the images of files in a folder; ``None`` if these are not the set's. sha256: of the images
    and labels, whichever way they came, where it is known. system: folders where a system keeps a copy.
    """

    name: str
    title: str
    routes: tuple[Route, ...]
    read: Callable[[Path], Packed | None]
    sha256: str | None = None
    system: tuple[Path, ...] = ()
    by_hand: str = ""

    def load(self, folder: Path | None, image_size: int | None = None) -> ImageSet:
        _no_size(self.name, image_size)
        folder = folder or data_folder() / self.name
        if (folder / _PACKED).is_file():
            return read_packed(folder / _PACKED).checked(self.name, self.sha256, folder / _PACKED)
        packed = read_parts(folder) or self.read(folder)
        if packed is None:
            raise self.missing(folder)
        return packed.checked(self.name, self.sha256, folder)

    def packed(self, folder: Path) -> Packed:
        """The data set from its folder, as it can be written elsewhere; raises what :meth:`load` raises."""
        images = self.load(folder)
        assert isinstance(images.images, np.ndarray), "it is in memory"
        assert images.official is not None, "it has published splits"
        return Packed(images.images, images.labels, len(images.official.train), images.class_names)

    def is_ready(self, folder: Path) -> bool:
        return (folder / _PACKED).is_file() or has_all_parts(folder)

    def install(self, found: Path, target: Path) -> bool:
        packed = self.read(found)
        if packed is None:
            return False
        packed.checked(self.name, self.sha256, found)
        write_packed(packed, target / _PACKED)
        return True

    def local_copies(self, data: Path) -> tuple[Path, ...]:
        return (*super().local_copies(data), *self.system)


_PACKED = "images.safetensors"


@dataclass(frozen=True)
class InFiles(Source):
    """A data set of image files, read when they are asked for.

    index: lists the files of a folder, with labels and splits; called with the name, the folder and the
    side of the images. layout: a path for each thing that must be in the folder. unpack_into: the folder
    below, in which archives are unpacked.
    """

    name: str
    title: str
    index: Callable[[str, Path, int], ImageSet]
    layout: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    by_hand: str = ""
    unpack_into: str = "."

    def load(self, folder: Path | None, image_size: int | None = None) -> ImageSet:
        folder = folder or data_folder() / self.name
        if not self.is_ready(folder):
            raise self.missing(folder)
        return self.index(self.name, folder, SIDE if image_size is None else image_size)

    def is_ready(self, folder: Path) -> bool:
        return folder.is_dir() and all((folder / path).exists() for path in self.layout)

    def install(self, found: Path, target: Path) -> bool:
        target = target / self.unpack_into
        target.mkdir(parents=True, exist_ok=True)
        for entry in sorted(found.iterdir()):
            entry.rename(target / entry.name)
        return True

    def local_copies(self, data: Path) -> tuple[Path, ...]:
        return ()  # one that is in its folder is ready, and files elsewhere are not to be moved


def _no_size(name: str, image_size: int | None) -> None:
    if image_size is not None:
        raise RecipeError(
            f"data.image_size does not apply to {name}, whose images have one size",
            remedy="Leave it out; it is for data sets of image files",
        )


def unreadable(path: Path, problem: Exception) -> DataError:
    """The error for a file of a data set that cannot be read or understood."""
    return DataError(f"cannot be read: {problem}", path=path, remedy="Get the data set again")
