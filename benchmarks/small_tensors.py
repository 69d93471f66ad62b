"""Time the whole Python call for models of many small tensors, against reading them.

ResNet-18 (62 tensors) and CLIP ViT-B/32 (302 tensors) with N = 8, and the same numbers of tensors of 16
elements each, where the work per tensor stands alone. Timed in interleaved rounds: merge() into a given
result, merge() with a new result, and plain reading of base and fine-tuned tensors (harness/read_speed.c)
in several variants. Calls of less than 20 ms are repeated as often as that takes, and a sample is their mean.

    python benchmarks/small_tensors.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from harness import models, options, state_dicts
from harness.read_speed import Reader
from harness.samples import median
from harness.state_dicts import StateDict
from harness.timing import Measurement, interleave, repeated, timed

import negmerge_ext

CASES: dict[str, Callable[[], models.Shapes]] = {
    "ResNet-18": models.resnet18,
    "CLIP ViT-B/32": models.clip_vit_b32,
    "62 tensors of 16 elements": lambda: models.tiny(62),
    "302 tensors of 16 elements": lambda: models.tiny(302),
}
MODELS = 8
#: Bytes of a model from which reading it takes longer than starting the threads for it.
WORTH_READING = 1 << 20
#: Seconds of a sample, or one call.
LONG_ENOUGH = 0.02


def variants(base: StateDict, finetuned: list[StateDict], reader: Reader | None) -> dict[str, Measurement]:
    out = state_dicts.like(base)
    inputs = [tensor for state in [base, *finetuned] for tensor in state.values()]
    reads = {} if reader is None else reader.variants(inputs, torch.get_num_threads())
    works: dict[str, Callable[[], object]] = {
        "merge": lambda: negmerge_ext.merge(base, finetuned, out=out),
        "merge, new result": lambda: negmerge_ext.merge(base, finetuned),
        **reads,
    }
    works["merge"]()
    calls = max(1, round(LONG_ENOUGH / timed(works["merge"])()))
    return {name: repeated(work, calls) for name, work in works.items()}


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--case", choices=CASES, nargs="+", help="default: all, quick: all but CLIP ViT-B/32")
    arguments = parser.parse_args()
    results, reader = options.results(arguments, "small_tensors"), Reader()
    usual = [name for name in CASES if not (arguments.quick and name == "CLIP ViT-B/32")]
    for name in arguments.case or usual:
        base, finetuned = state_dicts.pool(CASES[name](), MODELS)
        reads = state_dicts.nbytes(base) > WORTH_READING
        seconds = interleave(variants(base, finetuned, reader if reads else None), options.rounds(arguments))
        results.add(
            {"case": name, "models": MODELS},
            seconds,
            {
                "tensors": len(base),
                "model_bytes": state_dicts.nbytes(base),
                "threads": torch.get_num_threads(),
                "reads": reads,
            },
        )
        print(f"{name}: {median(seconds, 'merge') * 1e3:.3f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
