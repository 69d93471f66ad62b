"""Time `negmerge merge` between files against the copying that it cannot avoid, and measure its memory.

Nine checkpoints of CLIP ViT-B/32 size (151 million fp32 elements each) are merged with a memory bound far
below one of them. Every round times, one after the other: `cat` of all inputs to /dev/null, `cp` and fsync of
one file of the output's size, and the merge in a process of its own. Ratios are taken within a round and
their median is reported. The result is compared with the in-memory merge bit for bit.

    python benchmarks/out_of_core.py --folder /dev/shm/negmerge --rounds 5

The inputs stay in the page cache where memory allows; the folder chooses the storage.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "out_of_core.json"


def clip_vit_b32() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of open_clip's ViT-B-32, in its order."""
    yield from {"positional_embedding": (77, 512), "text_projection": (512, 512), "logit_scale": ()}.items()
    yield from {"visual.class_embedding": (768,), "visual.positional_embedding": (50, 768)}.items()
    yield from {"visual.proj": (768, 512), "visual.conv1.weight": (768, 3, 32, 32)}.items()
    yield from layer_norm("visual.ln_pre", 768)
    yield from blocks("visual.transformer", 768)
    yield from layer_norm("visual.ln_post", 768)
    yield from blocks("transformer", 512)
    yield "token_embedding.weight", (49408, 512)
    yield from layer_norm("ln_final", 512)


def blocks(prefix: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for index in range(12):
        block = f"{prefix}.resblocks.{index}"
        yield from layer_norm(f"{block}.ln_1", width)
        yield from {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            f"{block}.attn.out_proj.weight": (width, width),
            f"{block}.attn.out_proj.bias": (width,),
        }.items()
        yield from layer_norm(f"{block}.ln_2", width)
        yield from {
            f"{block}.mlp.c_fc.weight": (4 * width, width),
            f"{block}.mlp.c_fc.bias": (4 * width,),
            f"{block}.mlp.c_proj.weight": (width, 4 * width),
            f"{block}.mlp.c_proj.bias": (width,),
        }.items()


def layer_norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from {f"{name}.weight": (width,), f"{name}.bias": (width,)}.items()


def write_checkpoints(paths: list[Path]) -> None:
    """Random base weights; every fine-tuned model adds a shift that all share and noise of its own."""
    import numpy as np
    from safetensors.numpy import save_file

    def normal(seed: int, deviation: float) -> Iterator[np.ndarray]:
        random = np.random.default_rng(seed)
        for _, shape in clip_vit_b32():
            yield np.asarray(random.standard_normal(shape, np.float32) * np.float32(deviation))

    names = [name for name, _ in clip_vit_b32()]
    base = dict(zip(names, normal(0, 0.02), strict=True))
    save_file(base, paths[0])
    for model, path in enumerate(paths[1:], start=1):
        moved = zip(names, normal(1_000_000, 1e-3), normal(model, 1e-3), strict=True)
        save_file({name: np.asarray(base[name] + shared + own) for name, shared, own in moved}, path)


def compare_in_memory(paths: list[Path], merged: Path) -> None:
    """Fail unless ``merged`` holds exactly what the merge of the loaded checkpoints gives."""
    import numpy as np
    from safetensors.numpy import load_file

    import negmerge_ext

    base, *finetuned = (load_file(path) for path in paths)
    expected, found = negmerge_ext.merge(base, finetuned), load_file(merged)
    assert list(expected) == list(found)
    for name, tensor in expected.items():
        if not np.array_equal(tensor.view(np.uint32), found[name].view(np.uint32)):
            raise SystemExit(f"{name} differs from the in-memory result")


def in_child(work: Callable[..., None], *arguments: Any) -> None:
    """Run ``work`` in a fresh process: Linux counts a parent's memory into the peak of its later children."""
    child = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(f"{work.__name__} failed")


def run(command: list[str]) -> tuple[float, int, bytes]:
    """Run a command; return its seconds, its peak resident bytes, and its stdout."""
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        child = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{' '.join(command[:4])} … exited with {child.returncode}")
        output.seek(0)
        return seconds, usage.ru_maxrss * 1024, output.read()


def measure(paths: list[Path], arguments: argparse.Namespace) -> dict[str, Any]:
    copy, merged = arguments.folder / "copy.safetensors", arguments.folder / "merged.safetensors"
    command = [sys.executable, "-m", "negmerge", "merge", *map(str, paths), "-o", str(merged)]
    command += ["--max-memory", arguments.max_memory, "--json", "--quiet"]
    command += ["--threads", str(arguments.threads)] if arguments.threads else []

    # A dry run imports and plans the same, and allocates no buffers.
    _, idle, _ = run([*command, "--dry-run"])
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds + 1):
        copy.unlink(missing_ok=True)
        merged.unlink(missing_ok=True)
        cat, _, _ = run(["sh", "-c", 'exec cat "$@" > /dev/null', "cat", *map(str, paths)])
        cp, _, _ = run(["sh", "-c", 'cp "$1" "$2" && sync "$2"', "cp", str(paths[0]), str(copy)])
        merge, peak, report = run(command)
        if number > 0:  # the first round fills the page cache
            rounds.append({"cat_s": cat, "cp_s": cp, "merge_s": merge, "peak_bytes": peak - idle})
        print(f"round {number}: cat {cat:.2f} s, cp {cp:.2f} s, merge {merge:.2f} s", file=sys.stderr)

    in_child(compare_in_memory, paths, merged)
    told = json.loads(report)
    return {
        "rounds": rounds,
        "merge_over_cat": statistics.median(one["merge_s"] / one["cat_s"] for one in rounds),
        "merge_over_cat_and_cp": statistics.median(
            one["merge_s"] / (one["cat_s"] + one["cp_s"]) for one in rounds
        ),
        "median_merge_s": statistics.median(one["merge_s"] for one in rounds),
        "peak_bytes_above_dry_run": max(one["peak_bytes"] for one in rounds),
        "dry_run_bytes": idle,
        "bytes_read": told["bytes_read"],
        "bytes_written": told["bytes_written"],
        "equals_in_memory": True,
    }


def cpu_model() -> str:
    """The processor's name, where the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="where the checkpoints are written (default: a temporary folder)"
    )
    parser.add_argument("--models", type=int, default=8, help="fine-tuned checkpoints")
    parser.add_argument("--max-memory", default="256MiB")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--rounds", type=int, default=5, help="measured rounds, after one that is not counted"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file to write")
    arguments = parser.parse_args()

    own = arguments.folder is None
    arguments.folder = Path(tempfile.mkdtemp(prefix="negmerge-")) if own else arguments.folder
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        paths = [arguments.folder / "base.safetensors"]
        paths += [arguments.folder / f"finetuned-{model}.safetensors" for model in range(arguments.models)]
        if not all(path.exists() for path in paths):
            in_child(write_checkpoints, paths)
        measured = measure(paths, arguments)
    finally:
        if own:
            shutil.rmtree(arguments.folder)

    _, _, info = run([sys.executable, "-m", "negmerge", "info", "--json"])
    document = {
        "benchmark": "out_of_core",
        "models": arguments.models,
        "elements": sum(math.prod(shape) for _, shape in clip_vit_b32()),
        "max_memory": arguments.max_memory,
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "system": platform.system()},
        "info": json.loads(info),
        **measured,
    }
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(document, indent=2) + "\n")
    print(
        f"merge {measured['median_merge_s']:.2f} s = {measured['merge_over_cat']:.2f} x cat"
        f" = {measured['merge_over_cat_and_cp']:.2f} x (cat + cp), peak"
        f" {measured['peak_bytes_above_dry_run'] / 2**20:.0f} MiB above a dry run's"
        f" {measured['dry_run_bytes'] / 2**20:.0f} MiB; equal to the in-memory merge; {arguments.results}"
    )


if __name__ == "__main__":
    main()
