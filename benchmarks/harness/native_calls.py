"""Calls of the compiled module alone, without the looking and planning before them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from negmerge_ext import dtypes, native
from negmerge_ext.methods import get as get_method
from negmerge_ext.options import MODES
from negmerge_ext.stats import NATIVE_STATS

from .state_dicts import StateDict


def merge(
    base: StateDict, finetuned: list[StateDict], out: StateDict, scale: float, *, statistics: bool
) -> Callable[[], None]:
    """A function that merges state dicts of one dtype, and counts what it merges or does not."""
    states = [base, *finetuned, out]
    address = np.array([[state[name].data_ptr() for name in base] for state in states])
    [dtype] = {tensor.dtype for state in states for tensor in state.values()}
    code = np.full(address.shape, dtypes.CODES[dtypes.from_torch(dtype)], np.uint8)
    stats = np.zeros(len(base), NATIVE_STATS) if statistics else None

    def call() -> None:
        native.merge(
            method=get_method("negmerge").code,
            mode=MODES["negate"],
            scale=scale,
            models=len(finetuned),
            numel=[tensor.numel() for tensor in base.values()],
            compute=np.full(len(base), dtypes.CODES["F32"], np.uint8),
            base=address[0],
            base_dtype=code[0],
            finetuned=np.ascontiguousarray(address[1:-1].T),
            finetuned_dtype=np.ascontiguousarray(code[1:-1].T),
            out=address[-1],
            out_dtype=code[-1],
            stats=stats,
        )

    return call
