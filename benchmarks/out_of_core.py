"""Time `negmerge merge` between files against the copying that it cannot avoid.

Nine checkpoints of CLIP ViT-B/32's size (151 million fp32 elements each, 5.4 GB in all) become one. All are
processes of their own, timed in interleaved rounds. Three kinds of storage:

* tmpfs: everything lies in memory. cat: all inputs to /dev/null. cp: a file of the output's size.
* cached: everything lies on disk, and the inputs are in the page cache. cat as above; cp and sync.
* cold: the same files, dropped from the page cache before every reading; that no page of them stays is asked
  of the system. dd read: all inputs, one after the other, `iflag=direct bs=4M`. dd write: a file of the
  output's size out of the page cache, `oflag=direct`, synced.

The merge syncs its output too, and is compared with the in-memory merge bit for bit, once. How much of it is
start-up is told by a merge of nine small files.

    python benchmarks/out_of_core.py --storage tmpfs
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness import options
from harness.checkpoints import drop_cache, filesystem, has_direct_io, workplace, write_pool
from harness.command_line import compile_packages, negmerge
from harness.processes import in_child, process, run
from harness.samples import median
from harness.timing import Measurement, interleave

STORAGES = ("tmpfs", "cached", "cold")
#: Where folders are made unless one is given; memory for tmpfs, a disk for the others.
PLACES = {"tmpfs": Path("/dev/shm"), "cached": Path("/var/tmp"), "cold": Path("/var/tmp")}
MODELS = 8


def variants(
    storage: str, paths: Sequence[Path], small: Sequence[Path], copy: Path, merged: Path
) -> dict[str, Measurement]:
    """The merge, what it is compared with, and a merge of small files."""
    merge = negmerge("merge", *paths, "-o", merged, "--quiet")
    small_merged = small[0].with_name(merged.name)
    start = negmerge("merge", *small, "-o", small_merged, "--quiet")
    start_up = {"start-up": process(start, before=lambda: fresh(small_merged))}
    if storage == "cold":
        read = 'for f; do dd if="$f" of=/dev/null iflag=direct bs=4M status=none || exit; done'
        write = 'dd if="$1" of="$2" oflag=direct conv=fsync bs=4M status=none'
        return {
            "dd read": shell(read, paths, before=lambda: drop_all(paths)),
            "dd write": shell(write, [paths[0], copy], before=lambda: fresh(copy, read=paths[0])),
            "merge": process(merge, before=lambda: fresh(merged, drop=paths)),
            **start_up,
        }
    return {
        "cat": shell('cat "$@" > /dev/null', paths),
        "cp": shell('cp "$1" "$2" && sync "$2"', [paths[0], copy], before=lambda: fresh(copy)),
        "merge": process(merge, before=lambda: fresh(merged)),
        **start_up,
    }


def shell(
    script: str, arguments: Sequence[object], before: Callable[[], object] = lambda: None
) -> Measurement:
    """Time a shell script."""
    return process(["sh", "-c", script, "sh", *arguments], before)


def drop_all(paths: Sequence[Path]) -> None:
    """Only for files on a disk: those in tmpfs are in memory and stay there."""
    for path in paths:
        drop_cache(path)


def fresh(output: Path, *, read: Path | None = None, drop: Sequence[Path] = ()) -> None:
    """Leave no output from the round before, ``read`` in the page cache, and the files ``drop`` out of it."""
    output.unlink(missing_ok=True)
    drop_all(drop)
    if read is not None:
        run(["cat", read])


def fits(storage: str, folder: Path) -> bool:
    """Whether a folder lies on storage of this kind."""
    if storage == "cold" and not has_direct_io(folder):
        return False
    return (filesystem(folder) == "tmpfs") == (storage == "tmpfs")


def compare_in_memory(paths: list[Path], merged: Path) -> None:
    """Fail unless ``merged`` holds exactly what merging the tensors in memory gives."""
    import numpy as np
    from safetensors import safe_open

    import negmerge_ext

    files: list[Any] = [safe_open(path, "numpy") for path in [*paths, merged]]
    base, *finetuned, found = files
    if list(found.keys()) != list(base.keys()):
        sys.exit("the output has other tensors than the base")
    for name in base.keys():  # noqa: SIM118 (no mapping)
        start, *pool = ({name: model.get_tensor(name)} for model in [base, *finetuned])
        expected = negmerge_ext.merge(start, pool)[name]
        if not np.array_equal(expected.view(np.uint32), found.get_tensor(name).view(np.uint32)):
            sys.exit(f"{name} differs from the in-memory result")


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--storage", choices=STORAGES, nargs="+", default=STORAGES)
    parser.add_argument(
        "--folder",
        type=options.new_folder,
        help="where the files lie, and stay (default: a temporary folder)",
    )
    arguments = parser.parse_args()
    compile_packages()
    results, model = options.results(arguments, "out_of_core"), "small" if arguments.quick else "vit-b32"
    for storage in arguments.storage:
        with workplace(arguments.folder, PLACES[storage]) as folder:
            if not fits(storage, folder):
                print(f"without {storage}: {folder} is not on such storage; give --folder", file=sys.stderr)
                continue
            paths, small = (write_pool(folder, name, MODELS) for name in (model, "small"))
            merged, copy = folder / "merged.safetensors", folder / "copy.safetensors"
            seconds = interleave(variants(storage, paths, small, copy, merged), options.rounds(arguments))
            in_child(compare_in_memory, paths, merged)
            facts = {"filesystem": filesystem(folder), "file_bytes": paths[0].stat().st_size}
            fresh(merged)
            fresh(copy)
        results.add({"storage": storage, "models": MODELS}, seconds, facts)
        told = (f"{name} {median(seconds, name):.3f} s" for name in seconds)
        print(f"{storage}:", *told, file=sys.stderr)


if __name__ == "__main__":
    main()
