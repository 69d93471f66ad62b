"""Time the in-memory merge over 64 times as many parameters and over 64 times as many models.

The sizes are prefixes of the same tensors, and the numbers of models are the first of the same pool, all
timed in the same interleaved rounds. Time should be a constant plus a part linear in both.

    python benchmarks/growth.py
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from harness import options, state_dicts
from harness.results import Results
from harness.samples import median
from harness.timing import interleave, timed

import negmerge_ext

#: N while the parameters grow, and base-2 logarithm of the parameters while N grows; both are 2.7 and 1.1 GB
#: at the most.
MODELS, LOG_ELEMENTS = 8, 22
DOUBLINGS = 6


def merge(
    elements: int, models: int, base: torch.Tensor, finetuned: list[torch.Tensor], out: torch.Tensor
) -> None:
    cut = [{"weight": tensor[:elements]} for tensor in [base, *finetuned[:models], out]]
    negmerge_ext.merge(cut[0], cut[1:-1], out=cut[-1])


def measure(grid: list[tuple[int, int]], grows: str, rounds: int, results: Results) -> None:
    """Time all (elements, models) of a grid in the same rounds; each is a case of its own."""
    elements, models = max(size for size, _ in grid), max(count for _, count in grid)
    base, finetuned = state_dicts.pool({"weight": (elements,)}, models)
    tensors = base["weight"], [state["weight"] for state in finetuned], torch.zeros(elements)
    variants = {f"{size}, {count}": timed(partial(merge, size, count, *tensors)) for size, count in grid}
    seconds = interleave(variants, rounds)
    for size, count in grid:
        name = f"{size}, {count}"
        results.add({"grows": grows, "elements": size, "models": count}, {"merge": seconds[name]})
        print(f"{size} elements, N={count}: {median(seconds, name) * 1e3:.2f} ms", file=sys.stderr)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--grows", choices=("elements", "models"), nargs="+", default=("elements", "models"))
    arguments = parser.parse_args()
    results, rounds = options.results(arguments, "growth"), options.rounds(arguments)
    log, doublings = (LOG_ELEMENTS - 4, 3) if arguments.quick else (LOG_ELEMENTS, DOUBLINGS)
    if "elements" in arguments.grows:
        grid = [(2 ** (log - 2 + step), MODELS) for step in range(doublings + 1)]
        measure(grid, "elements", rounds, results)
    if "models" in arguments.grows:
        measure([(2**log, 2**step) for step in range(doublings + 1)], "models", rounds, results)


if __name__ == "__main__":
    main()
