"""Time the in-memory merge against reading its inputs, and against the same formula in torch.

For every number of models N and dtype: square matrices of 8 million elements each, as many as make base, N
fine-tuned models and the result 1.25 GB or more. A case has the name of the instruction set that the
machine uses; results of another machine go to a folder of their own (--out). Timed in interleaved rounds over
the same memory:

* read: plain reading of base and fine-tuned tensors by all cores (harness/read_speed.c), in several
  variants. The fastest is the read bandwidth of the run; it counts N + 1 tensors.
* merge: negmerge_ext.merge() into a given result, with every instruction set, with all cores and with one.
  It counts N + 2 tensors: what must be read and written.
* merge, new result: the same, allocating what it returns.
* native call, with and without statistics: what the merge spends its time in. merge() computes none when it
  returns a state dict; merges between files and inspect() do.
* torch.stack, torch in place, torch.compile: harness/torch_formulas.py, tensor by tensor, into the given
  result; and torch.compile with a new result. What they give is compared with the merge's.

    python benchmarks/kernel.py --models 8 --dtype float32
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from harness import native_calls, options, state_dicts, torch_formulas
from harness.models import large_squares
from harness.read_speed import ONE_THREAD, VARIANTS, Reader
from harness.samples import fastest, median
from harness.timing import Measurement, interleave, timed

import negmerge_ext
from negmerge_ext import native

MODELS = (2, 4, 8, 16, 30, 64)
DTYPES = ("float32", "bfloat16", "float16")
PEERS = ("torch.stack", "torch in place", "torch.compile", "torch.compile, new result")
SCALE = 0.7


class Case:
    """One number of models and dtype."""

    def __init__(self, models: int, dtype: torch.dtype, *, quick: bool) -> None:
        shapes = large_squares(models, dtype.itemsize, quick=quick)
        self.base, self.finetuned = state_dicts.pool(shapes, models, dtype)
        self.out = state_dicts.like(self.base)

    def variants(self, reader: Reader, peers: Sequence[str]) -> dict[str, Measurement]:
        inputs = [tensor for state in [self.base, *self.finetuned] for tensor in state.values()]
        variants = reader.measurements(inputs, torch.get_num_threads())
        variants |= {name + ONE_THREAD: read for name, read in reader.measurements(inputs, 1).items()}
        variants["merge"] = timed(self.merge)
        variants["merge" + ONE_THREAD] = timed(lambda: self.merge(threads=1))
        for name in native.instruction_sets():
            if name != native.active_instruction_set():
                variants[f"merge, {name}"] = with_instruction_set(name, self.merge)
        variants["merge, new result"] = timed(lambda: self.merge(out=None))
        for name, statistics in (("native call", False), ("native call, statistics", True)):
            states = self.base, self.finetuned, self.out
            variants[name] = timed(native_calls.merge(*states, SCALE, statistics=statistics))
        return variants | {name: timed(self.checked_peer(name)) for name in peers}

    def merge(self, **changed: Any) -> object:
        return negmerge_ext.merge(self.base, self.finetuned, **{"scale": SCALE, "out": self.out, **changed})

    def checked_peer(self, name: str) -> Callable[[], object]:
        """A torch formula over all tensors, once it has given what the merge gives."""
        make = torch_formulas.FORMULAS[name.removesuffix(", new result")]
        formula = make(next(iter(self.base.values())))
        out = dict.fromkeys(self.base) if name.endswith("new result") else self.out

        def work() -> dict[str, torch.Tensor]:
            return {
                key: formula(base, [model[key] for model in self.finetuned], SCALE, out[key])
                for key, base in self.base.items()
            }

        found = {key: tensor.clone() for key, tensor in work().items()}
        self.merge()
        for key, tensor in found.items():
            torch.testing.assert_close(tensor, self.out[key])
        return work


def with_instruction_set(name: str, work: Callable[[], object]) -> Measurement:
    """Time ``work`` with an instruction set, then go back to the usual one."""
    usual, measure = native.active_instruction_set(), timed(work)

    def switched() -> float:
        native.select_instruction_set(name)
        try:
            return measure()
        finally:
            native.select_instruction_set(usual)

    return switched


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--models", type=options.count, nargs="+", help=f"default: {MODELS}, quick: 2 and 8")
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=DTYPES, help="default: all")
    parser.add_argument(
        "--peers",
        choices=PEERS,
        nargs="*",
        help="torch formulas to compare with (default: all, quick: not the compiled)",
    )
    arguments = parser.parse_args()
    peers = (PEERS[:2] if arguments.quick else PEERS) if arguments.peers is None else arguments.peers
    results, reader = options.results(arguments, "kernel"), Reader()
    for dtype in arguments.dtype:
        for models in arguments.models or ((2, 8) if arguments.quick else MODELS):
            torch_formulas.forget_compiled()
            case = Case(models, getattr(torch, dtype), quick=arguments.quick)
            seconds = interleave(case.variants(reader, peers), options.rounds(arguments))
            size = state_dicts.nbytes(case.base)
            results.add(
                {"dtype": dtype, "models": models, "instruction_set": native.active_instruction_set()},
                seconds,
                {"model_bytes": size, "tensors": len(case.base), "threads": torch.get_num_threads()},
            )
            tell(dtype, models, size, seconds)


def tell(dtype: str, models: int, size: int, seconds: dict[str, list[float]]) -> None:
    """A line per case, for who waits."""
    read, merge = median(seconds, fastest(seconds, VARIANTS)), median(seconds, "merge")
    others = [name for name in seconds if name != "merge" and not name.startswith("read")]
    print(
        f"{dtype} N={models}: read {(models + 1) * size / read / 1e9:.1f} GB/s",
        f"merge {(models + 2) * size / merge / 1e9:.1f} GB/s",
        *(f"{name} {median(seconds, name) / merge:.2f}x" for name in others),
        sep="; ",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
