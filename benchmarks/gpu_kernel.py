"""Time the merge on a GPU against copying within its memory, and against the same formula in other hands.

For every number of models N and dtype: one tensor per model, so large that base, N fine-tuned models and the
result have 4 GB together, far more than a GPU's caches hold. Timed by CUDA events in interleaved rounds:

* copy: a device-to-device copy of 2 GB, which moves 4 GB. Its bandwidth is the yardstick of the run.
* merge: negmerge_ext.merge() into a given result; N + 2 tensors must move.
* torch.compile, torch.stack: harness/torch_formulas.py, into the given result.
* CUB: the formula as the operator of CUB's DeviceTransform, compiled by nvcc for each N and dtype. Where it
  cannot be compiled or launched, the result file says why.

The merge has the bits of the one on the CPU before it is timed, and what the others give is compared with it.

    python benchmarks/gpu_kernel.py --models 8 --dtype float32
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from harness import gpu, options, state_dicts, torch_formulas
from harness.cub_transform import CubTransform, Kind, NoCubError, compile_all
from harness.device_clock import DeviceClock
from harness.device_copy import DeviceCopy
from harness.samples import median, ratio
from harness.timing import interleave

import negmerge_ext

MODELS, QUICK_MODELS = (2, 4, 8, 16, 30, 64), (2, 8)
DTYPES = ("float32", "bfloat16")
SCALE = 0.7
TOTAL, QUICK_TOTAL, SMALLEST_TOTAL = 4e9, 6.4e7, 1e6
#: Sizes are multiples of so many elements.
GRAIN = 1024

Work = Callable[[], object]


class Case:
    """One number of models and dtype, on a device."""

    def __init__(self, models: int, dtype: torch.dtype, total: float, device: str = "cuda") -> None:
        numel = max(1, int(total) // ((models + 2) * dtype.itemsize * GRAIN)) * GRAIN
        self.base, self.finetuned = state_dicts.pool({"weight": (numel,)}, models, dtype, device)
        self.out = state_dicts.like(self.base)

    def merge(self) -> object:
        return negmerge_ext.merge(self.base, self.finetuned, scale=SCALE, out=self.out)

    def stack(self) -> object:
        return self._formula(torch_formulas.stacked)

    def compile(self) -> Work:
        """The compiled formula; what was compiled for other cases is forgotten: torch keeps only a few."""
        torch._dynamo.reset()
        formula = torch_formulas.compiled()
        return lambda: self._formula(formula)

    def cub(self, transform: CubTransform) -> Work:
        inputs = self.base["weight"], [model["weight"] for model in self.finetuned]
        return lambda: transform(*inputs, SCALE, self.out["weight"])

    def check(self, peers: Mapping[str, Work]) -> None:
        """End the program unless the merge is the CPU's and the peers give the same but for rounding."""
        self.merge()
        merged = self.out["weight"].clone()
        on_cpu = [{"weight": state["weight"].cpu()} for state in [self.base, *self.finetuned]]
        expected = negmerge_ext.merge(on_cpu[0], on_cpu[1:], scale=SCALE)["weight"]
        if not torch.equal(merged.cpu(), expected):
            sys.exit("the merge on the GPU differs from that on the CPU")
        for name, work in peers.items():
            self.out["weight"].zero_()
            work()
            torch.testing.assert_close(self.out["weight"], merged, msg=partial("{}: {}".format, name))

    def _formula(self, formula: torch_formulas.Formula) -> object:
        models = [model["weight"] for model in self.finetuned]
        return formula(self.base["weight"], models, SCALE, self.out["weight"])


def peers(case: Case, library: Path | NoCubError) -> tuple[dict[str, Work], dict[str, str]]:
    """What the merge is compared with, and why the rest is not."""
    found: dict[str, Work] = {"torch.compile": case.compile(), "torch.stack": case.stack}
    try:
        if isinstance(library, NoCubError):
            raise library
        work = case.cub(CubTransform(library))
        work()
    except NoCubError as problem:
        return found, {"CUB": str(problem)}
    return {**found, "CUB": work}, {}


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument(
        "--models",
        type=options.count,
        nargs="+",
        metavar="N",
        help=f"default: {MODELS}, quick: {QUICK_MODELS}",
    )
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=DTYPES)
    parser.add_argument(
        "--total",
        type=options.number_from(SMALLEST_TOTAL),
        help=f"bytes of all tensors (default: {TOTAL:g}, quick: {QUICK_TOTAL:g})",
    )
    arguments = parser.parse_args()
    gpu.require()
    total = arguments.total or (QUICK_TOTAL if arguments.quick else TOTAL)
    models = arguments.models or (QUICK_MODELS if arguments.quick else MODELS)
    kinds: list[Kind] = [(count, getattr(torch, dtype)) for dtype in arguments.dtype for count in models]
    results, clock = options.results(arguments, "gpu_kernel"), DeviceClock()
    major, minor = torch.cuda.get_device_capability()
    with tempfile.TemporaryDirectory() as folder:
        libraries = compile_all(kinds, Path(folder), f"sm_{major}{minor}")
        copy = DeviceCopy(int(total))
        for kind in kinds:
            count, dtype = kind
            torch.cuda.empty_cache()
            case = Case(count, dtype, total)
            others, without = peers(case, libraries[kind])
            case.check(others)
            works: dict[str, Work] = {"copy": copy, "merge": case.merge, **others}
            variants = {name: clock.timed(work) for name, work in works.items()}
            seconds = interleave(variants, options.rounds(arguments))
            size = state_dicts.nbytes(case.base)
            facts = {"model_bytes": size, "copy_bytes": copy.moved, "without": without}
            name = str(dtype).removeprefix("torch.")
            results.add({"dtype": name, "models": count}, seconds, facts)
            print(
                f"{name} N={count}: copy {copy.moved / median(seconds, 'copy') / 1e9:.0f} GB/s",
                f"merge {(count + 2) * size / median(seconds, 'merge') / 1e9:.0f} GB/s",
                *(f"{other} {ratio(seconds, other, 'merge'):.2f}x" for other in others),
                *(f"without {other}: {why}" for other, why in without.items()),
                sep="; ",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
