"""Time reading in the order in which a merge reads, between plain reading and the merge.

For every number of models N, fp32 matrices as in kernel.py. Timed in interleaved rounds over the same memory:

* read: plain reading as in kernel.py: few places at a time, each a long run.
* in order: the same bytes in the order of a merge, by as many threads: runs of 64 KiB; of each run eight
  models side by side, line by line, the base with the first of them, then the next eight; with and without
  prefetches (harness/read_speed.c). It adds up what it reads and writes nothing.
* merge: the merge itself, without statistics, into a given result.

What lies between the first two is what the order costs, whatever is computed.

    python benchmarks/reading_order.py --models 8
"""

from __future__ import annotations

import sys

import torch
from harness import native_calls, options, state_dicts
from harness.models import large_squares
from harness.read_speed import IN_ORDER, VARIANTS, Reader
from harness.samples import fastest, median
from harness.timing import Measurement, interleave, timed

MODELS = (2, 4, 8, 16, 30, 64)
SCALE = 0.7


class Case:
    """One number of models; the memory that is read and written stays as long as it does."""

    def __init__(self, models: int, *, quick: bool) -> None:
        self.base, self.finetuned = state_dicts.pool(large_squares(models, 4, quick=quick), models)
        self.out = state_dicts.like(self.base)

    def variants(self, reader: Reader, threads: int) -> dict[str, Measurement]:
        columns = [[state[name] for state in (self.base, *self.finetuned)] for name in self.base]
        measured = reader.measurements([tensor for tensors in columns for tensor in tensors], threads)
        measured |= {way: timed(read) for way, read in reader.in_order(columns, threads).items()}
        merge = native_calls.merge(self.base, self.finetuned, self.out, SCALE, statistics=False)
        return measured | {"merge": timed(merge)}


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--models", type=options.count, nargs="+", help=f"default: {MODELS}, quick: 2 and 8")
    arguments = parser.parse_args()
    results, reader, threads = options.results(arguments, "reading_order"), Reader(), torch.get_num_threads()
    for models in arguments.models or ((2, 8) if arguments.quick else MODELS):
        case = Case(models, quick=arguments.quick)
        seconds = interleave(case.variants(reader, threads), options.rounds(arguments))
        size = state_dicts.nbytes(case.base)
        facts = {"model_bytes": size, "tensors": len(case.base), "threads": threads}
        results.add({"models": models}, seconds, facts)
        times = [median(seconds, fastest(seconds, ways)) for ways in (VARIANTS, IN_ORDER)]
        plain, in_order = ((models + 1) * size / time / 1e9 for time in times)
        print(f"N={models}: read {plain:.1f} GB/s; in order {in_order:.1f} GB/s", file=sys.stderr)


if __name__ == "__main__":
    main()
