"""Checkpoint files to merge, and the folder they lie in."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .models import BY_NAME, Shapes, elements
from .processes import cleaned_up, in_child

_libc = ctypes.CDLL(None, use_errno=True)


def paths_of(folder: Path, models: int) -> list[Path]:
    """Where a base and fine-tuned models lie in their folder."""
    return [folder / "base.safetensors", *(folder / f"finetuned-{k}.safetensors" for k in range(models))]


def write_pool(folder: Path, model: str, models: int) -> list[Path]:
    """Paths of a base and ``models`` fine-tuned fp32 checkpoints, written unless they are there.

    They lie in a folder of the model's name.
    """
    paths = paths_of(folder / model, models)
    if not all(path.exists() for path in paths):
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        in_child(_save, paths, model)
    return paths


def write_hollow(path: Path, shapes: Shapes) -> None:
    """Write an fp32 checkpoint that is a header and a hole: it reads as zeros and takes no room on disk."""
    with path.open("wb") as file:
        header = _header(shapes)
        file.write(header)
        file.truncate(len(header) + 4 * elements(shapes))


class StillCachedError(RuntimeError):
    """The system keeps pages of a file that were to be dropped."""


def drop_cache(path: Path) -> None:
    """Have the system forget the cached pages of a file, which is synced before.

    That is only asked for, and so looked at afterwards; :class:`StillCachedError` if a page stays.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    if share := cached_share(path):
        raise StillCachedError(f"{share:.2%} of {path.name} stays in the page cache: it cannot be read cold")


def cached_share(path: Path) -> float:
    """Share of a file's pages that the page cache holds, by mincore(2)."""
    import numpy as np

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        content = np.frombuffer(mapped, np.uint8)
        pages = np.zeros(-(-content.size // mmap.PAGESIZE), np.uint8)
        where = ctypes.c_void_p(content.ctypes.data), ctypes.c_size_t(content.size)
        failed = _libc.mincore(*where, ctypes.c_void_p(pages.ctypes.data))
        del content  # what is lent from a mapping keeps it from being closed
        if failed:
            raise OSError(ctypes.get_errno(), "mincore", str(path))
    return float((pages & 1).mean())


def filesystem(folder: Path) -> str:
    """Type of the file system that a folder lies on."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(where), kind) for _, where, kind, *_ in mounts if folder.resolve().is_relative_to(where)]
    return max(holding)[1]


def has_direct_io(folder: Path) -> bool:
    """Whether files in a folder can be opened for reading and writing past the page cache."""
    probe = folder / "direct-io"
    try:
        os.close(os.open(probe, os.O_RDWR | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


@contextmanager
def workplace(folder: Path | None, default: Path | None = None) -> Iterator[Path]:
    """The folder given, kept; or one of its own under ``default``, removed in the end."""
    if folder is not None:
        folder.mkdir(exist_ok=True)
        yield folder
        return
    with cleaned_up():
        own = Path(tempfile.mkdtemp(prefix="negmerge-bench-", dir=default))
        try:
            yield own
        finally:
            shutil.rmtree(own)


def _header(shapes: Shapes) -> bytes:
    """What an fp32 checkpoint in the format of safetensors begins with; the tensors follow in this order."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * elements({name: shape})
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _save(paths: list[Path], model: str) -> None:
    from . import state_dicts

    shapes = BY_NAME[model]()
    base = state_dicts.base(shapes)
    for index, path in enumerate(paths):
        unfinished = path.with_suffix(".part")
        try:
            with unfinished.open("wb") as file:
                file.write(_header(shapes))
                for tensor in (base if index == 0 else state_dicts.finetuned(base, index)).values():
                    tensor.numpy().tofile(file)
            unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)
