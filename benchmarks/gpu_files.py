"""Time merges of files in the page cache on a GPU, against bringing their bytes there and against the CPU.

Nine checkpoints of CLIP ViT-B/32's size (151 million fp32 elements each, 5.4 GB in all) become one, in a
process that has used the GPU before. Timed in interleaved rounds:

* copy up: as many bytes as are read go from pinned memory to the device, by CUDA events.
* merge, cuda: negmerge_ext.merge() from files to a file, device="cuda".
* merge to memory, cuda: the same into tensors in main memory that exist.
* merge, cpu: from files to a file on the CPU.

The files lie in memory (tmpfs) where there is room for them. Both output files are compared, byte by byte,
before anything is timed.

    python benchmarks/gpu_files.py --folder /dev/shm/models
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from harness import gpu, models, options, state_dicts
from harness.checkpoints import filesystem, workplace, write_pool
from harness.device_clock import DeviceClock
from harness.samples import median, ratio
from harness.timing import Measurement, interleave, timed

import negmerge_ext

MODELS = 8
#: Bytes that are copied up at a time.
PINNED = 1 << 28


class CopyUp:
    """Copies from pinned memory to a device, so many bytes in all."""

    def __init__(self, nbytes: int) -> None:
        size = min(PINNED, nbytes)
        self._pinned = torch.zeros(size, dtype=torch.uint8).pin_memory()
        self._target = torch.empty(size, dtype=torch.uint8, device="cuda")
        self._sizes = [size] * (nbytes // size) + [nbytes % size]

    def __call__(self) -> None:
        """Enqueue the copies."""
        for size in self._sizes:
            self._target[:size].copy_(self._pinned[:size], non_blocking=True)


class Case:
    """A base and fine-tuned models in files, and places for results."""

    def __init__(self, paths: Sequence[Path], shapes: models.Shapes) -> None:
        self.base, *self.finetuned = paths
        self.outputs = {
            device: self.base.with_name(f"merged-{device}.safetensors") for device in ("cpu", "cuda")
        }
        self.out = state_dicts.base(shapes)

    def merge(self, device: str) -> None:
        negmerge_ext.merge(self.base, self.finetuned, out=self.outputs[device], device=device)

    def merge_to_memory(self) -> None:
        negmerge_ext.merge(self.base, self.finetuned, out=self.out, device="cuda")

    def remove_outputs(self) -> None:
        for path in self.outputs.values():
            path.unlink(missing_ok=True)

    def check(self) -> None:
        """End the program unless all merges give the same."""
        self.remove_outputs()
        for device in self.outputs:
            self.merge(device)
        if not filecmp.cmp(self.outputs["cpu"], self.outputs["cuda"], shallow=False):
            sys.exit("the merge on the GPU differs from that on the CPU")
        self.merge_to_memory()
        on_cpu = negmerge_ext.merge(self.base, self.finetuned)
        if differing := [name for name, tensor in self.out.items() if not torch.equal(tensor, on_cpu[name])]:
            sys.exit(f"{differing[0]}: the merge on the GPU differs from that on the CPU")

    def variants(self, clock: DeviceClock, copy: CopyUp) -> dict[str, Measurement]:
        return {
            "copy up": clock.timed(copy),
            "merge, cuda": timed(lambda: self.merge("cuda"), before=self.remove_outputs),
            "merge to memory, cuda": timed(self.merge_to_memory),
            "merge, cpu": timed(lambda: self.merge("cpu"), before=self.remove_outputs),
        }


def place(needed: int) -> Path:
    """A folder with room for ``needed`` bytes, in memory if there is one."""
    for folder in (Path("/dev/shm"), Path("/var/tmp"), Path(tempfile.gettempdir())):
        if folder.is_dir() and shutil.disk_usage(folder).free > needed:
            return folder
    sys.exit(f"no folder has room for {needed / 1e9:.1f} GB; give --folder")


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument(
        "--folder",
        type=options.new_folder,
        help="where the files lie, and stay (default: a temporary folder)",
    )
    arguments = parser.parse_args()
    gpu.require()
    model = "small" if arguments.quick else "vit-b32"
    shapes = models.BY_NAME[model]()
    results, clock = options.results(arguments, "gpu_files"), DeviceClock()
    needed = (MODELS + 3) * 4 * models.elements(shapes)  # and both outputs
    with workplace(arguments.folder, None if arguments.folder else place(needed)) as folder:
        paths = write_pool(folder, model, MODELS)
        case, read = Case(paths, shapes), sum(path.stat().st_size for path in paths)
        case.check()
        seconds = interleave(case.variants(clock, CopyUp(read)), options.rounds(arguments))
        case.remove_outputs()
        facts = {"filesystem": filesystem(folder), "read_bytes": read}
    results.add({"model": model, "models": MODELS}, seconds, facts)
    print(
        *(f"{name} {median(seconds, name):.3f} s" for name in seconds),
        f"merge over copy up {ratio(seconds, 'merge, cuda', 'copy up'):.2f}",
        sep="; ",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
