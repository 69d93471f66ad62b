"""Time the in-memory merge into memory that nobody has touched, had from the system in four ways.

The result of every call is mapped anew and given back after it. Its pages are small ones or huge ones
(MADV_HUGEPAGE), and made by the page faults of the merge or all before it by all threads
(MADV_POPULATE_WRITE). The yardstick is the same merge into memory that has been touched. With a pause before
each call a virtual machine's host may have taken back what the call before gave free.

    python benchmarks/new_results.py --models 8
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from harness import options, state_dicts
from harness.samples import median
from harness.timing import Measurement, interleave, timed

import negmerge_ext

MODELS = (2, 8)
PAUSES = (0.0, 3.0)
#: What base, fine-tuned models and result have together, in elements.
TOTAL, QUICK_TOTAL = 320_000_000, 8_000_000
#: From linux/mman.h; Python 3.11 does not name it.
MADV_POPULATE_WRITE = 23
#: What a thread has made ready at a time: some huge pages.
PAGES_AT_ONCE = 8 << 20
VARIANTS = {
    "small pages": (False, False),
    "small pages, made before": (False, True),
    "huge pages": (True, False),
    "huge pages, made before": (True, True),
}

_libc = ctypes.CDLL(None, use_errno=True)


class Case:
    """One number of models."""

    def __init__(self, models: int, *, quick: bool) -> None:
        elements = (QUICK_TOTAL if quick else TOTAL) // (models + 2)
        self.base, self.finetuned = state_dicts.pool({"weight": (elements,)}, models)
        self.touched = state_dicts.like(self.base)
        self.nbytes = state_dicts.nbytes(self.base)
        self._threads = ThreadPoolExecutor(torch.get_num_threads())

    def variants(self, pause: float) -> dict[str, Measurement]:
        before = partial(time.sleep, pause)
        found = {"touched": timed(lambda: self._merge(self.touched), before)}
        for name, how in VARIANTS.items():
            found[name] = timed(partial(self._into_new, *how), before)
        found["merge, new result"] = timed(partial(negmerge_ext.merge, self.base, self.finetuned), before)
        return found

    def _merge(self, out: state_dicts.StateDict) -> None:
        negmerge_ext.merge(self.base, self.finetuned, out=out)

    def _into_new(self, huge: bool, before: bool) -> object:
        memory = mmap.mmap(-1, self.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        values = np.frombuffer(memory, np.float32)
        if before:
            start, end = values.ctypes.data, values.ctypes.data + self.nbytes
            list(self._threads.map(partial(_populate, end), range(start, end, PAGES_AT_ONCE)))
        self._merge({"weight": torch.from_numpy(values).view(self.base["weight"].shape)})
        return memory


def _populate(end: int, start: int) -> None:
    size = min(PAGES_AT_ONCE, end - start)
    if _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_POPULATE_WRITE):
        raise OSError(ctypes.get_errno(), "MADV_POPULATE_WRITE")


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--models", type=options.count, nargs="+", default=MODELS, help=f"default: {MODELS}")
    parser.add_argument(
        "--pause",
        type=options.number_from(0),
        nargs="+",
        help=f"seconds (default: {PAUSES}, quick: 0)",
    )
    arguments = parser.parse_args()
    results = options.results(arguments, "new_results")
    for models in arguments.models:
        case = Case(models, quick=arguments.quick)
        for pause in arguments.pause or ((0.0,) if arguments.quick else PAUSES):
            seconds = interleave(case.variants(pause), options.rounds(arguments))
            parameters = {"models": models, "pause": pause}
            results.add(parameters, seconds, {"model_bytes": case.nbytes})
            shown = (f"{name} {median(seconds, name) * 1e3:.1f} ms" for name in seconds)
            print(f"N={models}, pause {pause:g} s:", "; ".join(shown), file=sys.stderr)


if __name__ == "__main__":
    main()
