"""Run cases through the native merge and hold everything it writes against the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import oracle
from buffers import Buffer
from strategies import Case

from negmerge_ext import dtypes, native
from negmerge_ext.methods import get as get_method
from negmerge_ext.options import MODES
from negmerge_ext.stats import NATIVE_STATS


@dataclass
class Result:
    """What one merge of several tensors wrote."""

    out: list[np.ndarray]
    keep: list[np.ndarray]
    stats: np.ndarray
    histogram: np.ndarray | None

    def same_as(self, other: Result) -> bool:
        """Equal bits; histograms are compared if this result has one."""
        return (
            all(map(oracle.same_bits, self.out, other.out))
            and all(map(np.array_equal, self.keep, other.keep))
            and self.stats.tobytes() == other.stats.tobytes()
            and (self.histogram is None or np.array_equal(self.histogram, other.histogram))
        )


def code(dtype: np.dtype) -> int:
    return dtypes.CODES[dtypes.from_numpy(dtype)]


def packed_bits(keep: np.ndarray) -> np.ndarray:
    """Keep bits as the kernels lay them out: little-endian bits, whole 16-bit words, padding zero."""
    flat = np.asarray(keep).reshape(-1)
    padded = np.zeros(-(-flat.size // 16) * 16, bool)
    padded[: flat.size] = flat
    return np.packbits(padded, bitorder="little")


class Tensor:
    """Guarded copies of one case's arrays, and room for its results."""

    def __init__(
        self, case: Case, offset: int, alias: Literal["base"] | int | None, whole_items: bool
    ) -> None:
        def place(offset: int, dtype: np.dtype) -> int:
            return offset % 64 - (offset % dtype.itemsize if whole_items else 0)

        self.case, self.numel = case, case.base.size
        self.thresholds = case.thresholds()
        self.compute = oracle.compute_dtype([case.base, *case.finetuned])
        self.base = Buffer(case.base, place(offset, case.base.dtype))
        self.finetuned = [Buffer(x, place(offset * (3 + k), x.dtype)) for k, x in enumerate(case.finetuned)]
        self.out = Buffer.unwritten(self.numel, case.out_dtype, place(offset * 7, case.out_dtype))
        if alias is not None:
            self.out = self.base if alias == "base" else self.finetuned[alias]
            assert self.out.dtype == case.out_dtype
        self.keep = Buffer.unwritten(-(-self.numel // 16), np.uint16, place(offset % 2, np.dtype(np.uint16)))

    def buffers(self) -> list[Buffer]:
        return [self.base, *self.finetuned, self.out, self.keep]

    def result(self) -> np.ndarray:
        return self.out.array().reshape(self.case.base.shape)

    def check_inputs(self) -> None:
        """Guards are whole, and inputs that were not written into are as they were."""
        for buffer in self.buffers():
            buffer.check_guards()
        for buffer, array in zip(
            [self.base, *self.finetuned], [self.case.base, *self.case.finetuned], strict=True
        ):
            if buffer is not self.out:
                assert buffer.array().tobytes() == array.tobytes(), "an input was written"


def merge(
    cases: Sequence[Case],
    *,
    threads: int = 1,
    offset: int = 0,
    alias: Literal["base"] | int | None = None,
    write: bool = True,
    histogram: bool = False,
    groups: Sequence[int] = (),
    cut: int | None = None,
    by: Callable[..., None] = native.merge,
    whole_items: bool = False,
    keep: bool = True,
    statistics: bool = True,
) -> Result:
    """Merge ``cases`` (which share N, method, mode and scale) in one batch.

    groups: numbers of models given call by call through a ``State``; empty: all at once. cut: elements
    after which each tensor is cut into a further call. write=False asks for statistics only, statistics=False
    for none (they are zero then). alias: the output lies where the base does, or the model of this number.
    by: what is called, with the arguments of ``native.merge``. whole_items: every array begins at a multiple
    of its item size. keep=False does not ask for keep bits.
    """
    tensors = [Tensor(case, offset + 5 * i, alias, whole_items) for i, case in enumerate(cases)]
    stats = np.zeros(len(cases), NATIVE_STATS)
    bins = np.zeros((len(cases), len(cases[0].finetuned) + 1), np.int64) if histogram else None
    longest = max(tensor.numel for tensor in tensors)
    step = cut or max(longest, 1)
    for start in range(0, max(longest, 1), step):
        chunks = [_Chunk(t, min(start, t.numel), min(start + step, t.numel)) for t in tensors]
        _merge_chunks(chunks, stats if statistics else None, bins, threads, write, groups, by, keep)
    for tensor in tensors:
        tensor.check_inputs()
    return Result([t.result() for t in tensors], [t.keep.array() for t in tensors], stats, bins)


def check(cases: Sequence[Case], result: Result, *, write: bool = True) -> None:
    """Everything in ``result`` is what the oracle says."""
    for i, case in enumerate(cases):
        _, keep = oracle.task_vector(case.base, case.finetuned, method=case.method)
        if write:
            expected, found = case.expected(), result.out[i]
            assert oracle.same_bits(found, expected), difference(case, found, expected)
            if case.mode != "vector" and case.out_dtype == case.base.dtype:
                copied = oracle.bits(found)[~keep], oracle.bits(case.base)[~keep]
                assert np.array_equal(*copied), f"{case.about}: not-kept elements are not the base's own"
        assert np.array_equal(result.keep[i].view(np.uint8), packed_bits(keep)), case.about
        if result.histogram is not None:
            assert np.array_equal(result.histogram[i], oracle.agreement(case.base, case.finetuned)), (
                case.about
            )
        check_statistics(case, result.stats[i])


def check_statistics(case: Case, row: np.void) -> None:
    expected = oracle.statistics(case.base, case.finetuned, method=case.method)
    assert row["kept"] == expected.kept, case.about
    assert row["non_finite"] == expected.non_finite, case.about
    assert np.array_equal(row["sum_squares"], expected.sum_squares, equal_nan=True), case.about
    assert np.array_equal(row["max_abs"], expected.max_abs, equal_nan=True), case.about


def difference(case: Case, found: np.ndarray, expected: np.ndarray) -> str:
    """The first element that differs, with everything it came from."""
    i = int(np.flatnonzero(oracle.canonical_bits(found) != oracle.canonical_bits(expected))[0])
    theta = [x.reshape(-1)[i] for x in case.finetuned]
    return (
        f"{case.about} {case.method} {case.mode} λ={case.scale!r}: element {i} of {found.size}: "
        f"{found.reshape(-1)[i]!r} instead of {expected.reshape(-1)[i]!r} "
        f"from base {case.base.reshape(-1)[i]!r} and {theta[:9]!r}"
    )


class _Chunk:
    """A range of a tensor's elements, as addresses."""

    def __init__(self, tensor: Tensor, start: int, stop: int) -> None:
        self.tensor, self.start, self.numel = tensor, start, stop - start
        self.keep = tensor.keep.address + start // 8
        method = get_method(tensor.case.method)
        self.values = Buffer.unwritten(method.values * self.numel, tensor.compute)
        words = -(-self.numel // 16) if method.signs else 0
        self.positive, self.negative = Buffer.unwritten(words, np.uint16), Buffer.unwritten(words, np.uint16)
        self.counts = Buffer.unwritten(2 * self.numel, np.uint16)

    def address(self, buffer: Buffer) -> int:
        return buffer.address + self.start * buffer.dtype.itemsize

    def state_buffers(self) -> list[Buffer]:
        return [self.values, self.positive, self.negative, self.counts]


def _merge_chunks(
    chunks: Sequence[_Chunk],
    stats: np.ndarray | None,
    histogram: np.ndarray | None,
    threads: int,
    write: bool,
    groups: Sequence[int],
    by: Callable[..., None],
    keep: bool,
) -> None:
    first = chunks[0].tensor.case
    state = native.State(
        values=[c.values.address for c in chunks],
        positive=[c.positive.address for c in chunks],
        negative=[c.negative.address for c in chunks],
        counts=() if histogram is None else [c.counts.address for c in chunks],
    )
    for models, begin, end in _calls(len(first.finetuned), groups):
        by(
            method=get_method(first.method).code,
            mode=MODES[first.mode],
            scale=first.scale,
            models=len(first.finetuned),
            numel=[c.numel for c in chunks],
            compute=[code(c.tensor.compute) for c in chunks],
            base=[c.address(c.tensor.base) for c in chunks],
            base_dtype=[code(c.tensor.base.dtype) for c in chunks],
            finetuned=[c.address(b) for c in chunks for b in c.tensor.finetuned[models]],
            finetuned_dtype=[code(b.dtype) for c in chunks for b in c.tensor.finetuned[models]],
            out=[c.address(c.tensor.out) if write else 0 for c in chunks],
            out_dtype=[code(c.tensor.out.dtype) for c in chunks],
            stats=stats,
            keep=[c.keep for c in chunks] if keep else (),
            histogram=histogram,
            state=state if groups else None,
            begin=begin,
            end=end,
            threads=threads,
            thresholds=[limit for c in chunks for limit in c.tensor.thresholds[models]],
        )
    for chunk in chunks:
        for buffer in chunk.state_buffers():
            buffer.check_guards()


def _calls(models: int, groups: Sequence[int]) -> Iterator[tuple[slice, bool, bool]]:
    """Slices of the models for each call, and whether it is the first or the last."""
    if not groups:
        yield slice(0, models), True, True
        return
    assert sum(groups) == models
    start = 0
    for i, count in enumerate(groups):
        yield slice(start, start + count), i == 0, i == len(groups) - 1
        start += count


def instruction_sets_in_turn() -> Iterator[str]:
    """Select each instruction set of this machine in turn, and the one from before at the end."""
    before = native.active_instruction_set()
    try:
        for name in native.instruction_sets():
            native.select_instruction_set(name)
            yield name
    finally:
        native.select_instruction_set(before)
