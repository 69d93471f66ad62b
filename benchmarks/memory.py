"""Measure the peak memory of merges between files, by size of the model and by number of models.

The inputs are headers followed by holes that read as zeros, so that models of 16 GB need little disk; the
output is written in full. Peak memory is the largest resident set of the process (getrusage). From it goes
that of the same command on a model of one small tensor: interpreter, libraries and program. The rest is
what the merge took.

    python benchmarks/memory.py --grows size
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import options
from harness.checkpoints import paths_of, workplace, write_hollow
from harness.command_line import compile_packages, negmerge
from harness.models import Shapes, elements, squares
from harness.processes import peak

MAX_MEMORY = 256 * 2**20
SIZES_GB, QUICK_SIZES_GB = (0.25, 0.5, 1, 2, 4, 8, 16), (0.125, 0.25)
MODELS, QUICK_MODELS = (2, 4, 8, 16, 32, 64), (2, 16)
#: What does not grow: gigabytes of the model while N grows, N while the model grows.
SIZE_GB, POOL = 0.25, 2
#: A model of one matrix.
SMALLEST_GB = 0.07


def shapes(gigabytes: float) -> Shapes:
    """Matrices of 67 MB in fp32."""
    return squares(round(gigabytes * 1e9 / (4096 * 4096 * 4)), 4096)


def merge_peak(folder: Path, model: Shapes, models: int) -> int:
    """Peak resident bytes of a merge of hollow files."""
    paths, out = paths_of(folder, models), folder / "merged.safetensors"
    for path in paths:
        write_hollow(path, model)
    command = negmerge("merge", *paths, "-o", out)
    try:
        return peak([*command, "--max-memory", MAX_MEMORY, "--quiet"])
    finally:
        for path in [*paths, out]:
            path.unlink(missing_ok=True)


def main() -> None:
    parser = options.parser(__doc__, repeats=False)
    parser.add_argument("--grows", choices=("size", "models"), nargs="+", default=("size", "models"))
    parser.add_argument(
        "--gigabytes",
        type=options.number_from(SMALLEST_GB),
        nargs="+",
        help=f"sizes of the model (default: {SIZES_GB})",
    )
    parser.add_argument("--models", type=options.count, nargs="+", help=f"default: {MODELS}")
    parser.add_argument(
        "--folder", type=options.new_folder, help="where the files lie (default: a temporary folder)"
    )
    arguments = parser.parse_args()
    compile_packages()
    results = options.results(arguments, "memory")
    sizes = arguments.gigabytes or (QUICK_SIZES_GB if arguments.quick else SIZES_GB)
    models = arguments.models or (QUICK_MODELS if arguments.quick else MODELS)
    cases = [("size", size, POOL) for size in sizes if "size" in arguments.grows]
    cases += [("models", SIZE_GB, count) for count in models if "models" in arguments.grows]
    with workplace(arguments.folder) as folder:
        for grows, size, count in cases:
            model = shapes(size)
            idle = merge_peak(folder, {"layers.0.weight": (4, 4)}, count)
            full = merge_peak(folder, model, count)
            results.add(
                {"grows": grows, "model_bytes": 4 * elements(model), "models": count},
                {},
                {"max_memory": MAX_MEMORY, "idle_bytes": idle, "peak_bytes": full},
            )
            print(f"{size} GB, N={count}: {(full - idle) / 2**20:.0f} MiB above idle", file=sys.stderr)


if __name__ == "__main__":
    main()
