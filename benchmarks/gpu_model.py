"""Time whole calls on a GPU for CLIP ViT-L/14: 590 tensors in one launch.

Base and N = 30 fine-tuned models, every tensor an allocation of its own. Timed in interleaved rounds:

* copy: a device-to-device copy of 2 GB, which moves 4 GB; by CUDA events.
* merge: negmerge_ext.merge() into a given result; merge, new result: one that allocates it. By CUDA events,
  from when the device begins: what the host takes is hidden behind other work.
* merge, host and merge, new result, host: how long the same calls take to return, with the device idle.

Memory that the calls take on the device besides the result is asked of torch. The result has the bits of the
merge on the CPU, tensor by tensor, before anything is timed.

    python benchmarks/gpu_model.py --dtype bfloat16
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from harness import gpu, models, options, state_dicts
from harness.device_clock import DeviceClock
from harness.device_copy import DeviceCopy
from harness.samples import median
from harness.state_dicts import StateDict
from harness.timing import Measurement, interleave, timed

import negmerge_ext

MODELS, QUICK_MODELS = 30, 3
DTYPES = ("float32", "bfloat16")
COPIED, QUICK_COPIED = 4e9, 6.4e7
#: GPU memory besides the models: noise that they are made of, temporaries.
ROOM = 2e9


class Case:
    """A base, its fine-tuned models and room for the result, on a device."""

    def __init__(self, shapes: models.Shapes, count: int, dtype: torch.dtype, device: str = "cuda") -> None:
        self.base, self.finetuned = state_dicts.pool(shapes, count, dtype, device)
        self.out = state_dicts.like(self.base)

    def merge(self) -> StateDict:
        return negmerge_ext.merge(self.base, self.finetuned, out=self.out)

    def merge_anew(self) -> Mapping[str, torch.Tensor]:
        return negmerge_ext.merge(self.base, self.finetuned)

    def check(self) -> None:
        """End the program unless both calls give what the CPU gives."""
        found = self.merge_anew()
        self.merge()
        for name, weight in self.base.items():
            pool = [{name: model[name].cpu()} for model in self.finetuned]
            expected = negmerge_ext.merge({name: weight.cpu()}, pool)[name]
            if not (torch.equal(found[name].cpu(), expected) and torch.equal(self.out[name].cpu(), expected)):
                sys.exit(f"{name}: the merge on the GPU differs from that on the CPU")

    def variants(self, clock: DeviceClock, copy: DeviceCopy) -> dict[str, Measurement]:
        return {
            "copy": clock.timed(copy),
            "merge": clock.timed(self.merge),
            "merge, new result": clock.timed(self.merge_anew),
            "merge, host": timed(self.merge, before=torch.cuda.synchronize),
            "merge, new result, host": timed(self.merge_anew, before=torch.cuda.synchronize),
        }

    def extra_memory(self) -> dict[str, int]:
        """Bytes that each call had asked of torch's allocator at its peak, besides a new result.

        What it gives is rounded up, and a large piece of memory is given whole if too little would be left.
        """
        taken = {}
        for name, work in {"merge": self.merge, "merge, new result": self.merge_anew}.items():
            torch.cuda.synchronize()
            before = torch.cuda.memory_stats()["requested_bytes.all.current"]
            torch.cuda.reset_peak_memory_stats()
            result = work()
            torch.cuda.synchronize()
            own = 0 if result is self.out else state_dicts.nbytes(dict(result))
            taken[name] = torch.cuda.memory_stats()["requested_bytes.all.peak"] - before - own
        return taken


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument(
        "--models", type=options.count, metavar="N", help=f"default: {MODELS}, quick: {QUICK_MODELS}"
    )
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=DTYPES)
    arguments = parser.parse_args()
    gpu.require()
    count = arguments.models or (QUICK_MODELS if arguments.quick else MODELS)
    shapes = models.resnet18() if arguments.quick else models.clip_vit_l14()
    results, clock = options.results(arguments, "gpu_model"), DeviceClock()
    copy = DeviceCopy(int(QUICK_COPIED if arguments.quick else COPIED))
    for name in arguments.dtype:
        dtype = getattr(torch, name)
        needed = (count + 3) * models.elements(shapes) * dtype.itemsize + int(ROOM)
        gpu.require_room(needed, f"{name}, N = {count}")
        case = Case(shapes, count, dtype)
        case.check()
        extra = case.extra_memory()
        seconds = interleave(case.variants(clock, copy), options.rounds(arguments))
        facts = {
            "tensors": len(case.base),
            "model_bytes": state_dicts.nbytes(case.base),
            "copy_bytes": copy.moved,
            "extra_bytes": extra,
        }
        results.add({"dtype": name, "models": count}, seconds, facts)
        print(
            f"{name} N={count}:",
            *(f"{each} {median(seconds, each) * 1e3:.3f} ms" for each in seconds),
            f"extra memory {max(extra.values()) / 1e6:.2f} MB",
            file=sys.stderr,
        )
        del case


if __name__ == "__main__":
    main()
